"""Rows of a benchmark: a Markdown table on the terminal and a JSON file beside the last ones."""

import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

_RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Row:
    """One measured quantity.

    Attributes:
        what: what was measured and how.
        unit: of `ours` and `theirs`.
        ours: median of the repeats.
        theirs: the peer's median, None where there is none.
        ratio: how many times better ours is, None where there is no peer.
        goal: in words, "" for none.
        met: whether the goal is met, None where there is none.
    """

    what: str
    unit: str
    ours: float
    theirs: float | None = None
    ratio: float | None = None
    goal: str = ""
    met: bool | None = None

    def with_goal(self, goal: str, met: bool | None) -> "Row":
        """Return the row with another goal."""
        return replace(self, goal=goal, met=met)


def _commit() -> str:
    """Return the checkout's commit, with "+" after it where files differ from it."""
    try:
        commands = (
            ["git", "rev-parse", "--short", "HEAD"],
            ["git", "status", "--porcelain", "-uno"],
        )
        head, changes = (
            subprocess.run(
                c, cwd=_RESULTS.parent, capture_output=True, text=True, check=True
            ).stdout
            for c in commands
        )
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head.strip() + ("+" if changes.strip() else "")


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "unknown")


def show(rows: Sequence[Row]) -> None:
    """Print the rows as a Markdown table."""
    print("| what | ours | theirs | ratio | goal | met |\n|---|---|---|---|---|---|")
    for row in rows:
        theirs = "–" if row.theirs is None else f"{row.theirs:.3g} {row.unit}"
        ratio = "–" if row.ratio is None else f"{row.ratio:.2f}"
        met = {None: "–", True: "yes", False: "**no**"}[row.met]
        cells = (row.what, f"{row.ours:.3g} {row.unit}", theirs, ratio, row.goal or "–", met)
        print(f"| {' | '.join(cells)} |")


def publish(area: str, rows: Sequence[Row], versions: dict[str, str]) -> Path:
    """Print the rows as a Markdown table and write bench/results/<area>.json; return its path."""
    show(rows)
    return save(area, rows, versions)


def save(area: str, rows: Sequence[Row], versions: dict[str, str]) -> Path:
    """Write bench/results/<area>.json, in place of what was there; return its path."""
    _RESULTS.mkdir(exist_ok=True)
    path = _RESULTS / f"{area}.json"
    content = {
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "load_1_min": os.getloadavg()[0],
            "python": platform.python_version(),
        },
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "commit": _commit(),
        "versions": versions,
        "rows": [asdict(row) for row in rows],
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path
