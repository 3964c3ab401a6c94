"""Substitutions, conditions and scopes of the launch stand-in, without any process."""

from __future__ import annotations

import os

import pytest
from launch import LaunchContext, LaunchDescription
from launch._errors import LaunchError, NotInStandInError
from launch.actions import (
    DeclareLaunchArgument,
    GroupAction,
    IncludeLaunchDescription,
    OpaqueFunction,
    SetEnvironmentVariable,
)
from launch.conditions import IfCondition, UnlessCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    EnvironmentVariable,
    EqualsSubstitution,
    LaunchConfiguration,
    NotEqualsSubstitution,
    PathJoinSubstitution,
    PythonExpression,
    TextSubstitution,
    ThisLaunchFileDir,
)
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.substitutions import FindPackageShare


@pytest.fixture
def context() -> LaunchContext:
    """A context whose environment is not this process's."""
    context = LaunchContext()
    context.environment = {"HOME_ROBOT": "wx"}
    return context


@pytest.mark.parametrize(
    ("substitution", "text"),
    [
        (TextSubstitution(text="a"), "a"),
        (LaunchConfiguration("arm"), "sim"),
        (LaunchConfiguration(["a", "rm"]), "sim"),
        (LaunchConfiguration("absent", default="d"), "d"),
        (LaunchConfiguration("absent", default=LaunchConfiguration("arm")), "sim"),
        (EnvironmentVariable("HOME_ROBOT"), "wx"),
        (EnvironmentVariable("ABSENT", default_value="none"), "none"),
        (PathJoinSubstitution(["a", LaunchConfiguration("arm"), "b.yaml"]), "a/sim/b.yaml"),
        (PythonExpression(["'", LaunchConfiguration("arm"), "' == 'sim'"]), "True"),
        (PythonExpression("floor(2.5) + math.floor(2.5)"), "4"),
        (PythonExpression("os.sep", python_modules=["os"]), "/"),
        (EqualsSubstitution(LaunchConfiguration("arm"), "sim"), "true"),
        (EqualsSubstitution("1.0", "1"), "true"),
        (EqualsSubstitution(True, "1"), "true"),
        (EqualsSubstitution("True", "false"), "false"),
        (EqualsSubstitution("1.0", "true"), "false"),
        (NotEqualsSubstitution("a", "b"), "true"),
        (NotEqualsSubstitution("a", "a"), "false"),
    ],
)
def test_substitutions_become_text(context, substitution, text: str) -> None:
    context.launch_configurations["arm"] = "sim"
    assert context.perform_substitution(substitution) == text


@pytest.mark.parametrize(
    ("substitution", "message"),
    [
        (LaunchConfiguration("arn"), r"'arn' where it has no value.*there are: arm"),
        (EnvironmentVariable("ABSENT"), "the environment variable ABSENT: set it"),
        (PythonExpression("1 / 0"), "expression '1 / 0' failed: ZeroDivisionError"),
        (ThisLaunchFileDir(), "after its launch file had been read"),
    ],
)
def test_a_substitution_without_a_value_says_which(context, substitution, message: str) -> None:
    context.launch_configurations["arm"] = "sim"
    with pytest.raises(LaunchError, match=message):
        context.perform_substitution(substitution)


def test_find_package_share_looks_in_the_prefix_and_names_near_packages(
    toy, context, monkeypatch
) -> None:
    monkeypatch.setenv("AMENT_PREFIX_PATH", toy.env["AMENT_PREFIX_PATH"])
    assert FindPackageShare("toy").perform(context) == str(toy.share)
    with pytest.raises(LaunchError, match=r"no package 'toi'.*near it: toy"):
        FindPackageShare("toi").perform(context)
    monkeypatch.delenv("AMENT_PREFIX_PATH")
    with pytest.raises(LaunchError, match=r"AMENT_PREFIX_PATH is not set.*activate\.sh"):
        FindPackageShare("toy").perform(context)


@pytest.mark.parametrize(
    ("text", "holds"),
    [("true", True), ("1", True), (" True ", True), ("false", False), ("0", False)],
)
def test_conditions_take_truth_words(context, text: str, holds: bool) -> None:
    assert IfCondition(text).evaluate(context) is holds
    assert UnlessCondition(text).evaluate(context) is not holds


@pytest.mark.parametrize("text", ["", "yes", "2"])
def test_conditions_refuse_other_words(context, text: str) -> None:
    with pytest.raises(LaunchError, match=f"is {text!r}.*must be true, 1, false or 0"):
        IfCondition(text).evaluate(context)


def noted(seen: list[str], name: str, **kwargs: object) -> OpaqueFunction:
    """An action that notes an argument's value when it is visited."""
    return OpaqueFunction(
        function=lambda context: seen.append(context.launch_configurations.get(name, "-")), **kwargs
    )


def test_an_argument_keeps_a_given_value_and_takes_its_default_otherwise(context) -> None:
    context.launch_configurations["a"] = "given"
    seen: list[str] = []
    LaunchDescription(
        [
            DeclareLaunchArgument("a", default_value="default"),
            DeclareLaunchArgument("b", default_value=[LaunchConfiguration("a"), "!"]),
            noted(seen, "a"),
            noted(seen, "b"),
        ]
    ).visit(context)
    assert seen == ["given", "given!"]


def test_a_required_argument_and_a_wrong_choice_are_refused(context) -> None:
    with pytest.raises(LaunchError, match=r"'task' is required \(what to do\): give task:=VALUE"):
        DeclareLaunchArgument("task", description="what to do").visit(context)
    context.launch_configurations["arm"] = "leg"
    with pytest.raises(LaunchError, match="'arm' cannot be 'leg': choose one of sim, real"):
        DeclareLaunchArgument("arm", default_value="sim", choices=["sim", "real"]).visit(context)


def test_a_condition_decides_whether_an_action_is_done(context) -> None:
    seen: list[str] = []
    LaunchDescription(
        [
            noted(seen, "x", condition=IfCondition("false")),
            noted(seen, "y", condition=UnlessCondition("false")),
        ]
    ).visit(context)
    assert seen == ["-"]


def test_what_a_group_sets_ends_with_the_group_unless_it_is_not_scoped(context) -> None:
    seen: list[str] = []
    inside = [
        PushRosNamespace("robot"),
        PushRosNamespace("arm"),
        SetEnvironmentVariable("COLOUR", "red"),
        noted(seen, "ros_namespace"),
    ]
    GroupAction(inside).visit(context)
    noted(seen, "ros_namespace").visit(context)
    assert "COLOUR" not in context.environment
    GroupAction(inside, scoped=False).visit(context)
    noted(seen, "ros_namespace").visit(context)
    assert seen == ["/robot/arm", "-", "/robot/arm", "/robot/arm"]
    assert context.environment["COLOUR"] == "red"


def test_an_absolute_namespace_stands_for_itself(context) -> None:
    PushRosNamespace("robot").visit(context)
    PushRosNamespace("/other/").visit(context)
    assert context.launch_configurations["ros_namespace"] == "/other"


def test_an_included_file_sees_its_arguments_and_its_own_folder(toy, context) -> None:
    toy.launch_file(
        'DeclareLaunchArgument("a"), '
        'SetEnvironmentVariable("SEEN", ["a=", LaunchConfiguration("a"), ThisLaunchFileDir()]),',
        name="inner.launch.py",
    )
    outer = toy.launch_file(
        """
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource([ThisLaunchFileDir(), "/inner.launch.py"]),
            launch_arguments={"a": "1"}.items()),
        """
    )
    IncludeLaunchDescription(PythonLaunchDescriptionSource(str(outer))).visit(context)
    assert context.environment["SEEN"] == f"a=1{outer.parent}"
    assert context.current_launch_file_directory is None


def test_an_opaque_function_is_given_its_arguments_and_its_entities_are_visited(context) -> None:
    seen: list[object] = []

    def function(context, *args: object, **kwargs: object) -> list[OpaqueFunction]:
        seen.append((args, kwargs))
        return [OpaqueFunction(function=lambda context: seen.append("visited"))]

    OpaqueFunction(function=function, args=[1], kwargs={"b": 2}).visit(context)
    assert seen == [((1,), {"b": 2}), "visited"]


def test_an_opaque_function_that_returns_no_actions_is_refused(context) -> None:
    with pytest.raises(LaunchError, match=r"holds 3, which is no action: put actions there"):
        OpaqueFunction(function=lambda context: [3]).visit(context)


def test_a_construct_that_only_the_real_package_has_is_named() -> None:
    import launch.actions

    needs = "it needs the real launch package of a ROS 2 install"
    with pytest.raises(NotInStandInError, match=rf"no launch\.actions\.ExecuteProcess: {needs}"):
        from launch.actions import ExecuteProcess  # noqa: F401
    with pytest.raises(NotInStandInError, match=r"no launch\.actions\.UnsetLaunchConfiguration"):
        _ = launch.actions.UnsetLaunchConfiguration
    with pytest.raises(NotInStandInError, match=r"no launch_ros\.actions\.ComposableNodeContainer"):
        from launch_ros.actions import ComposableNodeContainer  # noqa: F401
    with pytest.raises(NotInStandInError, match=rf"no prefix= for Node: {needs}"):
        Node(package="p", executable="e", prefix="gdb")
    with pytest.raises(NotInStandInError, match="no respawn= for Node"):
        Node(package="p", executable="e", respawn=True)
    with pytest.raises(NotInStandInError, match=r"no LaunchContext\.would_handle_event"):
        _ = LaunchContext().would_handle_event


def test_modules_are_found_as_attributes_of_the_package() -> None:
    import launch

    assert launch.actions.Shutdown is not launch.events.Shutdown
    assert not hasattr(launch, "__path_of_nothing__")
    assert os.path.basename(launch.substitutions.__file__) == "substitutions.py"
