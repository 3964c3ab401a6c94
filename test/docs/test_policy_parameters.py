"""docs/policy.md has every parameter of the node and of the hand-over, as the code has them."""

from dataclasses import fields
from pathlib import Path

import pytest

from vla_ros.core.handover_parameters import HandOverParameters

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "policy.md").read_text()


def rows(section):
    """Return the cells of the table's rows in a section."""
    body = TEXT.partition(f"## {section}\n")[2].partition("\n#")[0]
    lines = [line for line in body.splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("| \n").split("|")] for line in lines]


def test_the_hand_overs_table_is_the_code():
    expected = [
        [
            f"`{item.name}`",
            f"{item.default:g}",
            f"{item.metadata['low']:g} to {item.metadata['high']:g}",
            item.metadata["unit"],
        ]
        for item in fields(HandOverParameters)
    ]
    found = rows("Parameters of the hand-over")
    assert [row[:4] for row in found] == expected
    assert all(len(row) == 5 and row[4] for row in found)


@pytest.mark.ros
def test_the_nodes_table_is_the_code():
    pytest.importorskip("rclpy")
    from vla_ros.nodes.commander import CommanderParameters
    from vla_ros.nodes.policy_parameters import PolicyParameters

    shared = {item.name for item in fields(CommanderParameters)}
    own = [i for i in fields(PolicyParameters) if i.name not in shared | {"handover"}]
    expected = []
    for item in own:
        facts, default = item.metadata, item.default
        span = ", ".join(facts["choices"])
        if facts["low"] is not None:
            span = f"{facts['low']:.7g} to {facts['high']:.7g}"
        is_number = isinstance(default, (int, float)) and not isinstance(default, bool)
        shown = f"{default:g}" if is_number else str(default)
        expected.append([f"`{item.name}`", shown, span, facts["unit"]])
    found = rows("Parameters of the node")
    assert sorted(row[:4] for row in found) == sorted(expected)
    assert all(row[4] for row in found)
