"""Where a bag is from: software, arm and cameras, as text for its metadata."""

import importlib.metadata
import json
import os
import subprocess
from datetime import datetime, timezone
from pathlib import Path

import rclpy
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CameraInfo

from vla_ros.nodes.recorder_parameters import RecorderParameters
from vla_ros.nodes.recorder_topics import camera_info_topic


class Provenance:
    """What every bag of a session shares, the same on every host with this software and arm.

    Args:
        parameters: the recorder's.
        backend: what writes the bags.
        simulated_time: whether the bags' times are a simulator's.
    """

    def __init__(self, parameters: RecorderParameters, backend: str, simulated_time: bool):
        self._cameras = [*filter(None, parameters.cameras)]
        self._facts = _software() | {
            "backend": backend,
            "robot_name": parameters.robot_name,
            "robot_model": parameters.robot_model,
            "arm": parameters.arm,
            "simulated_time": json.dumps(simulated_time),
            "cameras": json.dumps(self._cameras),
        }
        self._wanted = {camera_info_topic(camera): camera for camera in self._cameras}
        self._calibrated: dict[str, bool] = {}

    def hear(self, topic: str, data: bytes) -> None:
        """Look whether a camera is calibrated, at its first camera_info."""
        camera = self._wanted.pop(topic, None)
        if camera is not None:
            info = deserialize_message(bytes(data), CameraInfo)
            self._calibrated[camera] = bool(info.k[0])

    def facts(self) -> dict[str, str]:
        """Return the facts as of now."""
        calibrated = json.dumps(self._calibrated)
        return self._facts | {"camera_calibrated": calibrated, "recorded_utc": _now_utc()}


def _software() -> dict[str, str]:
    facts = {
        "vla_ros_version": _version("vla_ros"),
        "rosbags_version": _version("rosbags"),
        "rclpy_version": _version("rclpy"),
        "ros_distro": os.environ.get("ROS_DISTRO", ""),
        "rmw": rclpy.get_rmw_implementation_identifier(),
    }
    commit = _commit(Path(__file__).parent)
    return facts | ({"vla_ros_commit": commit} if commit else {})


def _now_utc() -> str:
    # A bag of simulated time does not hold the wall's otherwise.
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _commit(folder: Path) -> str:
    """Return the commit of a checkout, "" for an installed copy, which is no part of one."""
    commands = (
        ["git", "ls-files", "--error-unmatch", Path(__file__).name],
        ["git", "describe", "--always", "--dirty", "--abbrev=12"],
    )
    try:
        for command in commands:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=10, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.strip()
