import json
import os

import numpy as np
import pytest

from training.datasets import shard, shard_writer
from training.datasets.dataset_stats import dense_histogram
from training.datasets.drop_list import Drop
from training.datasets.shard import Camera, open_shard
from training.datasets.shard_writer import Frame, ShardWriter
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError

SIZE = 8
VECTORS = {"observation.state": ["a", "b"], "action": ["da"]}
SECOND_NS = 1_000_000_000


def contract(cameras=("front", "wrist"), rate_hz=5.0):
    return tap_contract(cameras, SIZE, rate_hz)


def frame(index, cameras=("front", "wrist"), start_ns=7 * SECOND_NS):
    """Return frame `index` of 5 Hz: grey level and vectors tell which it is."""
    return Frame(
        tick_ns=start_ns + index * SECOND_NS // 5,
        jpegs={name: f"{name} {index}".encode() for name in cameras},
        pictures={name: np.full((SIZE, SIZE, 3), index, np.uint8) for name in cameras},
        vectors={
            "observation.state": np.array([index, -index], np.float32),
            "action": np.array([10.0 * index]),
        },
        image_age_ms=index,
    )


def write(path, lengths=(3, 2)):
    """Return the facts' counts of dropped frames and the shard of episodes of these lengths."""
    dropped = []
    with ShardWriter(path, contract(), VECTORS) as writer:
        for number, length in enumerate(lengths):
            K = np.eye(3).tolist()
            writer.begin_episode(f"task {number}", "demo", True, "done", {"wrist": Camera(K)})
            for index in range(length):
                writer.add(frame(index))
            dropped.append(writer.end_episode())
        drops = [Drop("stale images", 2, 5, 9)]
        return dropped, writer.finish("session/bag", "ab12", {"robot": "x"}, {"rate": 5}, drops)


def test_what_is_written_is_read(tmp_path):
    dropped, written = write(tmp_path / "s")
    read = open_shard(tmp_path / "s")
    assert dropped == [0, 0]
    assert read.facts == written.facts
    assert read.facts.num_frames == 5
    first, second = read.facts.episodes
    assert (first.first, first.end, second.first, second.end) == (0, 3, 3, 5)
    assert (first.task, second.task, second.kind, second.success) == ("task 0", "task 1", "demo", 1)
    assert first.start_ns == 7 * SECOND_NS
    assert first.image_age_ms == 1.0  # the mean of 0, 1, 2
    assert first.image_bytes == 2 * 3 * len("front 0")
    assert second.cameras == {"front": Camera(), "wrist": Camera(np.eye(3).tolist())}
    assert read.facts.dropped == [Drop("stale images", 2, 5, 9)]
    np.testing.assert_array_equal(
        read.column("observation.state"), [[0, 0], [1, -1], [2, -2], [0, 0], [1, -1]]
    )
    np.testing.assert_allclose(read.column("timestamp"), [0, 0.2, 0.4, 0, 0.2], rtol=1e-6)
    np.testing.assert_array_equal(read.column("frame_index"), [0, 1, 2, 0, 1])
    rows = [row for table in read.batches() for row in table.to_pylist()]
    assert [row["episode"] for row in rows] == [0, 0, 0, 1, 1]
    assert rows[4]["observation.images.wrist"] == {"bytes": b"wrist 1", "path": None}


def test_histograms_count_every_pixel_of_small_pictures(tmp_path):
    _, written = write(tmp_path / "s")
    histogram = dense_histogram(written.facts.episodes[0].histograms["front"])
    expected = np.zeros((3, 256))
    expected[:, :3] = SIZE * SIZE
    np.testing.assert_array_equal(histogram, expected)


def test_a_frame_alone_is_no_episode(tmp_path):
    dropped, written = write(tmp_path / "s", (1, 2))
    assert dropped == [1, 0]
    assert open_shard(tmp_path / "s").facts.num_frames == 2
    assert [e.task for e in written.facts.episodes] == ["task 1"]
    np.testing.assert_array_equal(written.column("frame_index"), [0, 1])


def test_row_groups_stay_within_frames_bytes_and_an_episode(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "ROW_GROUP_FRAMES", 3)
    _, written = write(tmp_path / "frames", (7, 2))
    assert [len(table) for table in written.batches()] == [3, 3, 1, 2]
    np.testing.assert_array_equal(written.column("frame_index"), [*range(7), 0, 1])
    monkeypatch.setattr(shard_writer, "ROW_GROUP_BYTES", 4 * len("front 0"))
    _, written = write(tmp_path / "bytes", (5,))
    assert [len(table) for table in written.batches()] == [2, 2, 1]


def test_an_episode_too_long_for_float32_time_goes_on_as_another(tmp_path, monkeypatch):
    monkeypatch.setattr(shard_writer, "MAX_EPISODE_S", 0.6)
    _, written = write(tmp_path / "s", (5,))
    assert [(e.first, e.end, e.task) for e in written.facts.episodes] == [
        (0, 3, "task 0"),
        (3, 5, "task 0"),
    ]
    assert written.facts.episodes[1].start_ns == 7 * SECOND_NS + 3 * SECOND_NS // 5
    np.testing.assert_allclose(written.column("timestamp"), [0, 0.2, 0.4, 0, 0.2], rtol=1e-6)


def test_an_error_leaves_nothing(tmp_path):
    def stop_within():
        with ShardWriter(tmp_path / "s", contract(), VECTORS) as writer:
            writer.begin_episode("", "play", None, "")
            writer.add(frame(0, ("front",)))

    with pytest.raises(KeyError, match="wrist"):
        stop_within()
    assert os.listdir(tmp_path) == []


def test_the_same_frames_give_the_same_bytes(tmp_path):
    for name in "ab":
        write(tmp_path / name)
    for file in (shard.FRAMES_FILE, shard.FACTS_FILE):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_a_shard_without_frames_is_whole(tmp_path):
    _, written = write(tmp_path / "s", ())
    assert open_shard(tmp_path / "s").column("action").shape == (0, 1)
    assert written.facts.episodes == []


def test_a_shard_made_twice_at_the_same_time_is_there_once(tmp_path):
    _, first = write(tmp_path / "s")
    _, second = write(tmp_path / "s")
    assert second.facts.frames_sha256 == first.facts.frames_sha256
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_an_existing_shard_of_other_frames_is_refused_and_stays(tmp_path):
    _, first = write(tmp_path / "s", (3,))
    with pytest.raises(DatasetError, match="s exists already; remove that folder"):
        write(tmp_path / "s", (2,))
    assert open_shard(tmp_path / "s").facts == first.facts
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def change(**values):
    def apply(path):
        file = path / shard.FACTS_FILE
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    return apply


def cut(path):
    file = path / shard.FRAMES_FILE
    file.write_bytes(file.read_bytes()[:-20])


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (change(version=0), "has version 0, and 2 is read"),
        (change(num_frames=4), "says 4 frames of 2 episodes, and frames.parquet with 5 rows"),
        (change(vectors={"action": ["da"]}), "does not fit"),
        (change(unknown=1), "is damaged .*unknown"),
        (cut, "is damaged"),
        (lambda path: (path / shard.FRAMES_FILE).unlink(), "is incomplete .*frames.parquet"),
        (lambda path: (path / shard.FACTS_FILE).write_text("{"), "is damaged"),
    ],
)
def test_a_damaged_shard_is_refused_by_name(tmp_path, damage, message):
    write(tmp_path / "s")
    damage(tmp_path / "s")
    with pytest.raises(DatasetError, match=message + r".*convert again"):
        open_shard(tmp_path / "s")


def test_a_flipped_byte_of_a_picture_is_seen(tmp_path):
    write(tmp_path / "s")
    file = tmp_path / "s" / shard.FRAMES_FILE
    content = file.read_bytes()
    assert content.count(b"front 1") >= 1
    file.write_bytes(content.replace(b"front 1", b"front 9"))
    opened = open_shard(tmp_path / "s")
    with pytest.raises(DatasetError, match=r"frames.parquet is not what was written; remove .*"):
        opened.check_frames()


def test_what_the_recording_lost_is_kept(tmp_path):
    with ShardWriter(tmp_path / "s", contract(), VECTORS) as writer:
        writer.finish("a", "b", {}, {}, [], ["a.mcap is cut off"])
    assert open_shard(tmp_path / "s").facts.lost == ["a.mcap is cut off"]
