"""docs/teleop.md says of every parameter and of every pad's controls what the code says."""

from dataclasses import fields
from pathlib import Path

import pytest

from vla_ros.core.teleop import TeleopParameters
from vla_ros.core.teleop_pad import CONTROLS, PADS

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "teleop.md").read_text()


def rows(head):
    """Return the rows of the table that begins with this line."""
    lines = TEXT.partition(head)[2].partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines]


def test_every_threshold_is_there_with_default_range_and_unit():
    expected = [
        [
            f"`{item.name}`",
            f"{item.default:g}",
            f"{item.metadata['low']:g} to {item.metadata['high']:g}",
            item.metadata["unit"],
            item.metadata["description"],
        ]
        for item in fields(TeleopParameters)
    ]
    assert rows("| parameter `joy.` ")[: len(expected)] == expected


@pytest.mark.parametrize(("column", "pad"), [(2, "xbox"), (3, "ps4"), (4, "standard")])
def test_every_control_of_a_pad_is_there(column, pad):
    table = rows("| control | parameter ")
    said = {row[1].strip("`"): row[column].partition("`")[2].strip("`") for row in table}
    assert said == {f"joy.{name}": PADS[pad][name] for name in CONTROLS}


def test_every_parameter_of_the_node_is_named():
    pytest.importorskip("rclpy")
    from vla_ros.nodes.teleop_parameters import JoyParameters

    table = " ".join(row[0] for row in rows("| parameter `joy.` "))
    assert [item.name for item in fields(JoyParameters) if f"`{item.name}`" not in table] == []
    assert not {item.name for item in fields(JoyParameters)} & {
        item.name for item in fields(TeleopParameters)
    }
