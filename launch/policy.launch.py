"""A trained policy carries out an instruction: arm, camera, policy and recorder.

ros2 launch vla_ros policy.launch.py task:="put the carrot on the plate" [checkpoint:=DIR]
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
    second_camera,
    second_camera_arguments,
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
            "checkpoint_sha256": text("checkpoint_sha256"),
            "episodes": typed("episodes", int),
            "episode_s": typed("episode_s", float),
            "results": text("results"),
            "dry_run": typed("dry_run", bool),
            "overlays": typed("overlays", bool),
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
        argument("task", "", "What to do, in plain words; empty: goals of /vla/do_task."),
        argument("checkpoint", "tap", "Folder of a Stage 2 checkpoint; tap, apt: shipped."),
        argument("checkpoint_sha256", "", "SHA-256 that it must have; empty: any."),
        argument("episodes", "1", "Stop after so many episodes; 0: never."),
        argument("episode_s", "60.0", "Time limit of an episode [s]."),
        argument("results", "", "JSON file for the outcomes; empty: none."),
        argument("dry_run", "false", "Command nothing, only show.", ["true", "false"]),
        argument("overlays", "false", "Show what answers hang on.", ["true", "false"]),
        second_camera_arguments(),
        included("arm"),
        included("camera"),
        second_camera(),
        recorder(),
        policy,
    )
