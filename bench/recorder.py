"""What the recorder loses and what it costs, with two cameras and an arm.

python -m bench.recorder [--quick]
"""

import argparse
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rosbags.highlevel import AnyReader

from bench._process import cpu_s, memory_mb
from bench._recorder_load import CAMERAS, EPISODE_ID
from bench._report import Row, publish
from vla_ros.core.topic_watch import header_stamp_ns

ROOT = Path(__file__).resolve().parent.parent
_SETTLE_S = 5.0
# Python's and the middleware's heaps grow a little for a while.
_FLAT_MB = 5.0


def _environment() -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}".rstrip(":"),
        "FASTDDS_DEFAULT_PROFILES_FILE": str(ROOT / "config" / "fastdds.xml"),
        "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
    }


def _start(*command: str, **options) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, *command], cwd=ROOT, env=_environment(), **options)


def measure(seconds: float, folder: Path) -> dict:
    """Record one episode; return sent stamps, CPU share, memory samples and the bag's folder."""
    cameras = ",".join(CAMERAS)
    recorder = _start(
        str(ROOT / "scripts" / "recorder_node"),
        "--ros-args",
        *("-p", f"out:={folder}", "-p", "session:=s", "-p", f"cameras:=[{cameras}]"),
        *("-p", "backend:=rosbags"),
    )
    sent = folder / "sent.json"
    load = _start(
        *("-m", "bench._recorder_load", str(seconds), str(sent)), stdout=subprocess.PIPE, text=True
    )
    samples = []
    try:
        if load.stdout.readline().strip() != "recording":
            raise SystemExit("the recorder did not record; see above")
        start_s, used_s = time.monotonic(), cpu_s(recorder.pid)
        while time.monotonic() < start_s + seconds:
            time.sleep(1.0)
            samples.append((time.monotonic() - start_s, memory_mb(recorder.pid)["rss"]))
        load.stdout.readline()
        share = (cpu_s(recorder.pid) - used_s) / (time.monotonic() - start_s)
        if load.wait(timeout=60) != 0:
            raise SystemExit("the episode was not saved; see above")
    finally:
        for process in (load, recorder):
            process.terminate()
            process.wait()
    return {
        "sent": json.loads(sent.read_text()),
        "cpu_share": share,
        "rss_mb": samples,
        "bag": folder / "s" / EPISODE_ID,
    }


def lost(sent: dict[str, list[int]], bag: Path) -> dict[str, int]:
    """Return for each topic how many of the stamps that were sent are not in the bag."""
    found: dict[str, set[int]] = {topic: set() for topic in sent}
    with AnyReader([bag]) as reader:
        for connection, _, raw in reader.messages():
            if connection.topic in found:
                found[connection.topic].add(header_stamp_ns(raw))
    return {topic: len(set(stamps) - found[topic]) for topic, stamps in sent.items()}


def _rows(measured: dict, seconds: float) -> list[Row]:
    missing = lost(measured["sent"], measured["bag"])
    number = sum(len(stamps) for stamps in measured["sent"].values())
    size_mb = sum(file.stat().st_size for file in measured["bag"].iterdir()) / 1e6
    rss = [mb for at_s, mb in measured["rss_mb"] if at_s > min(_SETTLE_S, seconds / 3)]
    tenth = max(1, len(rss) // 10)
    first, last = statistics.median(rss[:tenth]), statistics.median(rss[-tenth:])
    what = f"{seconds:g} s of 2 cameras 640x480 at 30 Hz and joints at 100 Hz"
    share = 100 * measured["cpu_share"]
    total = sum(missing.values())
    print(f"lost by topic: {missing}\n")
    return [
        Row(f"lost after the start event, {what}", "messages", total, goal="0", met=total == 0),
        Row("sent", "messages/s", number / seconds),
        Row("written", "MB/s", size_mb / seconds),
        Row("CPU of the recorder's process", "% of a core", share, goal="≤ 25", met=share <= 25),
        Row("its resident memory at the start", "MB", first),
        Row(
            "growth of it until the end",
            "MB",
            last - first,
            goal=f"≤ {_FLAT_MB:g}",
            met=last - first <= _FLAT_MB,
        ),
    ]


def main() -> None:
    """Measure, print and write bench/results/recorder.json."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20 seconds instead of 10 minutes")
    seconds = 20.0 if parser.parse_args().quick else 600.0
    with tempfile.TemporaryDirectory(prefix="bench_recorder_", dir=ROOT / "log") as folder:
        rows = _rows(measure(seconds, Path(folder)), seconds)
    versions = {name: importlib.metadata.version(name) for name in ("rosbags", "rclpy", "numpy")}
    print(f"\nwritten: {publish('recorder', rows, versions).name}")


if __name__ == "__main__":
    main()
