"""The two papers' claims as numbers to reach here, fixed before anything was measured."""

from typing import Any

import numpy as np

from training.evidence.cells import PAPER_SCENARIOS
from training.evidence.outcomes import Outcomes, What, cell_names
from training.evidence.plan import Experiment
from training.evidence.statistics import Rate, difference_over_seeds, over_seeds, rate_over_seeds


def claims_of(experiment: Experiment, outcomes: Outcomes) -> list[dict[str, Any]]:
    """Return each claim of the method, what was measured of it, and whether it holds.

    A difference holds where it reaches its target and its interval lies above 0. What has no
    trials, or is of a scale that says nothing, has no verdict.
    """
    if experiment.method == "tap":
        found = _tap(outcomes, experiment.scale.play_h[-1])
    else:
        found = _apt(outcomes)
    if experiment.scale.is_plumbing:
        for claim in found:
            claim["verdict"] = "none: plumbing only"
    return found


def _tap(outcomes: Outcomes, play_h: float) -> list[dict]:
    tap = f"TAP ({play_h:.2g} h)"
    mean = f"{tap} − from scratch, mean over the paper's five scenarios and both tasks"
    found = [_difference(outcomes, mean, "tap", "scratch", cell_names("tap", *PAPER_SCENARIOS), 20)]
    for scenario in ("viewpoint", "background"):
        rate = _mean_rate(outcomes.tables("tap", cell_names("tap", scenario)))
        found.append(_at_least(f"{tap} under {scenario}, mean of both tasks", rate, 25))
    control = f"{tap} − vision-only behaviour cloning on the same play, the same mean"
    cells = cell_names("tap", *PAPER_SCENARIOS)
    found.append(_difference(outcomes, control, "tap", "vision", cells, 0))
    return found


def _apt(outcomes: Outcomes) -> list[dict]:
    words = "two-stage − single-stage (VLM frozen) on "
    unseen, seen = ["unseen combinations"], ["seen"]
    found = [
        _difference(outcomes, words + unseen[0], "two-frozen", "single", unseen, 20),
        _difference(outcomes, words + seen[0], "two-frozen", "single", seen, -3, above_0=False),
    ]
    second = "second task of a chained sentence, "
    for row, name in (("two-frozen", "two-stage"), ("single", "single-stage")):
        table = outcomes.table(row, "chained", "second_task")
        rate = None if table is None else rate_over_seeds(table)
        if row == "single":
            found.append(_claim(f"{second}{name}", "collapses: below two-stage", rate, None))
        else:
            found.append(_at_least(f"{second}{name}", rate, 50))
    found.append(
        _difference(
            outcomes,
            f"{second}two-stage − single-stage",
            *("two-frozen", "single", ["chained"], 0),
            what="second_task",
        )
    )
    return found


def _difference(
    outcomes: Outcomes,
    words: str,
    first: str,
    second: str,
    cells: list[str],
    points: float,
    above_0: bool = True,
    what: What = "success",
) -> dict:
    tables = [outcomes.tables(row, cells, what) for row in (first, second)]
    target = f"≥ {points:+g} points" + (", interval above 0" if above_0 else "")
    if tables[0] is None or tables[1] is None:
        return _claim(words, target, None, None)
    pair = (table[0] if len(cells) == 1 else table for table in tables if table is not None)
    rate = difference_over_seeds(*pair)
    holds = 100 * rate.mean >= points and (rate.low > 0 or not above_0)
    return _claim(words, target, rate, holds)


def _at_least(words: str, rate: Rate | None, points: float) -> dict:
    holds = None if rate is None else 100 * rate.mean >= points
    return _claim(words, f"≥ {points:g} %", rate, holds)


def _mean_rate(tables: np.ndarray | None) -> Rate | None:
    """Return the mean rate over cells (C, S, T), a layout of all cells as one."""
    if tables is None:
        return None
    mean = tables.mean(0)
    if min(mean.shape) < 2:
        return rate_over_seeds(tables.reshape(1, -1))
    found = over_seeds(mean)
    return Rate(found.mean, max(0.0, found.low), min(1.0, found.high))


def _claim(words: str, target: str, rate: Rate | None, holds: bool | None) -> dict:
    verdict = "holds" if holds else "does not hold"
    if rate is None:
        verdict = "not run"
    elif holds is None:
        verdict = ""
    measured = None if rate is None else {k: round(float(v), 4) for k, v in rate._asdict().items()}
    return {"claim": words, "target": target, "measured": measured, "verdict": verdict}
