import hashlib
import json
import pickle
import shutil

import cv2
import numpy as np
import pyarrow.parquet as pq
import pytest

from training.datasets import assembly, dataset_folder, video_files
from training.datasets import lerobot_layout as layout
from training.datasets.assembly import assemble
from training.datasets.shard import Camera
from training.datasets.shard_writer import Frame, ShardWriter
from training.datasets.video import read_video, write_video
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError
from vla_ros.policy.pictures import decode_jpeg, encode_jpeg

SIZE = 32
FPS = 5
CAMERAS = ("front", "wrist")
CONTRACT = tap_contract(CAMERAS, SIZE, FPS)
VECTORS = {"observation.state": ["a", "b"], "action": ["da"]}
OPTIONS = {"max_age": {"image_s": 0.12}}
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"


def picture(bag, index):
    """Return a picture that tells bag and frame by its brightness, with a gradient."""
    ramp = np.linspace(0, 60, SIZE)[:, None, None] + np.zeros((SIZE, SIZE, 3))
    return (ramp + 40 * bag + 10 * index).astype(np.uint8)


def make_shard(folder, bag, lengths, kind="play", tasks=("",), contract=CONTRACT):
    """Write a shard whose frames carry the numbers 100 * bag + index within the shard."""
    number = 0
    with ShardWriter(folder / f"shard-{bag}", contract, VECTORS) as writer:
        for episode, length in enumerate(lengths):
            task = tasks[episode % len(tasks)]
            K = {"front": Camera([[50.0, 0, 16], [0, 50, 16], [0, 0, 1]])}
            writer.begin_episode(task, kind, None if kind == "play" else True, "done", K)
            for index in range(length):
                shown = picture(bag, index)
                value = 100 * bag + number
                writer.add(
                    Frame(
                        (bag + 1) * 10**12 + index * 10**9 // FPS,
                        {camera: encode_jpeg(shown, 95) for camera in contract.cameras},
                        dict.fromkeys(contract.cameras, shown),
                        {"observation.state": np.array([value, -value]), "action": [value / 2]},
                        image_age_ms=4.0,
                    )
                )
                number += 1
            writer.end_episode()
        return writer.finish(f"night/bag-{bag}", f"{bag:064}", {}, OPTIONS, [])


@pytest.fixture
def shards(tmp_path):
    """Return two shards: a bag of two pieces of play, and a demonstration."""
    return [
        make_shard(tmp_path, 0, (4, 3)),
        make_shard(tmp_path, 1, (2,), "demo", ("Put it down",)),
    ]


def rows(folder, file=DATA):
    return pq.read_table(folder / file).to_pylist()


def content(folder):
    """Return the SHA-256 of each file of the dataset."""
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def run(out, shards, images="jpeg", **provenance):
    return assemble(out, CONTRACT, shards, {"options": OPTIONS, **provenance}, images)


def test_rows_are_numbered_through_all_shards(shards, tmp_path):
    info = run(tmp_path / "d", shards)
    found = rows(tmp_path / "d")
    assert [row["index"] for row in found] == list(range(9))
    assert [row["episode_index"] for row in found] == [0] * 4 + [1] * 3 + [2] * 2
    assert [row["frame_index"] for row in found] == [0, 1, 2, 3, 0, 1, 2, 0, 1]
    assert [row["task_index"] for row in found] == [0] * 7 + [1] * 2
    np.testing.assert_allclose(
        [row["timestamp"] for row in found], [0, 0.2, 0.4, 0.6, 0, 0.2, 0.4, 0, 0.2], rtol=1e-6
    )
    assert [row["action"] for row in found] == [[v / 2] for v in (*range(7), 100, 101)]
    stored = found[8]["observation.images.wrist"]["bytes"]
    assert stored == encode_jpeg(picture(1, 1), 95)
    assert rows(tmp_path / "d", "meta/tasks.parquet") == [
        {"task_index": 0, "task": ""},
        {"task_index": 1, "task": "Put it down"},
    ]
    assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (3, 9, 2)
    assert info["splits"] == {"train": "0:3"}
    assert info["codebase_version"] == "v3.0"
    assert set(info["features"]) == set(pq.read_schema(tmp_path / "d" / DATA).names)
    assert json.loads((tmp_path / "d/meta/info.json").read_text()) == json.loads(json.dumps(info))


def test_an_episode_says_where_it_is_and_where_it_comes_from(shards, tmp_path):
    run(tmp_path / "d", shards)
    episode = rows(tmp_path / "d", EPISODES)[1]
    assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (4, 7)
    assert episode["tasks"] == [""]
    assert (episode["data/chunk_index"], episode["data/file_index"]) == (0, 0)
    assert (episode["meta/episodes/chunk_index"], episode["meta/episodes/file_index"]) == (0, 0)
    assert (episode["bag"], episode["kind"], episode["success"]) == ("night/bag-0", "play", None)
    assert (episode["start_ns"], episode["image_age_ms"]) == (10**12, 4.0)
    assert episode["cameras/front/K"][0] == [50, 0, 16]
    assert episode["cameras/front/T_base_camera"] is None
    assert episode["cameras/wrist/K"] is None
    assert episode["stats/action/mean"] == [2.5]  # of 4/2, 5/2 and 6/2
    assert episode["stats/action/count"] == [3]
    assert episode["stats/index/min"] == [4]
    # The pictures' mean level: 30 of the ramp, 10 of the mean frame; the ramp is cut to integers.
    np.testing.assert_allclose(
        np.ravel(episode["stats/observation.images.front/mean"]), [39.5 / 255] * 3, atol=0.2 / 255
    )


def test_stats_are_those_of_the_rows_and_pictures(shards, tmp_path):
    run(tmp_path / "d", shards)
    stats = json.loads((tmp_path / "d/meta/stats.json").read_text())
    states = np.array([row["observation.state"] for row in rows(tmp_path / "d")])
    for name, share in (("q01", 0.01), ("q10", 0.1), ("q50", 0.5), ("q90", 0.9), ("q99", 0.99)):
        np.testing.assert_allclose(
            stats["observation.state"][name], np.quantile(states, share, axis=0)
        )
    np.testing.assert_allclose(stats["observation.state"]["std"], states.std(0))
    shown = np.stack(
        [picture(0, i) for i in (0, 1, 2, 3, 0, 1, 2)] + [picture(1, i) for i in (0, 1)]
    )
    image = stats["observation.images.wrist"]
    assert np.shape(image["mean"]) == (3, 1, 1)
    np.testing.assert_allclose(np.ravel(image["mean"]), shown.mean((0, 1, 2)) / 255)
    np.testing.assert_allclose(np.ravel(image["std"]), shown.std((0, 1, 2)) / 255)
    assert np.ravel(image["max"]).tolist() == [shown.max() / 255] * 3
    assert np.ravel(image["min"]).tolist() == [shown.min() / 255] * 3
    np.testing.assert_allclose(
        np.ravel(image["q50"]), np.quantile(shown, 0.5) / 255, atol=1.01 / 255
    )
    assert image["count"] == [9]


def test_files_have_a_bounded_size_and_hold_whole_episodes(shards, tmp_path, monkeypatch):
    size = shards[0].facts.episodes[0].image_bytes
    monkeypatch.setattr(layout, "DATA_FILE_MB", 1.5 * size / 1e6)
    monkeypatch.setattr(layout, "FILES_PER_CHUNK", 1)
    run(tmp_path / "d", shards)
    found = rows(tmp_path / "d", EPISODES)
    assert [(e["data/chunk_index"], e["data/file_index"]) for e in found] == [
        (0, 0),
        (1, 0),
        (1, 0),
    ]
    assert [row["index"] for row in rows(tmp_path / "d")] == [0, 1, 2, 3]
    second = rows(tmp_path / "d", "data/chunk-001/file-000.parquet")
    assert [row["index"] for row in second] == [4, 5, 6, 7, 8]


@pytest.mark.parametrize("images", ["jpeg", "video"])
def test_bytes_do_not_depend_on_how_the_folder_came_about(shards, tmp_path, images):
    run(tmp_path / "once", shards, images)
    run(tmp_path / "grown", shards[:1], images)
    run(tmp_path / "grown", shards, images)
    assert content(tmp_path / "grown") == content(tmp_path / "once")
    assert (tmp_path / "once/videos").exists() == (images == "video")


def killed_at(step, monkeypatch, out, shards):
    """Assemble, killed before the file operation `step` of the swap; return whether it was."""
    steps = iter(range(100))

    def stopping(function):
        def run_or_stop(*args, **kwargs):
            if next(steps) == step:
                raise KeyboardInterrupt
            return function(*args, **kwargs)

        return run_or_stop

    real = dataset_folder.swap_in

    def swap_in(*args):
        for name in ("rename", "unlink", "mkdir"):
            patch.setattr(type(out), name, stopping(getattr(type(out), name)))
        patch.setattr(dataset_folder.shutil, "rmtree", stopping(shutil.rmtree))
        real(*args)

    with monkeypatch.context() as patch:
        patch.setattr(dataset_folder, "swap_in", swap_in)
        try:
            run(out, shards)
        except KeyboardInterrupt:
            return True
    return False


def test_a_kill_while_swapping_leaves_no_dataset_or_a_whole_one(shards, tmp_path, monkeypatch):
    run(tmp_path / "before", shards[:1])
    run(tmp_path / "whole", shards)
    whole = (content(tmp_path / "before"), content(tmp_path / "whole"))
    for step in range(100):
        out = shutil.copytree(tmp_path / "before", tmp_path / f"d{step}")
        if not killed_at(step, monkeypatch, out, shards):
            break
        left = {name: hash for name, hash in content(out).items() if not name.startswith(".")}
        if "meta/info.json" in left:
            assert left in whole
        run(out, shards)
        assert content(out) == whole[1]
    assert step > 5


def test_provenance_and_hashes_travel(shards, tmp_path):
    info = run(tmp_path / "d", shards, code_version="abc")
    ours = info["vla_ros"]
    assert ours["contract"] == CONTRACT.to_dict()
    assert ours["provenance"]["code_version"] == "abc"
    found = content(tmp_path / "d")
    del found["meta/info.json"]
    assert ours["files"] == found
    line = f"{found[DATA]}  {DATA}\n"
    assert ours["provenance"]["data_sha256"] == hashlib.sha256(line.encode()).hexdigest()


def test_video_has_every_picture_at_its_time(shards, tmp_path, monkeypatch):
    size = video_size(shards[0])
    monkeypatch.setattr(layout, "VIDEO_FILE_MB", 1.5 * size / 1e6)
    info = run(tmp_path / "d", shards, "video")
    feature = info["features"]["observation.images.front"]
    assert feature["dtype"] == "video"
    assert feature["info"]["video.codec"] == "vp9"
    assert info["video_path"].startswith("videos/{video_key}/chunk-{chunk_index:03d}")
    assert "observation.images.front" not in pq.read_schema(tmp_path / "d" / DATA).names
    episodes = rows(tmp_path / "d", EPISODES)
    prefix = "videos/observation.images.front/"
    assert episodes[0][prefix + "from_timestamp"] == 0
    assert episodes[0][prefix + "to_timestamp"] == 0.8
    assert len({e[prefix + "file_index"] for e in episodes}) > 1
    for episode, (bag, length) in zip(episodes, ((0, 4), (0, 3), (1, 2)), strict=True):
        path = (
            tmp_path
            / "d"
            / info["video_path"].format(
                video_key="observation.images.front",
                chunk_index=episode[prefix + "chunk_index"],
                file_index=episode[prefix + "file_index"],
            )
        )
        first_s = episode[prefix + "from_timestamp"]
        shown = [pair for pair, _ in zip(read_video(path, first_s), range(length), strict=False)]
        np.testing.assert_allclose(
            [time_s - first_s for time_s, _ in shown], np.arange(length) / FPS, atol=1e-9
        )
        for index, (_, got) in enumerate(shown):
            # Neighbouring frames differ by 10 levels.
            assert abs(got.astype(float) - picture(bag, index)).mean() < 3


def video_size(shard):
    video_files.encode_shard(shard, "vp9", FPS)
    return video_files.episode_video(shard, "front", 0, "vp9").stat().st_size


def test_an_episode_is_encoded_once(shards, tmp_path, monkeypatch):
    run(tmp_path / "d", shards[:1], "video")
    encoded = []
    real = video_files.write_video
    monkeypatch.setattr(
        video_files, "write_video", lambda path, *args: encoded.append(path) or real(path, *args)
    )
    run(tmp_path / "d", shards, "video")
    assert [path.parent.name for path in encoded] == list(CAMERAS)


def test_a_missing_episode_among_encoded_ones_is_encoded_from_its_own_pictures(shards):
    video_files.encode_shard(shards[0], "vp9", FPS)
    second = video_files.episode_video(shards[0], "front", 1, "vp9")
    before = second.read_bytes()
    second.unlink()
    video_files.encode_shard(shards[0], "vp9", FPS)
    assert second.read_bytes() == before


@pytest.mark.parametrize("left", ["empty", "cut", "short"])
def test_a_video_that_is_not_whole_is_encoded_anew(shards, tmp_path, left):
    run(tmp_path / "whole", shards, "video")
    part = video_files.episode_video(shards[0], "wrist", 1, "vp9")
    data = part.read_bytes()
    part.write_bytes({"empty": b"", "cut": data[: len(data) // 2]}.get(left, data))
    if left == "short":
        write_video(part, [picture(0, 0)] * 2, "vp9", FPS)  # of an episode of three
    run(tmp_path / "again", shards, "video")
    assert content(tmp_path / "again") == content(tmp_path / "whole")


def test_a_video_is_on_the_disk_before_it_has_its_name(shards, monkeypatch):
    synced = []
    monkeypatch.setattr(
        video_files, "sync_file", lambda path: synced.append((path, path.stat().st_size))
    )
    video_files.encode_shard(shards[1], "vp9", FPS)
    finished = [video_files.episode_video(shards[1], camera, 0, "vp9") for camera in CAMERAS]
    assert [size for _, size in synced] == [path.stat().st_size for path in finished]
    assert all(path.name.endswith(".tmp") and not path.exists() for path, _ in synced)


def test_a_joint_video_of_another_length_is_refused(shards, tmp_path, monkeypatch):
    real = video_files.join_videos
    monkeypatch.setattr(video_files, "join_videos", lambda *args: real(*args) - 1)
    with pytest.raises(DatasetError, match="of front in .* have 8 pictures for 9 frames; remove"):
        run(tmp_path / "d", shards, "video")


def test_a_video_file_ends_before_float32_times_are_too_coarse(shards, tmp_path, monkeypatch):
    # Episodes of 0.8, 0.6 and 0.4 s.
    monkeypatch.setattr(layout, "VIDEO_FILE_S", 1.1)
    run(tmp_path / "d", shards, "video")
    found = rows(tmp_path / "d", EPISODES)
    prefix = "videos/observation.images.front/"
    assert [row[f"{prefix}file_index"] for row in found] == [0, 1, 1]
    assert [row[f"{prefix}from_timestamp"] for row in found] == pytest.approx([0, 0, 0.6])


def test_videos_are_encoded_side_by_side_and_a_failure_is_told(shards, tmp_path, monkeypatch):
    asked = []

    def side_by_side(paths, job, workers, say):
        job = pickle.loads(pickle.dumps(job))  # as it goes to another process
        asked.append((paths, workers))
        return [(path, job(path, say=say)) for path in paths]

    monkeypatch.setattr(video_files, "side_by_side", side_by_side)
    assemble(tmp_path / "d", CONTRACT, shards, {"options": OPTIONS}, "video", workers=3)
    assert asked == [([shard.path for shard in shards], 3)]
    alone = run(tmp_path / "alone", shards, "video")
    assert content(tmp_path / "d") == content(tmp_path / "alone")
    assert alone["total_frames"] == 9
    shutil.rmtree(shards[1].path / "videos")
    (shards[1].path / "frames.parquet").write_bytes(b"damaged")
    with pytest.raises(DatasetError, match=r"video of shard .*shard-1 cannot be encoded: shard"):
        video_files.write_videos(tmp_path / "d", shards, [], "vp9", FPS, workers=2)


def test_jpeg_pictures_decode_to_what_was_stored(shards, tmp_path):
    run(tmp_path / "d", shards)
    data = rows(tmp_path / "d")[3]["observation.images.front"]["bytes"]
    shown = decode_jpeg(data, "test")
    assert cv2.PSNR(shown, picture(0, 3)) > 35


def test_shards_of_no_frame_are_passed_over_but_some_frame_is_needed(shards, tmp_path):
    empty = make_shard(tmp_path, 7, ())
    assert run(tmp_path / "d", [empty, *shards])["total_frames"] == 9
    with pytest.raises(DatasetError, match="no frame to write .* from 1 recordings; check"):
        run(tmp_path / "e", [empty])
    assert not (tmp_path / "e").exists()


def test_what_does_not_belong_together_is_refused(shards, tmp_path):
    with pytest.raises(DatasetError, match="night/bag-0 would be in .* more than once"):
        run(tmp_path / "d", [shards[0], shards[0]])
    small = make_shard(tmp_path, 5, (2,), contract=tap_contract("front", SIZE, FPS))
    with pytest.raises(DatasetError, match="shard-5 of night/bag-5 has cameras"):
        run(tmp_path / "d", [*shards, small])
    with pytest.raises(DatasetError, match="jpeg or video, got 'png'"):
        run(tmp_path / "d", shards, "png")
    with pytest.raises(DatasetError, match="codec 'h264' is unknown; choose one of vp9, av1"):
        assemble(tmp_path / "d", CONTRACT, shards, {"options": OPTIONS}, "video", "h264")
    odd = tap_contract(CAMERAS, SIZE, 7.5)
    with pytest.raises(DatasetError, match=r"whole number of Hz .*got 7\.5; choose another --rate"):
        assemble(tmp_path / "d", odd, shards, {})
    assert not (tmp_path / "d").exists()


def test_a_folder_of_something_else_is_refused_and_left_alone(shards, tmp_path):
    out = tmp_path / "d"
    out.mkdir()
    (out / "thesis.tex").write_text("x")
    with pytest.raises(DatasetError, match="is no dataset .it holds thesis.tex.; choose another"):
        run(out, shards)
    assert [p.name for p in out.iterdir()] == ["thesis.tex"]
    (out / "meta").mkdir()
    (out / "meta/info.json").write_text('{"codebase_version": "v3.0"}')
    with pytest.raises(DatasetError, match="was not written here; choose another folder"):
        run(out, shards)


def test_a_dataset_of_another_contract_or_other_options_is_refused(shards, tmp_path):
    out = tmp_path / "d"
    run(out, shards)
    before = content(out)
    with pytest.raises(DatasetError, match=r"of other contract \(rate_hz: 5.0 there, 10.0 here\)"):
        assemble(out, tap_contract(CAMERAS, SIZE, 10), shards, {"options": OPTIONS})
    with pytest.raises(DatasetError, match="of other options .max_age: .*; choose another folder"):
        assemble(out, CONTRACT, shards, {"options": {"max_age": {"image_s": 1}}})
    assert content(out) == before


def test_many_episodes_go_into_several_tables(shards, tmp_path, monkeypatch):
    monkeypatch.setattr(assembly.layout, "EPISODES_PER_FILE", 2)
    run(tmp_path / "d", shards)
    second = rows(tmp_path / "d", "meta/episodes/chunk-000/file-001.parquet")
    assert [e["episode_index"] for e in second] == [2]
    assert second[0]["meta/episodes/file_index"] == 1
