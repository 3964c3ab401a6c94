"""Unattended play: arm, camera, explorer and recorder.

ros2 launch vla_ros play.launch.py                          until Ctrl-C, simulated arm
ros2 launch vla_ros play.launch.py segments:=10 speed:=4    ten recorded segments, 4x real time
ros2 launch vla_ros play.launch.py arm:=interbotix camera:=0 hours:=8 rest_every:=30 rest:=5
"""

from vla_ros.nodes.launching import (
    argument,
    arm_arguments,
    camera_arguments,
    description,
    included,
    record_arguments,
    recorder,
    required_node,
    simulated_time,
    text,
    typed,
    workspace_argument,
)


def generate_launch_description():
    """Return play's launch description."""
    explorer = required_node(
        "explorer",
        {
            "robot_name": text("robot_name"),
            "seed": typed("seed", int),
            "hours": typed("hours", float),
            "segments": typed("segments", int),
            "segment_s": typed("segment_s", float),
            "rest_every_min": typed("rest_every", float),
            "rest_min": typed("rest", float),
            "poses": text("poses"),
            "camera": text("camera_name"),
            "record": typed("record", bool),
            "use_sim_time": simulated_time(),
        },
        moves_arm=True,
    )
    return description(
        arm_arguments(),
        camera_arguments(),
        record_arguments(),
        workspace_argument(),
        argument("hours", "0.0", "Play for so many hours; 0: count segments."),
        argument("segments", "0", "Play so many segments; 0: until stopped."),
        argument("segment_s", "60.0", "Length of a recorded segment [s]."),
        argument("rest_every", "30.0", "Let the motors rest after so much time [min]; 0: never."),
        argument("rest", "5.0", "How long they rest, without torque in the sleep pose [min]."),
        argument("poses", "", "JSON file of safe poses; empty: made from the workspace."),
        included("arm"),
        included("camera"),
        recorder(),
        explorer,
    )
