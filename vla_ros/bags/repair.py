"""Make readable bags of recordings that were cut off by a kill, a crash or a power cut.

python -m vla_ros.bags.repair PATH...

A PATH is a `*.part` folder or a folder of sessions. Those that a recorder still writes are left
alone. The recorder does the same to its `out` folder whenever it starts.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rosbags.rosbag2 import Reader, ReaderError
from rosbags.rosbag2.metadata import parse_qos
from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

from vla_ros.bags.part import SUFFIX, PartFolder
from vla_ros.bags.torn_mcap import Channel, TornMcap
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core.disk_budget import DEFAULT_BUDGET, DEFAULT_MIN_FREE_MB, DiskBudget
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, EpisodeError

EPISODE_TOPIC = "/vla/episode"
# The copy grows here, in the part folder.
_COPY = "repaired"
# More than any writer's chunk with its index: what is lost beyond that is worth a look.
_LARGEST_TAIL_BYTES = 4 << 20


@dataclass(frozen=True)
class Repaired:
    """What became of one unfinished bag.

    Attributes:
        path: the bag's folder.
        messages: how many it holds.
        dropped_bytes: length of the torn end.
        damaged_chunks: stretches before that end that could not be read.
        original: where the original was kept, None when nothing but a torn end is lost.
    """

    path: Path
    messages: int
    dropped_bytes: int
    damaged_chunks: int
    original: Path | None

    def __str__(self) -> str:
        kept = f"; the original is kept in {self.original}" if self.original else ""
        chunks = f" and {self.damaged_chunks} damaged chunks" if self.damaged_chunks else ""
        return (
            f"recovered {self.path}: {self.messages} messages, without a torn end of "
            f"{self.dropped_bytes} bytes{chunks}{kept}"
        )


def repair_below(
    folders: list[Path], say: Callable[[str], None], budget: DiskBudget = DEFAULT_BUDGET
) -> tuple[int, int]:
    """Repair every unfinished bag at and below the folders, one line each to `say`.

    Args:
        folders: `*.part` folders, sessions or folders of sessions.
        say: takes a sentence.
        budget: what must stay free on the disk, on which somebody may record.

    Returns:
        (how many were recovered, how many could not be).
    """
    recovered = failed = 0
    try:
        parts = [*unfinished(folders)]
    except OSError as error:
        why = f"cannot be looked into for a repair ({error.strerror})"
        say(f"{error.filename} {why}; check the disk")
        return 0, 1
    for path in parts:
        try:
            repaired = repair(path, budget)
        except BagError as error:
            failed += 1
            say(str(error))
            continue
        if repaired is not None:
            recovered += 1
            say(str(repaired))
    return recovered, failed


def unfinished(folders: list[Path]) -> Iterator[Path]:
    """Yield the `*.part` folders at, in and one below each folder."""
    for folder in folders:
        if folder.name.endswith(SUFFIX):
            yield folder
        else:
            yield from sorted(p for n in ("*", "*/*") for p in folder.glob(n + SUFFIX))


def repair(path: Path, budget: DiskBudget = DEFAULT_BUDGET) -> Repaired | None:
    """Make a bag of the `*.part` folder and give it its final name.

    The original stays as it is until the bag is complete and was read back.

    Returns:
        None when another process writes or repairs it, or it is gone.

    Raises:
        BagError: there is nothing whole in it, the bag's name is taken, or the disk refused; the
            folder keeps what it has.
    """
    part = PartFolder(path)
    try:
        if not part.lock():
            return None
        try:
            return _repair(part, budget)
        finally:
            part.unlock()
    except OSError as error:
        raise BagError(
            f"{path} cannot be repaired ({error.strerror or error}): it stays as it is; give "
            "access or free disk space, then run python -m vla_ros.bags.repair on it"
        ) from None


def _repair(part: PartFolder, budget: DiskBudget) -> Repaired:
    if part.final.exists():
        raise BagError(
            f"{part.path} cannot be repaired: {part.final} exists already; move one of them away"
        )
    damaged_name = part.path.with_suffix(".damaged")
    if damaged_name.exists():
        raise BagError(f"{part.path} cannot be repaired: {damaged_name} exists; move it away")
    files = [TornMcap(file) for file in sorted(part.bag.glob("*.mcap"))]
    copy = part.path / _COPY / part.episode_id
    shutil.rmtree(copy.parent, ignore_errors=True)
    size_bytes = sum(file.size_bytes for file in files)
    if budget.is_full(shutil.disk_usage(part.path).free - size_bytes):
        raise BagError(
            f"{part.path} is not repaired: its copy needs {size_bytes // 1_000_000} MB of disk "
            f"besides the {budget.min_free_bytes // 1_000_000} MB that must stay free "
            "(min_free_mb); make room, then run python -m vla_ros.bags.repair on it"
        )
    try:
        messages = _copy(part, files, copy)
        if not messages:
            raise BagError(
                f"{part.path} holds no whole chunk of messages, nothing can be recovered from it; "
                "delete it"
            )
        _check(copy, messages)
    except (BagError, OSError):
        shutil.rmtree(copy.parent, ignore_errors=True)
        raise
    dropped = sum(0 if f.complete else f.size_bytes - f.sound_bytes for f in files)
    damaged = sum(f.damaged_chunks for f in files)
    original = damaged_name if damaged or dropped > _LARGEST_TAIL_BYTES else None
    part.finish(copy, original)
    return Repaired(part.final, messages, dropped, damaged, original)


def _copy(part: PartFolder, files: list[TornMcap], copy: Path) -> int:
    """Write what is whole to a bag in the folder `copy`; return the number of messages."""
    writer = ChunkedWriter(copy)
    start = None
    count = 0
    try:
        writer.open()
        for file in files:
            connections = {}
            for number, channel, time_ns, data in file.messages():
                if number not in connections:
                    connections[number] = _connect(writer, channel)
                if start is None and channel.topic == EPISODE_TOPIC:
                    start = _event(data)
                writer.write(connections[number], time_ns, data)
                count += 1
        for key, value in _facts(part.facts(), start, files).items():
            writer.set_custom_data(key, value)
        writer.close()
    except BaseException:
        writer.abort()
        raise
    return count


def _facts(
    known: dict[str, str], start: EpisodeEvent | None, files: list[TornMcap]
) -> dict[str, str]:
    dropped = sum(0 if f.complete else f.size_bytes - f.sound_bytes for f in files)
    facts = dict(known)
    facts["recovered"] = json.dumps(
        {
            "reason": "recovered, cut off",
            "dropped_bytes": dropped,
            "damaged_chunks": sum(f.damaged_chunks for f in files),
        }
    )
    if start is not None:
        facts["episode"] = start.to_json()
    return facts


def _check(bag: Path, messages: int) -> None:
    try:
        with Reader(bag) as reader:
            found = sum(1 for _ in reader.messages())
    except ReaderError as error:
        raise BagError(
            f"the repaired copy {bag} cannot be read back ({error}), so the original stays as it "
            "is; check the disk"
        ) from None
    if found != messages:
        raise BagError(
            f"the repaired copy {bag} gives {found} of {messages} messages back, so the original "
            "stays as it is; check the disk"
        )


def _connect(writer: ChunkedWriter, channel: Channel):
    for connection in writer.connections:
        if (connection.topic, connection.msgtype) == (channel.topic, channel.msgtype):
            return connection
    return writer.add_connection(
        channel.topic,
        channel.msgtype,
        msgdef=channel.definition,
        rihs01=channel.metadata.get("topic_type_hash") or _hash(channel),
        serialization_format=channel.serialization,
        offered_qos_profiles=parse_qos(channel.metadata.get("offered_qos_profiles", "")),
    )


def _hash(channel: Channel) -> str:
    typestore = get_typestore(Stores.EMPTY)
    read = get_types_from_idl if channel.encoding == "ros2idl" else get_types_from_msg
    try:
        arguments = () if channel.encoding == "ros2idl" else (channel.msgtype,)
        typestore.register(read(channel.definition, *arguments))
        return typestore.hash_rihs01(channel.msgtype)
    except Exception as error:  # the parser and the type store each raise their own
        raise BagError(
            f"the definition of {channel.msgtype} on {channel.topic} cannot be read ({error!r}), "
            "so the recording stays as it is; please report it"
        ) from None


def _event(data: bytes) -> EpisodeEvent | None:
    """Return the event of a serialised std_msgs/String: 4 bytes of header, length, text, zero."""
    try:
        length = int.from_bytes(data[4:8], "little" if data[1] & 1 else "big")
        return EpisodeEvent.from_json(data[8 : 8 + length].rstrip(b"\0").decode())
    except (EpisodeError, UnicodeDecodeError, IndexError):
        return None


def main() -> int:
    """Repair what the command line names; 1 when something could not be recovered."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH")
    parser.add_argument(
        "--min-free-mb",
        type=int,
        default=DEFAULT_MIN_FREE_MB,
        metavar="MB",
        help="what must stay free on the disk, as the recorder's parameter (default: %(default)s)",
    )
    given = parser.parse_args()
    paths = given.paths
    missing = [str(path) for path in paths if not path.is_dir()]
    if missing:
        print(f"{', '.join(missing)} is no folder; give a *.part folder or a folder of sessions",
              file=sys.stderr)  # fmt: skip
        return 1
    recovered, failed = repair_below(paths, print, DiskBudget(given.min_free_mb * 10**6))
    print(f"{recovered} recovered, {failed} not")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
