"""A night of unattended play in the simulator: crashes, memory, and whether every bag is whole.

python -m bench.overnight [--hours 8] [--speed 4] [--out DIR]

Runs the installed package as anybody would, with a small camera. Hours are simulated ones. What was
measured so far is written every few minutes, so an interruption (Ctrl-C) keeps it.
"""

import argparse
import contextlib
import importlib.metadata
import io
import json
import shutil
import signal
import subprocess
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml
from rosbags.highlevel import AnyReader

from bench._process import descendants, memory_mb
from bench._report import Row, publish

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE_S = 30.0
_WRITE_S = 300.0
# Imports, caches and the middleware's pools fill first.
_SETTLE_S = 300.0
_STOP_S = 60.0
_FLAT_SHARE = 0.05


@dataclass
class Night:
    """What was measured so far.

    Attributes:
        memory: (wall time [s], {process: proportional memory [MB]}) of every sample.
        bags: folders that were read.
        unreadable: of these, those that rosbags cannot read in full, with the reason.
        recorded_s: sum of the bags' lengths [s, simulated].
        counts: sums of the recorder's own counts over topics and bags.
        losses: the bags and topics with lost or missing messages.
        messages: sum of the bags' messages.
    """

    start_s: float = field(default_factory=time.monotonic)
    memory: list[tuple[float, dict[str, float]]] = field(default_factory=list)
    bags: set[Path] = field(default_factory=set)
    unreadable: dict[str, str] = field(default_factory=dict)
    leftovers: list[str] = field(default_factory=list)
    recorded_s: float = 0.0
    counts: Counter = field(default_factory=Counter)
    losses: list[str] = field(default_factory=list)
    messages: int = 0

    def sample(self, pid: int) -> None:
        """Note the memory of the process and of all that it started."""
        found: dict[str, float] = {}
        for one in descendants(pid):
            with contextlib.suppress(OSError, KeyError):
                name = _name(one)
                found[name] = found.get(name, 0.0) + memory_mb(one)["pss"]
        self.memory.append((time.monotonic() - self.start_s, found))

    def read_new_bags(self, session: Path) -> None:
        """Read every message of the bags that were finished since the last call."""
        self.leftovers = sorted(
            path.name for path in session.glob("*") if path.suffix in (".part", ".damaged")
        )
        for metadata in sorted(session.glob("*/metadata.yaml")):
            bag = metadata.parent
            if bag in self.bags or bag.name.endswith(".part"):
                continue
            self.bags.add(bag)
            try:
                self._read(bag)
            except (
                Exception
            ) as error:  # the reader, its decompressor and the YAML each raise theirs
                self.unreadable[bag.name] = f"{type(error).__name__}: {error}"

    def _read(self, bag: Path) -> None:
        facts = yaml.safe_load((bag / "metadata.yaml").read_text())
        facts = facts["rosbag2_bagfile_information"]
        found = Counter()
        with AnyReader([bag]) as reader:
            for connection, _, _ in reader.messages():
                found[connection.topic] += 1
        for topic in facts["topics_with_message_count"]:
            name = topic["topic_metadata"]["name"]
            if found[name] != topic["message_count"]:
                raise ValueError(f"{found[name]} of {topic['message_count']} messages of {name}")
        for name, counts in json.loads(facts["custom_data"].get("topics", "{}")).items():
            # What came before the bag was opened, the start event for one, is written on top.
            if found[name] < counts["received"]:
                raise ValueError(f"{found[name]} of {counts['received']} received on {name}")
            for key in ("lost", "missing", "late", "out_of_order", "duplicates"):
                self.counts[key] += counts[key]
            if counts["lost"] or counts["missing"]:
                self.losses.append(
                    f"{bag.name} {name}: {counts['lost']} lost, {counts['missing']} missing"
                )
        self.messages += found.total()
        self.recorded_s += facts["duration"]["nanoseconds"] / 1e9

    def rows(self, hours: float, exit_code: int | None) -> list[Row]:
        """Return the results; exit code None while the night lasts."""
        wall_s = time.monotonic() - self.start_s
        ended = exit_code is not None
        done = [] if not ended else [_goal("exit code of the launch", "", exit_code, 0)]
        rows = [
            *done,
            Row(f"of {hours:g} simulated hours, recorded", "h", self.recorded_s / 3600),
            Row("wall time", "h", wall_s / 3600),
            Row("bags", "", len(self.bags)),
            Row("messages", "", self.messages),
            _goal("bags that cannot be read in full", "", len(self.unreadable), 0),
            *(
                [_goal("bags left unfinished or damaged", "", len(self.leftovers), 0)]
                if ended
                else []
            ),
            _goal("messages lost on the way to the recorder", "", self.counts["lost"], 0),
            _goal("messages missing by gaps between stamps", "", self.counts["missing"], 0),
            _goal("messages out of order", "", self.counts["out_of_order"], 0),
            Row("messages over 0.5 s (simulated) late", "", self.counts["late"]),
        ]
        return rows + self._memory_rows()

    def _memory_rows(self) -> list[Row]:
        settle_s = min(_SETTLE_S, self.memory[-1][0] / 4) if self.memory else 0.0
        settled = [(at, found) for at, found in self.memory if at > settle_s]
        rows = []
        for name in ["all processes", *sorted({n for _, found in settled for n in found})]:
            samples = [
                (at, sum(found.values()) if name == "all processes" else found[name])
                for at, found in settled
                if name == "all processes" or name in found
            ]
            if len(samples) < 4:
                continue
            at, mb = np.array(samples).T
            slope, _ = np.polyfit(at / 3600, mb, 1)
            growth = slope * (at[-1] - at[0]) / 3600
            tenth = max(1, len(mb) // 10)
            first, last = float(np.median(mb[:tenth])), float(np.median(mb[-tenth:]))
            rows.append(Row(f"memory of {name} at the start", "MB", first))
            rows.append(Row(f"memory of {name} at the end", "MB", last))
            goal = f"growth ≤ {_FLAT_SHARE:.0%}" if name == "all processes" else ""
            met = bool(growth <= _FLAT_SHARE * first) if goal else None
            rows.append(Row(f"slope of it, {name}", "MB/h", float(slope), goal=goal, met=met))
        return rows


def _goal(what: str, unit: str, value: float, goal: float) -> Row:
    return Row(what, unit, value, goal=f"{goal:g}", met=value == goal)


def _name(pid: int) -> str:
    """Return the node's name, or the command's."""
    words = Path(f"/proc/{pid}/cmdline").read_text().split("\0")
    for word in words:
        if word.endswith("_node"):
            return Path(word).name
    return Path(words[1] if "python" in words[0] and words[1:] else words[0]).name


def run(hours: float, speed: float, out: Path) -> tuple[Night, int]:
    """Play and measure; returns what was measured and the launch's exit code."""
    command = ["ros2", "launch", "vla_ros", "play.launch.py", f"hours:={hours:g}"]
    command += [f"speed:={speed:g}", f"out:={out}", "session:=night"]
    command += ["camera_width:=128", "camera_height:=128", "camera_rate:=5.0"]
    log = (out / "launch.log").open("w")
    night = Night()
    launch = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    written_s = time.monotonic()
    try:
        while launch.poll() is None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                launch.wait(timeout=_SAMPLE_S)
            if launch.poll() is None:
                night.sample(launch.pid)
            night.read_new_bags(out / "night")
            if time.monotonic() > written_s + _WRITE_S:
                written_s = time.monotonic()
                with contextlib.redirect_stdout(io.StringIO()):
                    _publish(night.rows(hours, None), speed)
    except KeyboardInterrupt:
        print("interrupted: stopping the launch")
    finally:
        if launch.poll() is None:
            launch.send_signal(signal.SIGINT)
        exit_code = launch.wait(timeout=_STOP_S)
        night.read_new_bags(out / "night")
        log.close()
    return night, exit_code


def _publish(rows: list[Row], speed: float) -> Path:
    versions = {n: importlib.metadata.version(n) for n in ("vla_ros", "rosbags", "rclpy", "mujoco")}
    return publish("overnight", rows, versions | {"speed": f"{speed:g}"})


def main() -> None:
    """Measure, print and write bench/results/overnight.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hours", type=float, default=8.0, help="simulated hours")
    parser.add_argument("--speed", type=float, default=4.0, help="simulated seconds in a second")
    parser.add_argument("--out", type=Path, help="keep the bags and the log in this folder")
    arguments = parser.parse_args()
    out = arguments.out or Path(tempfile.mkdtemp(prefix="bench_overnight_", dir=ROOT / "log"))
    out.mkdir(parents=True, exist_ok=True)
    night, exit_code = run(arguments.hours, arguments.speed, out.resolve())
    path = _publish(night.rows(arguments.hours, exit_code), arguments.speed)
    for line in [*(f"{n}: {reason}" for n, reason in night.unreadable.items()), *night.losses]:
        print(line)
    print(f"\nwritten: {path.name}")
    if arguments.out is None and exit_code == 0 and not night.unreadable:
        shutil.rmtree(out)
    else:
        print(f"bags and log: {out}")


if __name__ == "__main__":
    main()
