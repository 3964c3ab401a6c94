"""The tests that the tables of faults and bad input name exist, and none of these is forgotten."""

from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
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
BAD_INPUT = [
    "no task at the start",
    "empty task later",
    "task of 10 000 characters, or no line of text",
    "task that is not ASCII, or looks like YAML",
    "checkpoint for another arm or action space",
    "checkpoint for another camera",
    "checkpoint of more cameras than there are",
    "checkpoint for another rate",
    "missing statistics",
    "NaN from the model",
    "camera of another size",
    "camera of another encoding",
    "image topic silent",
    "camera whose place is not known (APT)",
    "two policy nodes at once",
    "parameter out of range",
    "server gone, slow, or lying about shapes",
    "task cancelled in mid-grasp",
]
POLICY_KILLED = ["policy killed", "network's process killed"]
TABLES = {
    ("safety.md", "Faults"): FAULTS,
    ("policy.md", "Faults while the policy commands"): [
        row
        for fault in FAULTS
        for row in (POLICY_KILLED if fault == "explorer killed" else [fault])
    ],
    ("policy.md", "What it cannot use"): BAD_INPUT,
}


def rows(page, section):
    """Return the cells of the rows of a section's table."""
    body = (DOCS / page).read_text().partition(f"\n## {section}\n")[2].partition("\n#")[0]
    return [line.strip("| ").split(" | ") for line in body.splitlines() if line.startswith("| ")][
        1:
    ]


@pytest.mark.parametrize("table", TABLES, ids="-".join)
def test_every_fault_has_its_row(table):
    assert [row[0] for row in rows(*table)] == TABLES[table]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(row, id=f"{page}-{row[0]}")
        for page, section in TABLES
        for row in rows(page, section)
    ],
)
def test_the_tests_that_a_row_names_exist(row, require_tests):
    require_tests(row)
