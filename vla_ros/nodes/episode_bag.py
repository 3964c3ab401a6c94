"""What writes the recorder's bags: rosbag2's library or `rosbags`, with the installed types."""

from collections.abc import Callable
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from vla_ros.bags import episode_bag
from vla_ros.bags.episode_bag import BagWriter, EpisodeBag, Topic, offered_qos
from vla_ros.core.errors import BagError

__all__ = [
    "BACKENDS",
    "BagWriter",
    "EpisodeBag",
    "RosbagsWriter",
    "Topic",
    "choose_writer",
    "offered_qos",
    "typestore_with",
]

BACKENDS = ("auto", "rosbags", "rosbag2")


class RosbagsWriter(episode_bag.RosbagsWriter):
    """Writes with `rosbags` what the installed packages define."""

    def __init__(self, path: Path, topics: list[Topic], facts: dict[str, str]):
        super().__init__(path, topics, facts, typestore_with)


def choose_writer(backend: str) -> tuple[str, Callable[..., BagWriter]]:
    """Return the backend's name and writer; "auto" takes rosbag2 where it can be imported.

    Raises:
        BagError: rosbag2 is asked for and is not installed.
    """
    if backend == "rosbags":
        return "rosbags", RosbagsWriter
    try:
        from vla_ros.nodes.rosbag2_writer import Rosbag2Writer
    except ImportError as error:
        if backend == "auto":
            return "rosbags", RosbagsWriter
        raise BagError(
            f"backend is rosbag2, but rosbag2_py cannot be imported ({error}); install and source "
            "the package rosbag2_py, or set backend to rosbags"
        ) from None
    return "rosbag2", Rosbag2Writer


_typestore = get_typestore(Stores.ROS2_JAZZY)


def typestore_with(msgtype: str):
    """Return the type store, taught `msgtype` from its package's .msg file where it is foreign."""
    if msgtype not in _typestore.types:
        package, _, name = msgtype.split("/")
        try:
            path = Path(get_package_share_directory(package)) / "msg" / f"{name}.msg"
            _typestore.register(get_types_from_msg(path.read_text(), msgtype))
        except (PackageNotFoundError, OSError) as error:
            raise BagError(
                f"no definition of the message type {msgtype} to record ({error}); install and "
                f"source the package {package}"
            ) from None
    return _typestore
