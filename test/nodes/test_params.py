from dataclasses import dataclass, fields
from pathlib import Path

import pytest
import yaml

rclpy = pytest.importorskip("rclpy")

from rclpy.node import Node  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402

from vla_ros.core.errors import SafetyError  # noqa: E402
from vla_ros.core.handover_parameters import HandOverParameters  # noqa: E402
from vla_ros.core.limits import SafetyParameters  # noqa: E402
from vla_ros.core.monitor import MonitorLimits  # noqa: E402
from vla_ros.core.play_parameters import ExplorationParameters  # noqa: E402
from vla_ros.core.thresholds import require_ranges, threshold  # noqa: E402
from vla_ros.nodes.params import ParameterError, changes, declare, group, parameter  # noqa: E402

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Box:
    low_m: tuple[float, ...] = threshold((0.1, -0.4), (0.0, -0.5), 0.5, "m", "low corner")
    edge_m: float = threshold(0.2, 0.1, 0.3, "m", "edge")
    tries: int = threshold(4, 1, 9, "1", "tries")

    def __post_init__(self):
        require_ranges(self)
        if self.tries == 7:
            raise SafetyError("7 contradicts all")


@dataclass(frozen=True)
class Tuning:
    gain: float = threshold(1.0, 0.0, 2.0, "1", "gain")


@dataclass(frozen=True)
class Example:
    rate_hz: float = parameter(30.0, "How often.", "Hz", 1.0, 100.0)
    count: int = parameter(3, "How many.", "", 0, 10)
    mode: str = parameter("a", "Which.", choices=("a", "b"))
    names: list = parameter(["x"], "Who.")
    on: bool = parameter(True, "Whether.")
    box: Box = group(Box, "box")
    # Two groups may share a prefix.
    tuning: Tuning = group(Tuning, "box")


@pytest.fixture
def declared(ros):
    ros()
    nodes = []

    def make(**overrides):
        # Keywords hold no dots.
        overrides = {name.replace("__", "."): value for name, value in overrides.items()}
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
        (
            {"raet_hz": 4.0},
            r"unknown parameter 'raet_hz' of node .*: use one of \['rate_hz'",
        ),
        ({"box__edge": 0.2}, r"unknown parameter 'box.edge' .*: use one of \['box.edge_m'"),
        (
            {"low_m": [0.1, 0.2]},
            r"unknown parameter 'low_m' of node .*: use one of \['box.low",
        ),
        ({"zzz": 1}, r"use one of \['box.\*', 'count', 'mode', 'names', 'on', 'rate_hz'\]"),
        ({"box": 1}, "unknown parameter 'box' of node example"),
        ({"box__edge_m": 0.4}, "box.edge_m of node example must lie in 0.1 to 0.3 m, got 0.4"),
        ({"box__gain": 3}, "box.gain of node example must lie in 0.0 to 2.0"),
        ({"box__tries": 1.0}, "box.tries of node example must be a int, got 1.0"),
        ({"box__tries": 7}, r"parameters box.\* of node example cannot be used: 7 contradicts all"),
        ({"box__low_m": [0.1]}, r"box.low_m of node example must be 2 numbers, got \(0.1,\)"),
        ({"box__low_m": 0.1}, "box.low_m of node example must be 2 numbers, got 0.1"),
        ({"box__low_m": ["a", "b"]}, "box.low_m of node example must be 2 numbers"),
        ({"box__low_m": [True, False]}, "box.low_m of node example must be 2 numbers"),
        ({"box__low_m": [-0.1, -0.1]}, r"box.low_m of .* must lie in \(0.0, -0.5\) to 0.5 m"),
        ({"box__low_m": [0.1, float("nan")]}, "box.low_m of node example must lie in"),
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


def test_groups_have_dotted_names_and_whole_numbers_serve_as_floats(declared):
    given = declared(box__low_m=[0, 0], box__edge_m=0.3, box__gain=2)
    assert given.box == Box((0.0, 0.0), 0.3)
    assert given.tuning == Tuning(2.0)
    assert declared.nodes[0].get_parameter("box.gain").value == 2
    described = declared.nodes[0].describe_parameter("box.low_m").description
    assert described == "low corner [m] 2 numbers, each (0.0, -0.5) to 0.5."
    assert declared.nodes[0].describe_parameter("box.tries").integer_range[0].to_value == 9


def test_changes_are_those_of_groups_by_name(declared):
    assert changes(declared(rate_hz=2.0)) == {}
    given = declared(rate_hz=2.0, box__low_m=[0.2, -0.4], box__gain=0.5)
    assert changes(given) == {"box.low_m": [0.2, -0.4], "box.gain": 0.5}


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
        exploration = values.pop("exploration", None)
        assert (exploration is not None) == (name == "explorer")
        assert (values.pop("handover", None) is not None) == (name == "policy")
        defaults = parameters_class()
        assert values == {key: getattr(defaults, key) for key in values}
        header = "".join(line for line in text.splitlines() if line.startswith("#"))
        missing = [
            field.name
            for field in fields(parameters_class)
            if field.name not in values and field.name not in header
            if "prefix" not in field.metadata
        ]
        assert missing == [], name


@pytest.mark.parametrize(
    ("file", "prefix", "classes"),
    [
        ("explorer", "exploration", (ExplorationParameters,)),
        ("policy", "handover", (HandOverParameters,)),
        ("safety", "safety", (SafetyParameters, MonitorLimits)),
    ],
)
def test_every_threshold_stands_in_a_file_with_its_default_unit_and_range(file, prefix, classes):
    text = (ROOT / "config" / f"{file}.yaml").read_text()
    section = text[text.index(f"    {prefix}:\n") :]
    said = [line.strip() for line in section.splitlines() if line.startswith("      ")]
    said = [line for line in said if not line.startswith("#")]
    expected = []
    for field in (field for one in classes for field in fields(one)):
        facts = field.metadata
        default, low, high = (
            list(value) if isinstance(value, tuple) else value
            for value in (field.default, facts["low"], facts["high"])
        )
        unit = "" if facts["unit"] == "1" else f"[{facts['unit']}] "
        note = f"{unit}{low} to {high}: {facts['description']}"
        expected.append(f"{field.name}: {default}  # {note}")
    assert said == expected
