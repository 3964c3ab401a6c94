"""The tests that docs/safety.md names exist, and no fault is forgotten."""

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TABLE = (ROOT / "docs" / "safety.md").read_text().partition("## Faults")[2]
ROWS = [line.strip("| ").split(" | ") for line in TABLE.splitlines() if line.startswith("| ")][1:]
FAULTS = [
    "failed read (-pi and NaN)",
    "frozen joint states",
    "frozen camera",
    "camera unplugged",
    "500 ms delay",
    "dropped commands",
    "overload, stall",
    "servo error",
    "torque lost on one joint",
    "servo warm, servo hot",
    "e-stop in motion",
    "explorer killed",
    "recorder killed",
    "driver killed",
    "disk full",
    "clock jump",
    "NaN action",
    "command outside limits",
    "two publishers on the command topic",
]


def test_every_fault_has_its_row():
    assert [row[0] for row in ROWS] == FAULTS


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_tests_that_a_row_names_exist(row, require_tests):
    require_tests(row)
