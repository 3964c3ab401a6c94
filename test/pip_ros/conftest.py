"""A temporary package prefix, launch files and nodes that need no ROS.

Where the real launch package is installed, the stand-in is not, and none of this is collected.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "pip_ros" / "launch_standin" / "src"


def _real_launch_is_installed() -> bool:
    spec = importlib.util.find_spec("launch")
    return spec is not None and spec.origin is not None and "_IS_STANDIN" not in Path(
        spec.origin
    ).read_text(encoding="utf-8")  # fmt: skip


collect_ignore_glob: list[str] = []
if _real_launch_is_installed() or importlib.util.find_spec("ament_index_python") is None:
    collect_ignore_glob = ["test_*.py"]
else:
    sys.path.insert(0, str(SOURCE))

LAUNCH_FILE_HEAD = """\
from launch import LaunchDescription
from launch.actions import (DeclareLaunchArgument, EmitEvent, GroupAction, IncludeLaunchDescription,
    LogInfo, OpaqueFunction, RegisterEventHandler, SetEnvironmentVariable, Shutdown, TimerAction)
from launch.conditions import IfCondition, UnlessCondition
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown as ShutdownEvent
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import (EqualsSubstitution, LaunchConfiguration, PathJoinSubstitution,
    ThisLaunchFileDir)
from launch_ros.actions import Node, PushRosNamespace
from launch_ros.parameter_descriptions import ParameterValue
from launch_ros.substitutions import FindPackageShare

def node(executable, **kwargs):
    kwargs.setdefault("output", "screen")
    return Node(package="toy", executable=executable, **kwargs)

def generate_launch_description():
    return LaunchDescription([
"""

# Writes its process id to NAME.pid and one line to NAME.signals for each SIGINT. It ends a third of
# a second after the first: a second one that comes in that time is counted.
STEADY_NODE = """\
import os, pathlib, signal, sys, time
name = pathlib.Path(sys.argv[0]).name
here = pathlib.Path(os.environ["TOY_DIRECTORY"])
def count(number, frame):
    with (here / f"{name}.signals").open("a") as file:
        file.write(f"{number}\\n")
signal.signal(signal.SIGINT, count)
(here / f"{name}.pid").write_text(str(os.getpid()))
print("ready")
while not (here / f"{name}.signals").exists():
    time.sleep(0.02)
end = time.monotonic() + 0.3
while time.monotonic() < end:
    time.sleep(0.02)
print("bye")
"""


class Toy:
    """A package called ``toy`` in a prefix of its own, and the ros2 command to use it with."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.share = directory / "prefix" / "share" / "toy"
        self.lib = directory / "prefix" / "lib" / "toy"
        marker = directory / "prefix" / "share" / "ament_index" / "resource_index" / "packages"
        for folder in (self.share / "launch", self.lib, marker):
            folder.mkdir(parents=True)
        (marker / "toy").touch()
        self.env = {
            **os.environ,
            "AMENT_PREFIX_PATH": str(directory / "prefix"),
            "PYTHONPATH": str(SOURCE),
            "ROS_LOG_DIR": str(directory / "log"),
            "TOY_DIRECTORY": str(directory),
            "PYTHONUNBUFFERED": "1",
        }
        self.started: list[subprocess.Popen[bytes]] = []

    @staticmethod
    def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 30.0) -> None:
        """Wait until ``condition`` holds; fail with ``what`` if it never does."""
        end = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < end, f"never happened: {what}"
            time.sleep(0.02)

    @staticmethod
    def is_alive(pid: int) -> bool:
        """Whether a process runs; one that only waits to be reaped does not."""
        try:
            stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
        except OSError:
            return False
        return stat.rpartition(")")[2].split()[0] != "Z"

    def node(self, name: str, body: str = STEADY_NODE) -> None:
        """Install an executable."""
        path = self.lib / name
        path.write_text(f"#!{sys.executable}\n{body}", encoding="utf-8")
        path.chmod(0o755)

    def launch_file(self, entities: str, name: str = "toy.launch.py") -> Path:
        """Install a launch file whose description holds ``entities``."""
        body = textwrap.indent(textwrap.dedent(entities), " " * 8)
        return self.raw_launch_file(f"{LAUNCH_FILE_HEAD}{body}\n    ])\n", name)

    def raw_launch_file(self, text: str, name: str = "toy.launch.py") -> Path:
        """Install a launch file."""
        path = self.share / "launch" / name
        path.write_text(text, encoding="utf-8")
        return path

    def command(self, *words: str) -> list[str]:
        """Return the command line of ``ros2 WORDS``."""
        return [sys.executable, "-m", "ros2_standin.main", *words]

    def ros2(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run ``ros2 WORDS`` to its end."""
        return subprocess.run(
            self.command(*words),
            env=self.env,
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=60,
            check=False,
        )

    def ros2_here(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: str
    ) -> subprocess.CompletedProcess[str]:
        """Run ``ros2 WORDS`` in this process: quicker, for what starts no node."""
        from ros2_standin.main import main

        monkeypatch.setenv("AMENT_PREFIX_PATH", self.env["AMENT_PREFIX_PATH"])
        code = main(list(words))
        said = capsys.readouterr()
        return subprocess.CompletedProcess(words, code, said.out, said.err)

    def start(self, command: list[str], **kwargs: object) -> subprocess.Popen[bytes]:
        """Start a command in a session of its own, its output going to the file ``output``."""
        with (self.directory / "output").open("wb") as output:
            process = subprocess.Popen(
                command,
                env=self.env,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                **kwargs,  # type: ignore[call-overload]
            )
        self.started.append(process)
        return process

    def output(self) -> str:
        """Return what the started command has written so far."""
        return (self.directory / "output").read_text(encoding="utf-8", errors="replace")

    def wait_for_output(self, text: str, count: int = 1) -> None:
        """Wait until the started command has written ``text``."""
        self.wait_until(lambda: self.output().count(text) >= count, f"{text!r} in the output")

    def pid(self, node: str) -> int:
        """Return the process id that a steady node wrote."""
        return int((self.directory / f"{node}.pid").read_text())

    def signals(self, node: str) -> list[str]:
        """Return the signals that a steady node counted."""
        return (self.directory / f"{node}.signals").read_text().split()


@pytest.fixture
def toy(tmp_path: Path) -> Iterator[Toy]:
    """Yield an empty toy package; whatever a test left running is ended."""
    package = Toy(tmp_path)
    yield package
    for process in package.started:
        process.kill()
        process.wait()
