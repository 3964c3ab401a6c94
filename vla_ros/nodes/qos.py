"""The quality of service of every topic, and the topics' names."""

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, *, latched: bool = False, reliable: bool = True) -> QoSProfile:
    policy = ReliabilityPolicy
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=policy.RELIABLE if reliable else policy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


# As xs_sdk publishes them.
JOINT_STATES = _profile(10)
# Depth 1: a queue of old commands is a hazard.
COMMANDS = _profile(1)
# Reliable, because the package's DDS profile has room for whole images; best effort lost 70 %.
CAMERA = _profile(2)
# Sensor data of somebody's camera driver: best effort hears reliable publishers too.
DRIVER = _profile(5, reliable=False)
COMMANDED = _profile(10)
# A busy renderer falls behind a little rather than leave pictures out.
SIM_STATE = _profile(5)
EPISODE = _profile(10)
DIAGNOSTICS = _profile(10)
# Heard from whoever says it, and only from then on: what was latched may be an earlier run's.
TASK = _profile(10)
# Only what is said now counts.
DEADMAN = _profile(1)
PREVIEW = _profile(1)
# None of a few quick stops may be lost.
ESTOP = _profile(10)
ESTOP_BEST_EFFORT = _profile(10, reliable=False)
# What a late joiner must still see.
LATCHED = _profile(1, latched=True)
# Several nodes may each have said theirs.
STATIC_TRANSFORMS = _profile(10, latched=True)
# The recorder's own subscriptions: nothing may be lost while a chunk is compressed.
RECORD = _profile(200)
RECORD_LATCHED = _profile(10, latched=True)

COMMANDED_TOPIC = "/vla/commanded"
EPISODE_TOPIC = "/vla/episode"
TASK_TOPIC = "/vla/task"
RECORDING_TOPIC = "/vla/recording"
DEADMAN_TOPIC = "/vla/deadman"
PREVIEW_TOPIC = "/vla/preview"
PREVIEW_POSES_TOPIC = "/vla/preview_poses"
GATES_TOPIC = "/vla/gates"
TF_STATIC_TOPIC = "/tf_static"
DIAGNOSTICS_TOPIC = "/diagnostics"
ESTOP_TOPIC = "/vla/estop"
STOP_SERVICE = "/vla/stop"
RESET_STOP_SERVICE = "/vla/reset_stop"
DO_TASK_ACTION = "/vla/do_task"
JUDGE_SERVICE = "/vla/judge"
STOP_STATE_TOPIC = "/vla/stop_state"
SIM_STATE_TOPIC = "/sim/state"
SIM_TASK_STATE_TOPIC = "/sim/task_state"
SIM_RESET_SERVICE = "/sim/reset"
SIM_FAULT_TOPIC = "/sim/fault"
SIM_FAULT_STATE_TOPIC = "/sim/fault_state"

# Publishers that a late subscriber must still hear.
LATCHED_TOPICS = (TASK_TOPIC, RECORDING_TOPIC, STOP_STATE_TOPIC, SIM_TASK_STATE_TOPIC)


def attention_topic(camera: str) -> str:
    """Return where a camera's pictures are with what the policy looks at."""
    return f"/vla/attention/{camera}/compressed"
