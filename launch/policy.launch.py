"""A trained policy carries out an instruction: arm, camera, policy and recorder.

ros2 launch vla_ros policy.launch.py task:="put the carrot on the plate" checkpoint:=DIR
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
    """Return the policy's launch description."""
    policy = required_node(
        "policy",
        {
            "robot_name": text("robot_name"),
            "camera": text("camera_name"),
            "task": text("task"),
            "checkpoint": text("checkpoint"),
            "episodes": typed("episodes", int),
            "episode_s": typed("episode_s", float),
            "results": text("results"),
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
        argument("task", None, "What to do, in plain words."),
        argument("checkpoint", None, "Folder of a Stage 2 checkpoint, of TAP or APT."),
        argument("episodes", "1", "Stop after so many episodes; 0: never."),
        argument("episode_s", "60.0", "Time limit of an episode [s]."),
        argument("results", "", "JSON file for the outcomes; empty: none."),
        included("arm"),
        included("camera"),
        recorder(),
        policy,
    )
