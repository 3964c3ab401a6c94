"""Language-labelled demonstrations: arm, camera, teacher and recorder.

ros2 launch vla_ros demos.launch.py task:="put the carrot on the plate" episodes:=20 speed:=4
ros2 launch vla_ros demos.launch.py teacher:=joystick pad:=ps4 task:="…"
ros2 launch vla_ros demos.launch.py arm:=interbotix camera:=0 teacher:=person task:="…"
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
    """Return the demonstrations' launch description."""
    demo = required_node(
        "demo",
        {
            "robot_name": text("robot_name"),
            "task": text("task"),
            "teacher": text("teacher"),
            "joy.pad": text("pad"),
            "episodes": typed("episodes", int),
            "episode_s": typed("episode_s", float),
            "seed": typed("seed", int),
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
        argument("task", None, "What the demonstrations show, in plain words."),
        argument(
            "teacher",
            "scripted",
            "Who demonstrates: a script in the sim, a person's hands at the arm, or a gamepad.",
            ["scripted", "person", "joystick"],
        ),
        argument(
            "pad",
            "xbox",
            "Gamepad by joy_node, or standard: any by game_controller_node.",
            ["standard", "xbox", "ps4"],
        ),
        argument("episodes", "10", "Successful demonstrations wanted."),
        argument("episode_s", "30.0", "Time limit of one scripted demonstration [s]."),
        included("arm"),
        included("camera"),
        recorder(),
        demo,
    )
