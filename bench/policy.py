"""The policy node on a graph in real time: how even its commands are, how soon it is ready.

python -m bench.policy CHECKPOINT... [--minutes 10] [--task TEXT]

Each checkpoint acts in turn, started by policy.launch.py as anybody would: simulated arm at speed
1, one small camera, all on this machine. At speed 1 time is the machine's own, and the command
timer that of a real arm.

- Period: from one command to the next, by the stamps of /vla/commanded, which are taken when a
  command is sent, from some seconds after the first one on, whatever the node is about: acting in
  episodes of 20 s, or on its way to the ready pose between them, when the network rests. Jitter is
  how far a period is off 20 ms; one of n times 20 ms, rounded, has n - 1 missed ticks.
- Camera to command: from a picture's stamp to the first command that its answer led to, less the
  inference (network and inverse kinematics), as the node's results have them. The picture's age
  when it was asked about is a part of that: the rest is the way to the network and back, and the
  time until the next command of the 50 Hz grid.
- Ready: from the node's start as a process, imports included, until it is configured: the
  checkpoint is loaded, checked and warmed up.
"""

import argparse
import importlib.metadata
import json
import os
import signal
import subprocess
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import rclpy
from lifecycle_msgs.srv import GetState
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import JointState

from bench._process import descendants, peak_mb
from bench._report import Row, publish
from vla_ros.nodes import qos

_PERIOD_MS = 20.0
_EPISODE_S = 20
_UNCONFIGURED = 1
_LOOK_S = 0.1
_START_LIMIT_S = 120.0
_STOP_LIMIT_S = 60.0
# Connections and caches of the first seconds are not what lasts.
_SETTLE_S = 5.0


@dataclass
class Found:
    """What was seen of one run.

    Attributes:
        ready_s: from the process's start until it was configured [s].
        stamps_ns: of commands, in order.
        peak_mb: of the resident memory of the node and the network's process, added up.
        results: as the node wrote them.
    """

    ready_s: float = 0.0
    stamps_ns: list[int] = field(default_factory=list)
    peak_mb: float = 0.0
    results: dict = field(default_factory=dict)


def rows_of(name: str, found: Found) -> list[Row]:
    """Return what a run shows."""
    periods_ms = np.diff(np.array(found.stamps_ns)) / 1e6
    jitter_ms = np.abs(periods_ms - _PERIOD_MS)
    missed = int(np.sum(np.maximum(np.round(periods_ms / _PERIOD_MS) - 1, 0)))
    p99_ms, largest_ms = float(np.percentile(jitter_ms, 99)), float(jitter_ms.max())
    episodes = found.results["episodes"]
    inference_ms, age_ms, to_command_ms = (
        np.concatenate([episode[key] for episode in episodes])
        for key in ("inference_ms", "picture_age_ms", "camera_to_command_ms")
    )
    beside_ms = to_command_ms - inference_ms
    p99_beside_ms, p99_age_ms = (float(np.percentile(ms, 99)) for ms in (beside_ms, age_ms))
    return [
        Row(f"{name}: commands", "", len(found.stamps_ns)),
        Row(f"{name}: jitter, p99", "ms", p99_ms, goal="≤ 3", met=p99_ms <= 3),
        Row(f"{name}: jitter, largest", "ms", largest_ms),
        Row(f"{name}: missed ticks", "", missed, goal="0", met=missed == 0),
        Row(f"{name}: answers", "", len(inference_ms)),
        Row(f"{name}: inference, p50", "ms", float(np.median(inference_ms))),
        Row(f"{name}: inference, p99", "ms", float(np.percentile(inference_ms, 99))),
        Row(f"{name}: a picture's age when asked about, p50", "ms", float(np.median(age_ms))),
        Row(f"{name}: a picture's age when asked about, p99", "ms", p99_age_ms),
        Row(f"{name}: camera to command beside it, p50", "ms", float(np.median(beside_ms))),
        Row(
            *(f"{name}: camera to command beside it, p99", "ms", p99_beside_ms),
            goal="≤ 10",
            met=p99_beside_ms <= 10,
        ),
        Row(f"{name}: ready", "s", found.ready_s, goal="≤ 10", met=found.ready_s <= 10),
        Row(
            *(f"{name}: peak memory", "MB", found.peak_mb),
            goal="≤ 1200",
            met=found.peak_mb <= 1200,
        ),
    ]


class Listener:
    """A node that notes the stamps of commands, and asks the policy for its state."""

    def __init__(self):
        self.node, self.stamps_ns = Node("bench_policy"), []
        self.state = _UNCONFIGURED
        self.node.create_subscription(JointState, qos.COMMANDED_TOPIC, self._on_command, qos.RECORD)
        self._asked = self.node.create_client(GetState, "/policy/get_state")
        self._timer = self.node.create_timer(_LOOK_S, self._ask)
        self._executor = SingleThreadedExecutor()
        self._executor.add_node(self.node)

    def _on_command(self, message: JointState) -> None:
        stamp = message.header.stamp
        self.stamps_ns.append(stamp.sec * 1_000_000_000 + stamp.nanosec)

    def _ask(self) -> None:
        if self.state != _UNCONFIGURED:
            self._timer.cancel()
        elif self._asked.service_is_ready():
            self._asked.call_async(GetState.Request()).add_done_callback(self._on_state)

    def _on_state(self, future) -> None:
        self.state = future.result().current_state.id

    def spin(self, seconds: float) -> None:
        """Listen for so long."""
        until_s = time.monotonic() + seconds
        while time.monotonic() < until_s:
            self._executor.spin_once(timeout_sec=0.05)


def policy_pid(launch: int) -> int | None:
    """Return the process of the policy node among those that a launch started."""
    for pid in descendants(launch):
        try:
            words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
        except OSError:
            continue
        if any(Path(word).name == "policy_node" for word in words):
            return pid
    return None


def age_s(pid: int) -> float:
    """Return how long ago a process was started [s]."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    up_s = float(Path("/proc/uptime").read_text().split()[0])
    return up_s - int(fields[19]) / os.sysconf("SC_CLK_TCK")


def run(checkpoint: Path, task: str, minutes: float, folder: Path) -> Found:
    """Have a checkpoint act for so long; SystemExit where it does not begin."""
    results = folder / "results.json"
    command = ["ros2", "launch", "vla_ros", "policy.launch.py", f"checkpoint:={checkpoint}"]
    command += [f"task:={task}", "episodes:=0", f"episode_s:={_EPISODE_S}", f"results:={results}"]
    command += ["camera_width:=128", "camera_height:=128", "camera_rate:=10", f"out:={folder}"]
    found, listener = Found(), Listener()
    with (folder / "launch.log").open("w") as log:
        launch = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            limit_s = time.monotonic() + _START_LIMIT_S
            while listener.state == _UNCONFIGURED or len(listener.stamps_ns) < 2:
                listener.spin(0.01)
                pid = policy_pid(launch.pid)
                if pid is not None and not found.ready_s and listener.state != _UNCONFIGURED:
                    found.ready_s = age_s(pid)
                if launch.poll() is not None or time.monotonic() > limit_s:
                    raise SystemExit(f"bench.policy: it does not act, see {log.name}")
            listener.spin(_SETTLE_S)
            listener.stamps_ns.clear()
            listener.spin(60.0 * minutes)
            found.stamps_ns = listener.stamps_ns.copy()
            assert pid is not None
            found.peak_mb = sum(peak_mb(one) for one in descendants(pid))
        finally:
            if launch.poll() is None:
                launch.send_signal(signal.SIGINT)
            launch.wait(timeout=_STOP_LIMIT_S)
            listener.node.destroy_node()
    if not results.exists():
        raise SystemExit(
            f"bench.policy: no episode of {_EPISODE_S} s was done, give it more minutes"
        )
    found.results = json.loads(results.read_text())
    return found


def main() -> None:
    """Measure, print and write bench/results/policy.json."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkpoints", type=Path, nargs="+", help="folders of Stage 2")
    parser.add_argument("--minutes", type=float, default=10.0, help="of each")
    parser.add_argument("--task", default="put the carrot on the plate")
    args = parser.parse_args()
    rclpy.init()
    rows: list[Row] = []
    for checkpoint in args.checkpoints:
        with tempfile.TemporaryDirectory(prefix="bench_policy_") as folder:
            found = run(checkpoint.resolve(), args.task, args.minutes, Path(folder))
        method = json.loads((checkpoint / "run.json").read_text())["method"].upper()
        rows += rows_of(f"{method}, {args.minutes:g} min", found)
    names = ("torch", "rclpy", "mujoco")
    publish("policy", rows, {name: importlib.metadata.version(name) for name in names})


if __name__ == "__main__":
    main()
