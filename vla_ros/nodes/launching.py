"""What the launch files share: argument declarations, required nodes, refusal of unknown names.

Uses only what both the real `launch` and the stand-in of machines without it offer.
"""

from pathlib import Path

from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    IncludeLaunchDescription,
    OpaqueFunction,
    Shutdown,
    TimerAction,
)
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (
    LaunchConfiguration,
    NotEqualsSubstitution,
    PathJoinSubstitution,
    PythonExpression,
)
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

from vla_ros.nodes.launch_texts import Text, Texts, text_file

PACKAGE = "vla_ros"
ROBOT_MODELS = ["wx250s"]
# How long a launch outlives its recorder [s]: without one play parks at once.
_LET_PARK_S = 60.0


class LaunchError(Exception):
    """Ends the launch with a non-zero exit code and one sentence."""


def argument(
    name: str, default: str | None, description: str, choices: list[str] | None = None
) -> DeclareLaunchArgument:
    """Return a launch argument; default None makes it one that must be given."""
    options = {} if choices is None else {"choices": choices}
    if default is not None:
        options["default_value"] = default
    return DeclareLaunchArgument(name, description=description, **options)


def arm_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of arm.launch.py."""
    return [
        argument("arm", "sim", "The arm: simulated, or real.", ["sim", "interbotix"]),
        argument("robot_model", "wx250s", "Interbotix name of the arm.", ROBOT_MODELS),
        robot_name_argument(),
        argument("load_configs", "false", "Real arm: write the motors' EEPROM at start."),
        argument("speed", "1.0", "Sim: simulated seconds in a second."),
        argument("seed", "-1", "Seed of the scenes and of what moves the arm; -1: drawn anew."),
        argument(
            "objects", "[carrot, plate, banana, apple, pumpkin]", "Sim: objects on the table."
        ),
        *_camera_name_and_rate(),
        config_argument(),
    ]


def camera_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of camera.launch.py."""
    return [
        argument(
            "camera",
            "sim",
            "sim, a V4L2 index or path, topic:/a/drivers/image_raw, or a video file.",
        ),
        argument("camera_width", "640", "Image width [px]."),
        argument("camera_height", "480", "Image height [px]."),
        *_camera_name_and_rate(),
        argument("calibration", "", "Calibration file of a real camera."),
        argument("extrinsics", "", "File that says where a real camera is."),
        robot_name_argument(),
        config_argument(),
    ]


def robot_name_argument() -> DeclareLaunchArgument:
    """Return the argument that arm and camera share."""
    return argument("robot_name", "wx250s", "Namespace of the arm driver.")


def _camera_name_and_rate() -> list[DeclareLaunchArgument]:
    return [
        argument("camera_name", "front", "Name of the camera."),
        argument("camera_rate", "30.0", "Images a second."),
    ]


def config_argument() -> DeclareLaunchArgument:
    """Return the argument for the folder of the parameter files."""
    default = PathJoinSubstitution([FindPackageShare(PACKAGE), "config"])
    return DeclareLaunchArgument(
        "config", default_value=default, description="Folder of the nodes' parameter files."
    )


def record_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of the recorder."""
    return [
        argument("record", "true", "Record each episode as a bag.", ["true", "false"]),
        argument("out", "rosbags", "Folder for the recorded sessions."),
        argument("session", "", "Folder of this session in it; empty: date and time."),
    ]


def workspace_argument() -> DeclareLaunchArgument:
    """Return the argument of launch files with a node that moves the arm."""
    return argument(
        "workspace", "", "Parameter file for it, as training.workspace writes; empty: none."
    )


def text(name: str) -> Text:
    """Return an argument as a string parameter; only `required_node` knows what to do with it."""
    return Text(name)


def typed(name: str, value_type: type) -> ParameterValue:
    """Return an argument as a parameter of a type."""
    return ParameterValue(LaunchConfiguration(name), value_type=value_type)


def simulated_time() -> ParameterValue:
    """Return whether nodes follow /clock: only where a sim runs at another speed than the wall."""
    arm, speed = LaunchConfiguration("arm"), LaunchConfiguration("speed")
    expression = PythonExpression(["'", arm, "' == 'sim' and float('", speed, "') != 1.0"])
    return ParameterValue(expression, value_type=bool)


def required_node(
    name: str,
    parameters: dict,
    moves_arm: bool = False,
    as_name: str = "",
    **options: object,
) -> OpaqueFunction:
    """Return one of our nodes with its parameter file; its end is the launch's end.

    One that moves the arm takes safety.yaml first, and the file of the argument `workspace` over
    its own. What the launch file sets holds over every file. `as_name` is for a second node of a
    kind.
    """
    folder = LaunchConfiguration("config")
    names = ["safety", name] if moves_arm else [name]
    paths = [PathJoinSubstitution([folder, f"{stem}.yaml"]) for stem in names]

    def make(context) -> list:
        said = context.launch_configurations
        texts: dict[str, str | list[str]] = {}
        for key, value in parameters.items():
            if isinstance(value, Text):
                texts[key] = said[value.name]
            elif isinstance(value, Texts):
                texts[key] = [said[n] for n in value.names if said.get(n)]
        others = {key: value for key, value in parameters.items() if key not in texts}
        drawn = workspace_files(context) if moves_arm else []
        node = Node(
            package=PACKAGE,
            executable=f"{name}_node",
            name=as_name or name,
            parameters=[*paths, *drawn, text_file(name, texts), others],
            output="screen",
            on_exit=_ON_EXIT.get(name, end_launch),
        )
        return [node]

    return OpaqueFunction(function=make, **options)


def workspace_files(context) -> list[str]:
    """Return the path that the argument `workspace` names, in a list that is empty without one.

    Raises:
        LaunchError: there is no such file; the real Node would only warn, and the arm would play
            in its default region.
    """
    given = context.launch_configurations["workspace"]
    if not given:
        return []
    path = Path(given).expanduser()
    if not path.is_file():
        raise LaunchError(
            f"workspace:={given} is no file: give the one that training.workspace wrote"
        )
    return [str(path)]


def second_camera_arguments() -> list[DeclareLaunchArgument]:
    """Return the arguments of `second_camera`."""
    return [
        argument("camera2_name", "", "Name of a second camera; empty: there is none."),
        argument("camera2", "sim", "What it is, as camera."),
        argument("calibration2", "", "Its calibration file, if it is real."),
        argument("extrinsics2", "", "File that says where it is, if it is real."),
    ]


def second_camera() -> OpaqueFunction:
    """Return another camera of the same size and rate, where one is named."""
    parameters = {
        "name": text("camera2_name"),
        "source": text("camera2"),
        "width": typed("camera_width", int),
        "height": typed("camera_height", int),
        "rate_hz": typed("camera_rate", float),
        "calibration": text("calibration2"),
        "extrinsics": text("extrinsics2"),
        "robot_name": text("robot_name"),
    }
    is_named = IfCondition(NotEqualsSubstitution(LaunchConfiguration("camera2_name"), ""))
    return required_node("camera", parameters, as_name="camera2", condition=is_named)


def recorder() -> Node:
    """Return the recorder, unless nothing shall be recorded."""
    parameters = {
        "robot_name": text("robot_name"),
        "robot_model": text("robot_model"),
        "arm": text("arm"),
        "cameras": Texts(("camera_name", "camera2_name")),
        "out": text("out"),
        "session": text("session"),
        "use_sim_time": simulated_time(),
    }
    return required_node(
        "recorder", parameters, condition=IfCondition(LaunchConfiguration("record"))
    )


def end_launch(event, context) -> list:
    """Answer the end of a required node: with success, or with the launch's failure.

    `Shutdown` alone would end the real launch with exit code 0 either way.
    """
    if event.returncode != 0:
        raise LaunchError(f"{event.process_name} ended with exit code {event.returncode}")
    return [Shutdown(reason=f"{event.process_name} is done")]


def end_launch_later(event, context) -> list:
    """Leave the node that moves the arm the time to notice, to park it, and to end the launch.

    Ended at once with the rest, it could only brake, and the arm would stand there all night.
    """
    end = OpaqueFunction(function=lambda context: end_launch(event, context))
    return [TimerAction(period=_LET_PARK_S, actions=[end])]


def end_launch_without_arm(event, context) -> list:
    """Leave the end to the node that moves the arm, where there is one.

    It holds or tries again without pictures, plays on when somebody has started the camera anew,
    and gives up by itself: play after explorer_node's give_up_after_min.
    """
    moves_arm = "workspace" in context.launch_configurations
    return [] if moves_arm else end_launch(event, context)


_ON_EXIT = {"recorder": end_launch_later, "camera": end_launch_without_arm}


def included(name: str) -> IncludeLaunchDescription:
    """Return another launch file of the package, which sees the same arguments."""
    path = PathJoinSubstitution([FindPackageShare(PACKAGE), "launch", f"{name}.launch.py"])
    return IncludeLaunchDescription(PythonLaunchDescriptionSource(path))


def description(*entities) -> LaunchDescription:
    """Return a launch description that refuses arguments it does not declare."""
    flat = [part for entity in entities for part in (entity if type(entity) is list else [entity])]
    declarations = {e.name: e for e in flat if isinstance(e, DeclareLaunchArgument)}
    actions = [entity for entity in flat if not isinstance(entity, DeclareLaunchArgument)]
    names = sorted(declarations)

    def refuse_unknown(context):
        unknown = sorted(set(context.launch_configurations) - set(names))
        if unknown:
            raise LaunchError(f"unknown launch argument {', '.join(unknown)}: use {names}")
        return []

    return LaunchDescription(
        [OpaqueFunction(function=refuse_unknown), *declarations.values(), *actions]
    )
