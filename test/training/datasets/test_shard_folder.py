"""What conversion keeps between runs is whole, of the bags as they are, or not used."""

import json
import shutil

import pytest

from training.convert import convert
from training.datasets import shard_folder, workers
from training.datasets.frames import MaxAge
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError

CONTRACT = tap_contract(image_size=16)


def test_a_flipped_byte_in_a_shard_is_made_good_or_refused_and_never_assembled(
    bag_writer, tmp_path
):
    paths = [bag_writer.moving_episode(f"play-{i}", 3, seed=i) for i in range(2)]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    data = tmp_path / "d/data/chunk-000/file-000.parquet"
    before = data.read_bytes()
    for frames in (tmp_path / "d/.shards").glob("*/frames.parquet"):
        content = bytearray(frames.read_bytes())
        content[300] ^= 1
        frames.write_bytes(content)
    with pytest.raises(DatasetError, match=r"is damaged: frames.parquet is not what was written"):
        convert(paths[:1], tmp_path / "d", CONTRACT, MaxAge())
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert data.read_bytes() == before


def test_a_bag_that_changed_after_a_run_that_was_stopped_is_there_once(
    bag_writer, tmp_path, monkeypatch
):
    paths = [bag_writer.moving_episode(f"play-{i}", 3, seed=i) for i in range(2)]
    real = workers.shard_of_bag

    def stopped(path, *more):
        if path == paths[1]:
            raise KeyboardInterrupt
        return real(path, *more)

    monkeypatch.setattr(workers, "shard_of_bag", stopped)
    with pytest.raises(KeyboardInterrupt):
        convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    monkeypatch.undo()
    shutil.rmtree(paths[0])
    bag_writer.moving_episode("play-0", 5, seed=9)
    info = convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert [row["frames"] for row in info["vla_ros"]["provenance"]["bags"]] == [5, 3]
    assert json.loads((tmp_path / "d/.shards/paths.json").read_text()).keys() == set(
        map(str, paths)
    )


def test_a_bag_that_was_moved_goes_by_its_new_name(bag_writer, tmp_path):
    paths = [bag_writer.moving_episode(f"play-{i}", 3, seed=i) for i in range(2)]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    moved = shutil.move(paths[1].parent, tmp_path / "elsewhere")
    paths = [moved / path.name for path in paths]
    # The other is deleted: what was made of it stays.
    shutil.rmtree(paths[0])
    info = convert(paths[1:], tmp_path / "d", CONTRACT, MaxAge())
    provenance = info["vla_ros"]["provenance"]
    assert [row["bag"] for row in provenance["bags"]] == ["bags/play-0", "elsewhere/play-1"]
    assert provenance["skipped_bags"] == []


def test_what_was_left_unfinished_goes_at_the_start_and_at_the_end(tmp_path):
    left = tmp_path / "d/.shards/.bag-x.tmp"
    left.mkdir(parents=True)
    with shard_folder.opened(tmp_path / "d", CONTRACT, {}) as folder:
        assert not left.exists()
        (folder / ".bag-y.tmp").mkdir()
    assert not list(folder.glob(".bag-*"))


def test_what_a_stopped_run_noted_counts_and_a_half_written_line_does_not(tmp_path):
    for key in ("a1", "a2", "b1"):
        (tmp_path / key).mkdir()
    shard_folder.note_place(tmp_path, "/a", "a1")
    shard_folder.note_place(tmp_path, "/b", "b1")
    with (tmp_path / shard_folder.PLACES_FILE).open("a") as file:
        file.write('\n["/b", "b')
    shard_folder.note_place(tmp_path, "/a", "a2")
    assert shard_folder.forget_changed(tmp_path) == ["/a"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a2", "b1", "paths.json"]


def test_bags_that_have_changed_places_lose_nothing(tmp_path):
    for key in ("1", "2"):
        (tmp_path / key).mkdir()
    for first, second in (("1", "2"), ("2", "1")):
        shard_folder.note_place(tmp_path, "/a", first)
        shard_folder.note_place(tmp_path, "/b", second)
        shard_folder.forget_changed(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"1", "2", "paths.json"}
