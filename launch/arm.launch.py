"""The arm alone: the simulated one, or a real one through Interbotix's driver."""

from typing import List  # noqa: UP035  (launch_ros of Humble compares with typing.List)

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from launch import LaunchDescription
from launch.actions import GroupAction, IncludeLaunchDescription, OpaqueFunction
from launch.conditions import IfCondition
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import EqualsSubstitution, LaunchConfiguration

from vla_ros.nodes.launching import LaunchError, arm_arguments, required_node, text, typed

INTERBOTIX = "interbotix_xsarm_control"


def interbotix_driver(context):
    """Include the vendor's driver, if that is what is asked for."""
    arguments = context.launch_configurations
    if arguments["arm"] != "interbotix":
        return []
    try:
        share = get_package_share_directory(INTERBOTIX)
    except PackageNotFoundError:
        raise LaunchError(
            f"arm:=interbotix needs the package {INTERBOTIX}, which is not here: install "
            "interbotix_ros_manipulators for your ROS distro and source it, or use arm:=sim"
        ) from None
    given = {name: arguments[name] for name in ("robot_model", "robot_name", "load_configs")}
    given["use_rviz"] = "false"
    source = PythonLaunchDescriptionSource(f"{share}/launch/xsarm_control.launch.py")
    # On Ctrl-C the terminal ends every process of its session at once, the driver too, and the node
    # that moves the arm would brake into nothing. In a session of its own the driver gets launch's
    # SIGTERM instead, 5 s later, when our nodes have ended. The prefix ends with the group.
    in_own_session = OpaqueFunction(function=use_own_sessions)
    include = IncludeLaunchDescription(source, launch_arguments=given.items())
    return [GroupAction([in_own_session, include])]


def use_own_sessions(context):
    """Have what is started from here on in this scope run in sessions of its own."""
    context.launch_configurations["launch-prefix"] = "setsid"


def generate_launch_description():
    """Return the arm's launch description."""
    sim = required_node(
        "sim",
        {
            "robot_model": text("robot_model"),
            "robot_name": text("robot_name"),
            "speed": typed("speed", float),
            "seed": typed("seed", int),
            "objects": typed("objects", List[str]),  # noqa: UP006
            "state_rate_hz": typed("camera_rate", float),
            "cameras": [[LaunchConfiguration("camera_name")]],
        },
        condition=IfCondition(EqualsSubstitution(LaunchConfiguration("arm"), "sim")),
    )
    return LaunchDescription([*arm_arguments(), sim, OpaqueFunction(function=interbotix_driver)])
