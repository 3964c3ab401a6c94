"""A small bag of three topics' worth of facts, written as the recorder writes it."""

from types import SimpleNamespace

import pytest
from rosbags.interfaces import (
    Qos,
    QosDurability,
    QosHistory,
    QosLiveliness,
    QosReliability,
    QosTime,
)
from rosbags.typesys import Stores, get_typestore

from vla_ros.bags.part import PartFolder
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core.episode import EpisodeEvent

START = EpisodeEvent("start", "play-1", "play")


def string_cdr(text: str) -> bytes:
    """Return a serialised std_msgs/String: header, length with the final zero, bytes."""
    data = text.encode() + b"\0"
    return b"\0\1\0\0" + len(data).to_bytes(4, "little") + data


def write_part(session, chunks, per_chunk=3, payload=40):
    """Write an unfinished bag of `chunks` chunks; return its folder and (topic, time, data)s."""
    part = PartFolder.create(session, "play-1")
    part.write_facts({"robot_name": "wx250s"})
    writer = ChunkedWriter(part.bag)
    writer.open()
    store = get_typestore(Stores.ROS2_JAZZY)
    week = QosTime(7 * 24 * 3600, 0)
    qos = Qos(QosHistory.KEEP_LAST, 10, QosReliability.RELIABLE, QosDurability.TRANSIENT_LOCAL,
              week, week, QosLiveliness.AUTOMATIC, week, False)  # fmt: skip
    connections = {
        topic: writer.add_connection(topic, msgtype, typestore=store, offered_qos_profiles=[qos])
        for topic, msgtype in (
            ("/vla/episode", "std_msgs/msg/String"),
            ("/wx250s/joint_states", "sensor_msgs/msg/JointState"),
        )
    }
    written = [("/vla/episode", 1, string_cdr(START.to_json()))]
    for index in range(chunks * per_chunk - 1):
        data = bytes((index * 7 + i * i) % 251 for i in range(payload))
        written.append(("/wx250s/joint_states", 10 + index, data))
    ends, chunk_starts = [], []
    for number, (topic, time_ns, data) in enumerate(written, start=1):
        writer.write(connections[topic], time_ns, data)
        if number % per_chunk == 0:
            start = writer.size_bytes
            writer.flush()
            ends.append(writer.size_bytes)
            chunk_starts.append(start)
    writer.abort()
    part.unlock()
    file = part.bag / "play-1.mcap"
    data = file.read_bytes()
    # A record's length stands after its opcode; the header's record comes first.
    chunk_starts[0] = 8 + 9 + int.from_bytes(data[9:17], "little")
    chunk_ends = [s + 9 + int.from_bytes(data[s + 1 : s + 9], "little") for s in chunk_starts]
    return SimpleNamespace(
        part=part,
        file=file,
        start=START,
        written=written,
        ends=ends,
        chunk_ends=chunk_ends,
        per_chunk=per_chunk,
    )


@pytest.fixture(scope="session")
def torn(tmp_path_factory):
    """Return an unfinished bag of four chunks; nobody may change it."""
    return write_part(tmp_path_factory.mktemp("torn"), chunks=4)
