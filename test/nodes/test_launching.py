"""What the launch files share, beyond what tests of the graph show."""

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("launch_ros")
pytestmark = pytest.mark.ros

from vla_ros.nodes.launching import text_file  # noqa: E402

AWKWARD = [
    "put the carrot on the plate", "1e3", "y", "n", "yes", "inf", ".inf", "nan", "1", "0x1", "~",
    "null", "", " spaces ", "a: b", "a #b", "'", '"', 'it\'s "so"', "\\n", "two\nlines", "\ttab",
    "🥕 → 🍽", "{a: b}", "[1, 2]", "- a", "---", "!tag", "%x", "2026-01-01", "\x85", "\u2028",
    "\x07", "\x7f",
]  # fmt: skip


def test_a_node_reads_every_text_argument_as_it_was_given(ros):
    texts = {f"t{index}": text for index, text in enumerate(AWKWARD)}
    ros("--params-file", text_file("reader", texts))
    node = rclpy.create_node("reader", automatically_declare_parameters_from_overrides=True)
    try:
        assert {name: node.get_parameter(name).value for name in texts} == texts
    finally:
        node.destroy_node()


def test_a_node_without_text_arguments_gets_a_legal_file(ros):
    ros("--params-file", text_file("reader", {}))
    rclpy.create_node("reader").destroy_node()
