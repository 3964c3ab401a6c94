"""What the launch files share, beyond what tests of the graph show."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("launch_ros")

from training.calibration.touched_table import Table  # noqa: E402
from training.workspace import as_yaml, play_region, safety_box  # noqa: E402
from vla_ros.core.limits import SafetyParameters  # noqa: E402
from vla_ros.nodes import launching  # noqa: E402
from vla_ros.nodes.demo import DemoParameters  # noqa: E402
from vla_ros.nodes.explorer import ExplorerNode  # noqa: E402
from vla_ros.nodes.launching import LaunchError, text_file  # noqa: E402
from vla_ros.nodes.params import declare  # noqa: E402
from vla_ros.nodes.policy import PolicyParameters  # noqa: E402

AWKWARD = [
    "put the carrot on the plate", "1e3", "y", "n", "yes", "inf", ".inf", "nan", "1", "0x1", "~",
    "null", "", " spaces ", "a: b", "a #b", "'", '"', 'it\'s "so"', "\\n", "two\nlines", "\ttab",
    "🥕 → 🍽", "{a: b}", "[1, 2]", "- a", "---", "!tag", "%x", "2026-01-01", "\x85", "\u2028",
    "\x07", "\x7f", "topic:/camera/color/image_raw",
]  # fmt: skip


def test_a_node_reads_every_text_argument_as_it_was_given(ros):
    texts = {f"t{index}": text for index, text in enumerate(AWKWARD)}
    ros("--params-file", text_file("reader", texts))
    node = rclpy.create_node("reader", automatically_declare_parameters_from_overrides=True)
    try:
        assert {name: node.get_parameter(name).value for name in texts} == texts
    finally:
        node.destroy_node()


def test_a_list_of_texts_is_read_as_it_was_given(ros):
    ros("--params-file", text_file("reader", {"cameras": ["front", "1e3"], "none": "y"}))
    node = rclpy.create_node("reader", automatically_declare_parameters_from_overrides=True)
    try:
        assert list(node.get_parameter("cameras").value) == ["front", "1e3"]
    finally:
        node.destroy_node()


def test_a_node_without_text_arguments_gets_a_legal_file(ros):
    ros("--params-file", text_file("reader", {}))
    rclpy.create_node("reader").destroy_node()


def test_a_camera_that_ends_leaves_the_end_of_play_to_the_explorer():
    event = SimpleNamespace(returncode=1, process_name="camera_node-3")
    play = SimpleNamespace(launch_configurations={"workspace": ""})
    assert launching._ON_EXIT["camera"](event, play) == []
    with pytest.raises(LaunchError, match="camera_node-3 ended with exit code 1"):
        launching._ON_EXIT["camera"](event, SimpleNamespace(launch_configurations={}))


def files_of(monkeypatch, moves_arm, **arguments):
    """Return the parameter files that a node of the launch files gets, in order."""
    monkeypatch.setattr(launching, "Node", lambda **given: SimpleNamespace(**given))
    monkeypatch.setattr(launching, "OpaqueFunction", lambda function, **_: function)
    monkeypatch.setattr(launching, "PathJoinSubstitution", lambda parts: parts[1])
    context = SimpleNamespace(launch_configurations=arguments)
    make = launching.required_node("explorer", {"hours": 1.0}, moves_arm)
    *files, texts, others = make(context)[0].parameters
    assert (texts.endswith("explorer.yaml"), others) == (True, {"hours": 1.0})
    return files


def test_a_node_that_moves_the_arm_takes_safety_then_its_own_then_the_workspace(
    monkeypatch, tmp_path
):
    drawn = tmp_path / "drawn.yaml"
    drawn.touch()
    own = ["safety.yaml", "explorer.yaml"]
    assert files_of(monkeypatch, True, workspace=str(drawn)) == [*own, str(drawn)]
    assert files_of(monkeypatch, True, workspace="") == own
    assert files_of(monkeypatch, False) == own[1:]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert files_of(monkeypatch, True, workspace="~/drawn.yaml") == [*own, str(drawn)]
    with pytest.raises(LaunchError, match="workspace:=/no/such.yaml is no file: give the one that"):
        files_of(monkeypatch, True, workspace="/no/such.yaml")


@pytest.fixture
def drawn(tmp_path):
    """Return play's region, the safety box and the file of a small workspace on a level table."""
    tool = np.array([[0.15, -0.22, 0.03], [0.37, 0.22, 0.25]])
    level = Table(np.zeros((1, 3)), np.zeros(3), True)
    region = play_region(tool, np.array([0.0, 0.2]), level, 0.02)
    safety = safety_box(tool, 0.02, 0.0, region)
    path = tmp_path / "workspace.yaml"
    path.write_text(as_yaml(region, safety, "drawn in a test"))
    return region, safety, path


def test_a_drawn_workspace_is_what_the_explorer_and_its_guard_keep_to(ros, drawn):
    region, safety, path = drawn
    config = Path(__file__).resolve().parents[2] / "config"
    files = (config / "safety.yaml", config / "explorer.yaml", path)
    ros(*[word for file in files for word in ("--params-file", str(file))])
    node = ExplorerNode()
    try:
        assert node.parameters.exploration == region
        assert node.parameters.safety == safety
        assert safety.workspace_high_m[1] == 0.2
        node.configure()
        guard = node.arm._loop._guard
        np.testing.assert_array_equal(guard.limits.workspace_high_m, safety.workspace_high_m)
        assert node._player._motion.parameters == region
        said = node.episodes.settings
        assert said["safety.workspace_high_m"] == list(safety.workspace_high_m)
        assert said["exploration.y_limit_m"] == 0.2
        assert said["seed"] >= 0
        assert "exploration.speed_m_s" not in said
    finally:
        node.close()
        node.destroy_node()


@pytest.mark.parametrize("parameters_class", [PolicyParameters, DemoParameters])
def test_a_drawn_workspace_limits_policy_and_teacher_and_breaks_neither(
    ros, drawn, parameters_class
):
    _, safety, path = drawn
    ros("--params-file", str(path))
    node = rclpy.create_node("policy")
    try:
        assert declare(node, parameters_class).safety == safety
        assert safety != SafetyParameters()
    finally:
        node.destroy_node()
