"""One camera: the sim's, a USB camera, a camera driver's topic or a video file.

ros2 launch vla_ros camera.launch.py camera:=/dev/video0
ros2 launch vla_ros camera.launch.py camera:=topic:/camera/color/image_raw
"""

from launch import LaunchDescription

from vla_ros.nodes.launching import camera_arguments, required_node, text, typed


def generate_launch_description():
    """Return the camera's launch description."""
    camera = required_node(
        "camera",
        {
            "name": text("camera_name"),
            "source": text("camera"),
            "width": typed("camera_width", int),
            "height": typed("camera_height", int),
            "rate_hz": typed("camera_rate", float),
            "calibration": text("calibration"),
            "extrinsics": text("extrinsics"),
            "robot_name": text("robot_name"),
        },
    )
    return LaunchDescription([*camera_arguments(), camera])
