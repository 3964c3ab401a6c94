"""How the vendor's driver is started, shown by a package of its name that says it."""

import pytest

pytest.importorskip("rclpy")
pytestmark = pytest.mark.ros

VENDOR = """
from launch import LaunchDescription
from launch.actions import OpaqueFunction, Shutdown

def say(context):
    given = context.launch_configurations
    print("driver:", given["robot_name"], given.get("launch-prefix"), flush=True)
    return [Shutdown(reason="said")]

def generate_launch_description():
    return LaunchDescription([OpaqueFunction(function=say)])
"""
# What our files start after the driver shall stay in the terminal's session.
AFTER = """
from launch import LaunchDescription
from launch.actions import IncludeLaunchDescription, OpaqueFunction
from launch.launch_description_sources import PythonLaunchDescriptionSource

def say(context):
    print("after:", context.launch_configurations.get("launch-prefix"), flush=True)
    return []

def generate_launch_description():
    arm = IncludeLaunchDescription(PythonLaunchDescriptionSource(ARM))
    return LaunchDescription([arm, OpaqueFunction(function=say)])
"""


def test_a_real_driver_runs_in_a_session_that_ctrl_c_does_not_reach(graph, overlay):
    prefix = graph.folder / "vendor"
    index = prefix / "share/ament_index/resource_index/packages"
    launch = prefix / "share/interbotix_xsarm_control/launch"
    for folder in (index, launch):
        folder.mkdir(parents=True)
    (index / "interbotix_xsarm_control").touch()
    (launch / "xsarm_control.launch.py").write_text(VENDOR)
    arm = overlay / "share/vla_ros/launch/arm.launch.py"
    (graph.folder / "both.launch.py").write_text(AFTER.replace("ARM", repr(str(arm))))
    graph.env["AMENT_PREFIX_PATH"] = f"{prefix}:{graph.env['AMENT_PREFIX_PATH']}"
    _, output = graph.run("ros2", "launch", "both.launch.py", "arm:=interbotix", "robot_name:=left")
    assert "driver: left setsid" in output, output
    assert "after: None" in output, output
