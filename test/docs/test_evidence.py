"""docs/evidence.md names the rows, cells and numbers that there are."""

import re
from pathlib import Path

from training.evidence.cells import APT_CELLS, APT_SEEN, APT_UNSEEN, TAP_SCENARIOS
from training.evidence.rollouts_policy import LATENCY_S
from training.evidence.rollouts_trial import Settings
from training.evidence.rows import METHODS, SCALES, rows_of

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "evidence.md").read_text()


def test_every_row_has_a_line():
    lines = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+)[^|]*\|.*\|$", PAGE, re.MULTILINE)
    named = {name for names in lines for name in re.findall(r"`([\w-]+)`", names)}
    full = SCALES["full"]
    assert {row.name for method in METHODS for row in rows_of(method, full)} <= named


def test_every_cell_is_explained():
    for cell in APT_CELLS:
        assert f"| `{cell.name}` |" in PAGE
    for scenario in TAP_SCENARIOS:
        assert re.search(rf"^\| `[^|]*/{scenario}[`,]", PAGE, re.MULTILINE), scenario
    assert f"{len(APT_SEEN)} of the {len(APT_SEEN) + len(APT_UNSEEN)} pairs" in PAGE


def test_numbers_of_a_roll_out_are_those_of_the_code():
    assert f"{LATENCY_S['tap']:g} s (TAP) or {LATENCY_S['apt']:g} s (APT)" in PAGE
    assert f"within {Settings().time_limit_s:g} s for each task" in PAGE
    assert len(SCALES["full"].seeds) == 3
    assert f"({SCALES['full'].trials} trials in" in PAGE
