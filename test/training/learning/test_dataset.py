import json
import os
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.datasets import dataset_folder, lerobot_layout
from training.datasets.assembly import assemble
from training.datasets.dataset_provenance import provenance_of
from training.datasets.shard import Camera
from training.datasets.shard_writer import Frame, ShardWriter
from training.learning.dataset import open_dataset
from training.recordings.bag_folder import BagFolder
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.policy.pictures import decode_jpeg, encode_jpeg

AXES = {
    "observation.state": [str(i) for i in range(7)],
    "observation.ee_pose": list("abcdef"),
    "action": [str(i) for i in range(7)],
}


@pytest.fixture
def dataset(dataset_path):
    return open_dataset(dataset_path, 32)


def grey(frame, camera):
    """Return the value of every pixel of a picture in `two_cameras`."""
    return 10 * frame + (5 if camera == "wrist" else 0)


def two_cameras(folder, images="jpeg", lengths=(3, 4), data=b""):
    """Write a dataset of two cameras with pictures of one grey each, and return its path.

    Every episode is a recording; `data`, where given, is the last picture's bytes.
    """
    contract = tap_contract(("front", "wrist"), 32)
    shards, frame = [], 0
    for number, length in enumerate(lengths):
        with ShardWriter(folder / f"shard-{number}", contract, AXES) as writer:
            writer.begin_episode("", "play", None, "done")
            for i in range(length):
                pictures = {
                    name: np.full((32, 32, 3), grey(frame, name), np.uint8)
                    for name in contract.cameras
                }
                jpegs = {name: encode_jpeg(p, 95) for name, p in pictures.items()}
                if data and frame == sum(lengths) - 1:
                    jpegs["wrist"] = data
                vectors = {
                    name: np.full(len(axes), 0.001 * frame, np.float32)
                    for name, axes in AXES.items()
                }
                writer.add(Frame(i * 200_000_000, jpegs, pictures, vectors, 0.0))
                frame += 1
            writer.end_episode()
            shards.append(writer.finish(f"bag-{number}", f"{number:064d}", {}, {}, []))
    provenance = provenance_of(shards, [], {"label": "reached"})
    assemble(folder / "data", contract, shards, provenance, images)
    return folder / "data"


def caches(path):
    return sorted(file.name for file in (path / "cache").glob("*.npy"))


def test_a_dataset_is_read_back(dataset, converted):
    assert dataset.images.shape == (48, 32, 32, 3)
    assert dataset.actions.shape == dataset.states.shape == (48, 7)
    assert dataset.ee_poses.shape == (48, 6)
    assert len(dataset) == 48
    assert [(e.first, e.end, e.kind) for e in dataset.episodes[:4]] == [
        (0, 8, "play"), (8, 16, "play"), (16, 24, "play"), (24, 32, "demo"),
    ]  # fmt: skip
    assert dataset.tasks[[0, 30]].tolist() == ["", "Put the carrot on the plate"]
    first = dataset.episodes[0]
    assert first.cameras == {"front": Camera(None, None)}
    with BagFolder(converted.parent / "play-0") as bag:
        assert (first.recording, first.start_ns) == (bag.sha256(), 1_000_000_000)
    assert dataset.label == "reached"


@pytest.mark.parametrize("images", ["jpeg", "video"])
def test_files_cameras_and_their_order(images, tmp_path, monkeypatch):
    # One episode a file: 1000 bytes are less than an episode has.
    monkeypatch.setattr(lerobot_layout, "DATA_FILE_MB", 0.001)
    monkeypatch.setattr(lerobot_layout, "VIDEO_FILE_MB", 0.0001)
    monkeypatch.setattr(lerobot_layout, "EPISODES_PER_FILE", 1)
    path = two_cameras(tmp_path, images)
    assert len(list(path.glob("videos/*/*/*.mp4"))) == (4 if images == "video" else 0)
    assert images == "video" or len(list(path.glob("data/*/*.parquet"))) == 2
    dataset = open_dataset(path, 32, ("wrist", "front"))
    assert dataset.contract.cameras == ("wrist", "front")
    assert dataset.images is dataset.pictures["wrist"]
    for name, pictures in dataset.pictures.items():
        expected = [grey(frame, name) for frame in range(7)]
        np.testing.assert_allclose(pictures.mean((1, 2, 3)), expected, atol=2)
    np.testing.assert_allclose(dataset.actions[:, 0], 0.001 * np.arange(7), atol=1e-7)
    assert [(e.first, e.end, e.bag) for e in dataset.episodes] == [
        (0, 3, "bag-0"), (3, 7, "bag-1"),
    ]  # fmt: skip


def test_only_the_main_camera_is_opened_unless_others_are_named(tmp_path):
    path = two_cameras(tmp_path)
    dataset = open_dataset(path, 32)
    assert dataset.contract == tap_contract("front", 32)
    assert [name.split("-")[0] for name in caches(path)] == ["front"]
    with pytest.raises(DatasetError, match="has no camera top; it has front, wrist"):
        open_dataset(path, 32, ("front", "top"))


def test_pictures_are_decoded_once_and_kept(dataset, dataset_path):
    (name,) = caches(dataset_path)
    changed = (dataset_path / "cache" / name).stat().st_mtime_ns
    again = open_dataset(dataset_path, 32)
    assert (dataset_path / "cache" / name).stat().st_mtime_ns == changed
    assert (again.images == dataset.images).all()


def test_each_model_size_has_its_own_cache(dataset, dataset_path):
    assert open_dataset(dataset_path, 16).images.shape == (48, 16, 16, 3)
    assert len(caches(dataset_path)) == 2


def test_files_are_hashed_once_and_again_when_touched(dataset, dataset_path, monkeypatch):
    hashed = []
    monkeypatch.setattr(
        "training.learning.verified_files.file_sha256", lambda path: hashed.append(path) or "0"
    )
    open_dataset(dataset_path, 32)
    assert hashed == []
    os.utime(dataset_path / "data/chunk-000/file-000.parquet")
    with pytest.raises(DatasetError, match="was changed after conversion"):
        open_dataset(dataset_path, 32)
    assert len(hashed) == 1


def test_a_picture_that_cannot_be_decoded_is_named_and_nothing_is_left(tmp_path):
    path = two_cameras(tmp_path, data=b"junk")
    with pytest.raises(ContractError, match=r"row 6 of .*file-000.parquet cannot be decoded"):
        open_dataset(path, 32, ("wrist",))
    assert not [file for file in (path / "cache").iterdir() if file.suffix in (".npy", ".tmp")]


def test_converting_leaves_the_cache_where_it_is():
    assert "cache" in dataset_folder.BESIDE


def test_a_dataset_without_tool_poses_says_so_where_they_are_needed(dataset):
    del dataset.vectors["observation.ee_pose"]
    with pytest.raises(DatasetError, match="does not tell where the tool was"):
        _ = dataset.ee_poses


def test_refuses_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match=r"is not a complete dataset: .*info.json is missing"):
        open_dataset(tmp_path, 32)


def test_refuses_a_dataset_without_data_files(dataset_path):
    shutil.rmtree(dataset_path / "data")
    with pytest.raises(DatasetError, match="is not a complete dataset: .*data is missing"):
        open_dataset(dataset_path, 32)


def test_refuses_a_dataset_without_our_contract(dataset_path):
    path = dataset_path / "meta/info.json"
    info = json.loads(path.read_text())
    del info["vla_ros"]["contract"]
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="no contract or provenance of this version"):
        open_dataset(dataset_path, 32)


def test_refuses_episodes_that_leave_out_a_frame(dataset_path):
    (file,) = (dataset_path / "meta/episodes").rglob("*.parquet")
    table = pq.read_table(file)
    at = table.schema.get_field_index("dataset_from_index")
    starts = [first + (number == 2) for number, first in enumerate(table[at].to_pylist())]
    pq.write_table(table.set_column(at, "dataset_from_index", pa.array(starts)), file)
    with pytest.raises(DatasetError, match="do not follow one another"):
        open_dataset(dataset_path, 32)


def test_refuses_another_layout(dataset_path):
    path = dataset_path / "meta/info.json"
    path.write_text(path.read_text().replace('"v3.0"', '"v2.1"'))
    with pytest.raises(DatasetError, match=r"layout v2.1, got 48 frames .* layout v3.0 is read"):
        open_dataset(dataset_path, 32)


def test_refuses_data_that_changed_after_conversion(dataset_path):
    info = dataset_path / "meta/info.json"
    content = json.loads(info.read_text())
    content["vla_ros"]["provenance"]["data_sha256"] = "0" * 64
    info.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="was changed after conversion"):
        open_dataset(dataset_path, 32)


def test_refuses_cut_off_data(dataset_path):
    file = dataset_path / "data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DatasetError, match="data is damaged"):
        open_dataset(dataset_path, 32)


def test_cached_pictures_are_those_of_the_data_files(dataset):
    table = pq.read_table(dataset.path / "data/chunk-000/file-000.parquet")
    data = table.column("observation.images.front")[17].as_py()["bytes"]
    assert (dataset.images[17] == decode_jpeg(data, "frame 17")).all()
