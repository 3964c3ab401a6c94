"""Parameters: the types that values become, and strings that stay strings."""

from __future__ import annotations

import json
from typing import List  # noqa: UP035  (launch files for the real package may use it)

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from launch import LaunchContext
from launch._errors import LaunchError
from launch.substitutions import LaunchConfiguration, TextSubstitution
from launch_ros._parameters import evaluate_parameters, parameter_yaml
from launch_ros.parameter_descriptions import ParameterValue

LOOK_ALIKES = [
    "put the carrot on the plate", "a: b", "a #b", "'", '"', "it's \"so\"", "🥕 → 🍽", "two\nlines",
    "\ttab", " spaces ", "", "yes", "no", "on", "y", "true", "1", "-1", "1.5", "1e3", "0x1",
    ".inf", "nan", "null", "~", "[1, 2]", "{a: b}", "- a", "&a", "*a", "!tag", "%x", "@x", "`x`",
    ">", "2026-01-01", "12:30", "---", "\\n", "\x85", "\u2028", "\x07",
]  # fmt: skip


def evaluated(parameters: object, **arguments: str) -> dict:
    context = LaunchContext()
    context.launch_configurations.update(arguments)
    return evaluate_parameters(parameters, context)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.5", 1.5), ("1e3", "1e3"), ("yes", True), ("false", False), ("", ""),
        ("word", "word"), ("'1'", "1"), ("[1, 2]", [1, 2]), ("[a, b]", ["a", "b"]),
    ],
)  # fmt: skip
def test_text_from_a_substitution_gets_its_type_from_yaml(text: str, value: object) -> None:
    got = evaluated({"p": LaunchConfiguration("a"), "q": [LaunchConfiguration("a")]}, a=text)
    assert got == {"p": value, "q": value}
    assert [type(item) for item in got.values()] == [type(value)] * 2


@pytest.mark.parametrize(
    ("text", "value_type", "value"),
    [
        ("1", str, "1"), ("1", int, 1), ("1", float, 1.0), ("1e3", float, 1000.0),
        ("1", bool, True),
        ("yes", bool, True), ("0", bool, False), ("[a, b]", List[str], ["a", "b"]),  # noqa: UP006
        ("[1.0, 2.5]", list[float], [1.0, 2.5]), ("~", str, "~"),
    ],
)  # fmt: skip
def test_a_parameter_value_gives_text_its_type(
    text: str, value_type: object, value: object
) -> None:
    got = evaluated({"p": ParameterValue(LaunchConfiguration("a"), value_type=value_type)}, a=text)
    assert got == {"p": value}
    assert type(got["p"]) is type(value)


@pytest.mark.parametrize(
    "value", ["1", "yes", "a: b", 1, 1.5, True, ["a", "1"], [1, 2], [True, False]]
)
def test_plain_values_of_a_launch_file_stay_what_they_are(value: object) -> None:
    assert evaluated({"p": value, "q": ParameterValue(value)}) == {"p": value, "q": value}


def test_lists_and_nested_dictionaries() -> None:
    values = {
        "a": {"b": {"c": 1}},
        ("d", TextSubstitution(text="e")): 2,
        "mixed": [1, 2.5],
        "joined": ["x", LaunchConfiguration("n")],
        "many": [[LaunchConfiguration("n")], ["2"]],
    }
    assert evaluated(values, n="1") == {
        "a.b.c": 1, "de": 2, "mixed": [1.0, 2.5], "joined": "x1", "many": [1, 2],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, r"'p' is None.*a parameter is a truth value"),
        ([], r"'p' is the list \[\]: it needs at least one value, and all of one type"),
        ([1, "a"], r"all of one type"),
        (LaunchConfiguration("a"), r"'p' got 'a: b'.*must say ParameterValue\(…, value_type=str\)"),
        (
            ParameterValue(LaunchConfiguration("a"), value_type=int),
            "'p' got 'a: b', which is no int",
        ),
        (ParameterValue(LaunchConfiguration("a"), value_type=bool), "which is no bool"),
        (ParameterValue(TextSubstitution(text="[1]"), value_type=list[float]), "is no list"),
        (ParameterValue(LaunchConfiguration("a"), value_type=list[int]), r"no list\[int\]"),
        (ParameterValue(LaunchConfiguration("a"), value_type=dict), "value_type=<class 'dict'>"),
        (ParameterValue("1", value_type=int), "is '1', not of the type int.*make both agree"),
    ],
)
def test_values_without_a_legal_type_are_refused(value: object, message: str) -> None:
    with pytest.raises(LaunchError, match=message):
        evaluated({"p": value}, a="a: b")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_any_text_survives_the_parameter_file(text: str) -> None:
    written = parameter_yaml({"task": text, "list": [text, "b"]})
    read = yaml.safe_load(written)["/**"]["ros__parameters"]
    assert read == {"task": text, "list": [text, "b"]}


@given(st.floats() | st.integers(-(2**63), 2**63 - 1) | st.booleans())
def test_numbers_and_truth_values_keep_value_and_type(value: object) -> None:
    read = yaml.safe_load(parameter_yaml({"p": value}))["/**"]["ros__parameters"]["p"]
    assert type(read) is type(value)
    assert read == value or (value != value and read != read)


@pytest.mark.parametrize("text", LOOK_ALIKES)
def test_each_string_is_quoted_for_readers_with_other_rules_than_pyyaml(text: str) -> None:
    line = parameter_yaml({"task": text}).splitlines()[2]
    assert line.strip().startswith('"task": "')
    assert line.endswith('"')


@pytest.mark.parametrize("text", ["a\0b", "caf\udce9"])
def test_a_string_that_no_parameter_can_carry_is_refused(text: str) -> None:
    with pytest.raises(LaunchError, match=r"'task' holds a NUL or bytes that are no UTF-8"):
        parameter_yaml({"task": text})


def test_task_texts_reach_a_node_through_the_command_line_unchanged(toy) -> None:
    toy.node(
        "reader",
        "import json, sys, yaml\n"
        "path = sys.argv[sys.argv.index('--params-file') + 1]\n"
        "print(json.dumps(yaml.safe_load(open(path, encoding='utf-8'))))\n",
    )
    names = [f"t{index}" for index in range(len(LOOK_ALIKES))]
    declared = ", ".join(f'DeclareLaunchArgument("{name}")' for name in names)
    values = ", ".join(
        f'"{name}": ParameterValue(LaunchConfiguration("{name}"), value_type=str)' for name in names
    )
    toy.launch_file(f'{declared}, node("reader", parameters=[{{{values}}}]),')
    words = [f"{name}:={text}" for name, text in zip(names, LOOK_ALIKES, strict=True)]
    result = toy.ros2("launch", "toy", "toy.launch.py", *words)
    line = next(x for x in result.stdout.splitlines() if x.startswith("[reader-1] {"))
    read = json.loads(line.partition(" ")[2])["/**"]["ros__parameters"]
    assert [read[name] for name in names] == LOOK_ALIKES


def test_a_missing_parameter_file_is_refused(toy) -> None:
    toy.node("reader", "")
    toy.launch_file('node("reader", parameters=["/no/such.yaml"]),')
    result = toy.ros2("launch", "toy", "toy.launch.py")
    assert result.returncode == 1
    assert "the parameter file /no/such.yaml does not exist" in result.stdout


def test_a_real_node_reads_each_string_as_it_was_given(tmp_path, ros) -> None:
    import rclpy

    names = {f"t{index}": text for index, text in enumerate(LOOK_ALIKES)}
    path = tmp_path / "parameters.yaml"
    path.write_text(parameter_yaml({**names, "list": ["1e3", "y"], "x": 1e-7, "n": 3}), "utf-8")
    ros("--params-file", str(path))
    node = rclpy.create_node("reader", automatically_declare_parameters_from_overrides=True)
    try:
        read = {name: node.get_parameter(name).value for name in names}
        assert read == names
        assert node.get_parameter("list").value == ["1e3", "y"]
        assert node.get_parameter("x").value == 1e-7
        assert node.get_parameter("n").value == 3
    finally:
        node.destroy_node()
