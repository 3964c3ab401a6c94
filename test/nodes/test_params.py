from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import yaml

rclpy = pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from vla_ros.nodes.params import ParameterError, declare, parameter  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Example:
    rate_hz: float = parameter(30.0, "How often.", "Hz", 1.0, 100.0)
    count: int = parameter(3, "How many.", "", 0, 10)
    mode: str = parameter("a", "Which.", choices=("a", "b"))
    names: list = parameter(["x"], "Who.")
    on: bool = parameter(True, "Whether.")


@pytest.fixture
def declared(ros):
    ros()
    nodes = []

    def make(**overrides):
        values = [Parameter(name, value=value) for name, value in overrides.items()]
        nodes.append(Node("example", parameter_overrides=values))
        return declare(nodes[-1], Example)

    make.nodes = nodes
    yield make
    for node in nodes:
        node.destroy_node()


def test_defaults_come_back_as_they_are(declared):
    assert declared() == Example()


def test_overrides_are_read_and_whole_numbers_serve_as_floats(declared):
    given = declared(rate_hz=4, count=0, mode="b", names=["y", "z"], on=False)
    assert given == Example(4.0, 0, "b", ["y", "z"], False)
    assert type(given.rate_hz) is float


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        ({"rate_hz": 0.5}, r"rate_hz of node example must lie in 1.0 to 100.0 Hz, got 0.5"),
        ({"rate_hz": float("nan")}, "rate_hz of node example must lie in"),
        ({"count": 11}, "count of node example must lie in 0 to 10, got 11"),
        ({"count": 1.5}, "count of node example must be a int, got 1.5"),
        ({"on": 1}, "on of node example must be a bool, got 1"),
        ({"mode": "c"}, "mode of node example must be one of a, b, got 'c'"),
        ({"names": "x"}, "names of node example must be a list, got 'x'"),
        ({"raet_hz": 4.0}, "unknown parameter 'raet_hz' of node example: use one of"),
    ],
)
def test_bad_values_and_names_are_refused_in_a_sentence(declared, overrides, sentence):
    with pytest.raises(ParameterError, match=sentence):
        declared(**overrides)


def test_descriptors_tell_unit_range_and_choices(declared):
    declared()
    rate = declared.nodes[0].describe_parameter("rate_hz")
    assert rate.description == "How often. [Hz]"
    assert rate.floating_point_range[0].to_value == 100.0
    assert "One of a, b." in declared.nodes[0].describe_parameter("mode").description


def node_parameters():
    from vla_ros.nodes import camera, demo, explorer, policy, recorder, sim

    return {
        "camera": camera.CameraParameters,
        "demo": demo.DemoParameters,
        "explorer": explorer.ExplorerParameters,
        "policy": policy.PolicyParameters,
        "recorder": recorder.RecorderParameters,
        "sim": sim.SimParameters,
    }


def test_parameter_files_hold_the_defaults_of_what_no_launch_argument_sets():
    for name, parameters_class in node_parameters().items():
        text = (ROOT / "config" / f"{name}.yaml").read_text()
        values = yaml.safe_load(text)["/**"]["ros__parameters"]
        defaults = parameters_class()
        assert values == {key: getattr(defaults, key) for key in values}
        header = "".join(line for line in text.splitlines() if line.startswith("#"))
        missing = [
            field.name
            for field in fields(parameters_class)
            if field.name not in values and field.name not in header
        ]
        assert missing == [], name
