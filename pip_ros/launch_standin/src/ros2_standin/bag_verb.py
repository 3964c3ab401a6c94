"""``ros2 bag info``."""

from __future__ import annotations

import argparse
import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from launch._errors import LaunchError

if TYPE_CHECKING:
    from rosbags.rosbag2 import Reader


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    """Declare the verb's command line."""
    parser = subparsers.add_parser("bag", help="look into a recording")
    inner = parser.add_subparsers(dest="bag_verb", metavar="info", required=True)
    info = inner.add_parser("info", help="say what a recording holds")
    info.add_argument("bag", type=Path, help="the recording's folder, or its .mcap file")
    info.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Print what a bag holds.

    Raises:
        LaunchError: It is no bag, or cannot be read.
    """
    try:
        from rosbags.rosbag2 import Reader, ReaderError
    except ImportError:
        raise LaunchError("ros2 bag info needs the rosbags library: pip install rosbags") from None
    bag: Path = options.bag
    _refuse_what_is_no_bag(bag)
    try:
        with Reader(bag) as reader:
            text = bag_text(reader, *_files_and_storage(bag))
    except (ReaderError, OSError) as error:
        reason = " ".join(str(error).split())
        raise LaunchError(f"{bag} cannot be read as a rosbag: {reason}") from error
    print(text)
    return 0


def _refuse_what_is_no_bag(bag: Path) -> None:
    if not bag.exists():
        raise LaunchError(f"there is no {bag}: give the folder of a recording")
    if bag.is_dir() and not (bag / "metadata.yaml").is_file():
        inside = sorted(str(path.parent) for path in bag.glob("*/metadata.yaml"))
        hint = f"it holds {', '.join(inside[:6])}" if inside else "give the folder of a recording"
        raise LaunchError(f"{bag} is no rosbag, it has no metadata.yaml: {hint}")


def _files_and_storage(bag: Path) -> tuple[list[Path], str]:
    """Return a bag's storage files and the name of their format."""
    if bag.is_file():
        return [bag], {".mcap": "mcap", ".db3": "sqlite3"}.get(bag.suffix, "unknown")
    text = (bag / "metadata.yaml").read_text(encoding="utf-8")
    metadata = yaml.safe_load(text)["rosbag2_bagfile_information"]
    files = [bag / Path(name).name for name in metadata["relative_file_paths"]]
    return files, metadata["storage_identifier"]


def bag_text(reader: Reader, files: list[Path], storage: str) -> str:
    """Return the text about an open bag."""
    bag = reader.path
    # Of the whole folder with its metadata, as rosbag2 counts.
    parts = [bag] if bag.is_file() else [path for path in bag.rglob("*") if path.is_file()]
    size_bytes = sum(path.stat().st_size for path in parts)
    is_empty = reader.message_count == 0
    start_ns = 0 if is_empty else reader.start_time
    end_ns = 0 if is_empty else reader.end_time - 1  # rosbags gives the end half-open
    topics = [
        f"Topic: {one.topic} | Type: {one.msgtype} | Count: {one.msgcount} | "
        f"Serialization Format: {getattr(one.ext, 'serialization_format', 'cdr')}"
        for one in sorted(reader.connections, key=lambda one: one.topic)
    ]
    rows = [
        ("Files:", [path.name for path in files]),
        ("Bag size:", [_size_text(size_bytes)]),
        ("Storage id:", [storage]),
        ("ROS Distro:", [reader.ros_distro or "unknown"]),
        ("Duration:", [f"{(end_ns - start_ns) / 1e9:.9f}s"]),
        ("Start:", [_time_text(start_ns)]),
        ("End:", [_time_text(end_ns)]),
        ("Messages:", [str(reader.message_count)]),
        ("Topic information:", topics or ["none"]),
    ]
    return "\n".join(
        f"{label if index == 0 else '':<19}{value}"
        for label, values in rows
        for index, value in enumerate(values)
    )


def _size_text(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} B" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def _time_text(stamp_ns: int) -> str:
    seconds, rest_ns = divmod(stamp_ns, 10**9)
    local = datetime.datetime.fromtimestamp(seconds)
    return f"{local:%b %e %Y %H:%M:%S}.{rest_ns:09d} ({seconds}.{rest_ns:09d})"
