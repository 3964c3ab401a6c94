"""What came of a benchmark's episodes: counts by suite, and a table of them."""

from collections import defaultdict

from training.evidence.statistics import wilson


def summary(rows: list[dict]) -> dict[str, dict]:
    """Return successes, trials and their 95 % Wilson interval by suite.

    `refused` counts trials that ended since the policy had no action.
    """
    suites: dict[str, list[dict]] = defaultdict(list)
    for row in rows:
        suites[row["suite"]].append(row)
    counts = {
        suite: (sum(row["success"] for row in found), len(found)) for suite, found in suites.items()
    }
    return {
        suite: {
            "successes": successes,
            "trials": trials,
            "interval_95": wilson(successes, trials)[1:],
            "refused": sum(bool(row["refused"]) for row in suites[suite]),
        }
        for suite, (successes, trials) in counts.items()
    }


def table(found: dict[str, dict]) -> str:
    """Return a Markdown table of `summary`."""
    lines = ["| suite | successes | of | rate, 95 % interval | ended without an action |"]
    lines += ["|---|---|---|---|---|"]
    for suite, row in found.items():
        low, high = (round(100 * end) for end in row["interval_95"])
        rate = round(100 * row["successes"] / row["trials"])
        lines.append(
            f"| {suite} | {row['successes']} | {row['trials']} | {rate} % ({low} to {high}) "
            f"| {row['refused']} |"
        )
    return "\n".join(lines)
