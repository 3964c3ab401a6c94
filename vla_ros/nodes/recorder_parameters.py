"""The parameters of recorder_node."""

from dataclasses import dataclass

from vla_ros.core.disk_budget import DEFAULT_MIN_FREE_MB, DiskBudget
from vla_ros.nodes.episode_bag import BACKENDS
from vla_ros.nodes.params import parameter


@dataclass(frozen=True)
class RecorderParameters:
    """Parameters of recorder_node."""

    out: str = parameter("rosbags", "Folder that holds the sessions.")
    session: str = parameter("", "Folder of this session in it; empty: the UTC date and time.")
    robot_name: str = parameter("wx250s", "Namespace of the arm driver.")
    robot_model: str = parameter("", "The arm's model, for the bags' metadata.")
    arm: str = parameter("", "Which driver runs, sim or interbotix, for the bags' metadata.")
    cameras: list = parameter(["front"], "Names of the cameras to record.")
    extra_topics: list = parameter(
        [""],
        "More topics that must arrive, each as 'NAME TYPE', like '/x std_msgs/msg/String'; may, "
        "where 'optional' follows.",
    )
    start_timeout_s: float = parameter(
        15.0, "How long an episode may wait for its topics.", "s", 0.1, 600.0
    )
    silent_s: float = parameter(
        2.0, "An episode ends when a topic it needs is silent this long.", "s", 0.1, 600.0
    )
    late_s: float = parameter(
        0.5, "A message that arrives later than this after its stamp is late.", "s", 0.0, 600.0
    )
    min_free_mb: int = parameter(
        DEFAULT_MIN_FREE_MB,
        "Recording stops, and no cut-off bag is repaired, once less than this is free on the disk.",
        "MB",
        0,
        10_000_000,
    )
    max_session_gb: float = parameter(
        0.0, "Recording stops once the session is this large; 0: never.", "GB", 0.0, 1e6
    )
    backend: str = parameter(
        "auto",
        "What writes; auto is rosbag2 where it is installed. A kill costs up to 1 s with rosbags, "
        "64 kB of messages with rosbag2.",
        choices=BACKENDS,
    )

    @property
    def budget(self) -> DiskBudget:
        """The bounds of the session and of every repair beside it."""
        return DiskBudget(self.min_free_mb * 10**6, round(self.max_session_gb * 1e9))
