"""docs/policy.md has every parameter of the hand-over, with its default, range and unit."""

from dataclasses import fields
from pathlib import Path

from vla_ros.core.handover_parameters import HandOverParameters

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("| ").split("|")]
    for line in TEXT.partition("## Parameters")[2].partition("\n\n")[2].splitlines()
    if line.startswith("| `")
]


def test_the_table_is_the_code():
    expected = [
        [
            f"`{item.name}`",
            f"{item.default:g}",
            f"{item.metadata['low']:g} to {item.metadata['high']:g}",
            item.metadata["unit"],
        ]
        for item in fields(HandOverParameters)
    ]
    assert [row[:4] for row in ROWS] == expected
    assert all(len(row) == 5 for row in ROWS)
    assert all(row[4] for row in ROWS)
