import errno
import json
import multiprocessing
import pickle
import sys
from types import SimpleNamespace

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from training.datasets.video import write_video
from training.learning.dataset import open_dataset
from training.learning.windows import Windows
from training.lerobot import episode_shard
from training.lerobot.source import LerobotSource
from training.lerobot_import import import_dataset, main, settings_of
from vla_ros.core import arm, kinematics
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.core.rotations import matrix_from_rotvec, rotvec_from_matrix
from vla_ros.policy.pictures import decode_jpeg

SIZE = 32
FPS = 10
DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
AXES = ["x", "y", "z", "roll", "pitch", "yaw", "grip"]
# Another arm: six numbers as they are, its pose among them, the gripper from 0 to 100.
FOREIGN = {
    "robot_model": "widowx",
    "kind": "demo",
    "cameras": {"front": "observation.images.top"},
    "state": {
        "column": "observation.state",
        "joints": AXES[:6],
        "gripper": {"axis": "grip", "closed": 0, "open": 100},
    },
    "pose": {
        "column": "observation.state",
        "position": AXES[:3],
        "rotation": {"as": "rpy", "axes": AXES[3:6]},
    },
    "action": {
        "column": "action",
        "is": "ee_delta",
        "position": [0, 1, 2],
        "rotation": {"as": "rpy", "axes": [3, 4, 5]},
        "gripper": {"axis": 6, "closed": 0, "open": 1},
    },
}
# What training.convert writes.
OWN = {
    "kind": "demo",
    "cameras": {"front": "observation.images.front"},
    "state": {
        "column": "observation.state",
        "joints": list(arm.ARM_JOINTS),
        "gripper": {"axis": "opening", "closed": 0, "open": 1},
    },
    "pose": {
        "column": "observation.ee_pose",
        "position": ["x", "y", "z"],
        "rotation": {"as": "rotvec", "axes": ["rx", "ry", "rz"]},
    },
    "action": {
        "column": "action",
        "is": "ee_delta",
        "position": ["dx", "dy", "dz"],
        "rotation": {"as": "rotvec", "axes": ["drx", "dry", "drz"]},
        "gripper": {"axis": "gripper", "closed": 0, "open": 1},
    },
}
ALLOWED = "play, demo, policy"


def picture(index):
    """Return a non-square picture whose brightness tells the frame."""
    return np.full((24, 48, 3), 20 + 12 * index, np.uint8)


def states(length, episode=0):
    """Return (N, 7): 1 cm along x and 0.1 rad of yaw a row, the gripper closing at row 3."""
    rows = np.zeros((length, 7))
    rows[:, 0] = 0.2 + 0.01 * np.arange(length) + 0.001 * episode
    rows[:, 2] = 0.1
    rows[:, 5] = 0.1 * np.arange(length)
    rows[:, 6] = np.where(np.arange(length) < 3, 100, 0)
    return rows


def deltas(length):
    """Return (N, 7): what a teleoperator asked for, half as much again as was reached."""
    rows = np.zeros((length, 7))
    rows[:, 0] = 0.015
    rows[:, 5] = 0.15
    rows[:, 6] = np.where(np.arange(length) < 2, 1, 0)
    return rows


def v21(folder, kind="image", lengths=(6, 5), state=states, action=deltas):
    """Write a dataset as LeRobot 2.1 lays it out; `kind` of pictures: image or video."""
    folder.mkdir()
    (folder / "meta").mkdir()
    (folder / "data/chunk-000").mkdir(parents=True)
    image = {"dtype": kind, "shape": [24, 48, 3], "names": ["height", "width", "channels"]}
    vector = {"dtype": "float32", "shape": [7], "names": {"motors": AXES}}
    info = {
        "codebase_version": "v2.1",
        "fps": FPS,
        "chunks_size": 1000,
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": "videos/chunk-{episode_chunk:03d}/{video_key}/"
        "episode_{episode_index:06d}.mp4",
        "features": {
            "observation.images.top": image,
            "observation.state": vector,
            "action": {**vector, "names": None},
            "next.done": {"dtype": "bool", "shape": [1], "names": None},
        },
    }
    (folder / "meta/info.json").write_text(json.dumps(info))
    lines = []
    for index, length in enumerate(lengths):
        columns = {
            "observation.state": list(state(length).astype(np.float32)),
            "action": list(action(length).astype(np.float32)),
            "timestamp": (np.arange(length) / FPS).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
        }
        shown = [picture(i) for i in range(length)]
        if kind == "image":
            png = [cv2.imencode(".png", p)[1].tobytes() for p in shown]
            columns["observation.images.top"] = [{"bytes": data, "path": None} for data in png]
        else:
            path = folder / f"videos/chunk-000/observation.images.top/episode_{index:06d}.mp4"
            path.parent.mkdir(parents=True, exist_ok=True)
            write_video(path, shown, "vp9", FPS)
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        pq.write_table(table, folder / f"data/chunk-000/episode_{index:06d}.parquet")
        lines.append({"episode_index": index, "tasks": [f"Task {index}"], "length": length})
    text = "\n".join(json.dumps(line) for line in lines) + "\n"
    (folder / "meta/episodes.jsonl").write_text(text)
    return folder


def run(dataset, out, mapping=FOREIGN, label="reached", rate_hz=None, size=SIZE, workers=1):
    map_file = out.with_suffix(".yaml")
    map_file.write_text(yaml.safe_dump(mapping))
    source = LerobotSource(dataset)
    settings = settings_of(source, map_file, label, size, rate_hz)
    return import_dataset(source, out, settings, workers=workers)


def rows(folder, file=DATA):
    return pq.read_table(folder / file).to_pylist()


def changed(**changes):
    """Return FOREIGN with other values; None takes a key away."""
    return {key: value for key, value in {**FOREIGN, **changes}.items() if value is not None}


@pytest.mark.parametrize("kind", ["image", "video"])
def test_reached_motion_of_a_v21_dataset(tmp_path, kind):
    info = run(v21(tmp_path / "src", kind), tmp_path / "d")
    found = rows(tmp_path / "d")
    assert (info["total_episodes"], len(found), info["fps"]) == (2, 9, FPS)
    # The last frame of each episode has no next one.
    assert info["vla_ros"]["provenance"]["dropped"] == {"no next frame or command": 2}
    assert [row["frame_index"] for row in found] == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    # 1 cm and 0.1 rad about z; the action's gripper is asked for, here from row 2 on closed.
    for row, gripper in zip(found, [1, 1, 0, 0, 0, 1, 1, 0, 0], strict=True):
        np.testing.assert_allclose(row["action"], [0.01, 0, 0, 0, 0, 0.1, gripper], atol=1e-6)
    np.testing.assert_allclose(
        found[2]["observation.ee_pose"], [0.22, 0, 0.1, 0, 0, 0.2], atol=1e-6
    )
    np.testing.assert_allclose(
        found[2]["observation.state"], [0.22, 0, 0.1, 0, 0, 0.2, 1.0], atol=1e-6
    )
    for row in found:
        shown = decode_jpeg(row["observation.images.front"]["bytes"], "test")
        assert shown.shape == (SIZE, SIZE, 3)
        assert abs(shown.mean() - (20 + 12 * row["frame_index"])) < 3
    first, second = rows(tmp_path / "d", EPISODES)
    assert (first["tasks"], second["tasks"]) == (["Task 0"], ["Task 1"])
    assert (first["kind"], first["success"], first["bag"]) == ("demo", None, "src/episode-000000")
    assert info["robot_type"] == "widowx"


def test_asked_motion_needs_no_next_frame(tmp_path):
    info = run(v21(tmp_path / "src"), tmp_path / "d", label="commanded")
    assert info["total_frames"] == 11
    np.testing.assert_allclose(
        rows(tmp_path / "d")[5]["action"], [0.015, 0, 0, 0, 0, 0.15, 0], atol=1e-6
    )


@pytest.mark.parametrize("kind", ["image", "video"])
def test_a_lower_rate_takes_every_other_row_and_all_of_the_motion(tmp_path, kind):
    info = run(v21(tmp_path / "src", kind), tmp_path / "reached", rate_hz=5)
    assert info["fps"] == 5
    found = rows(tmp_path / "reached")
    assert len(found) == 4  # rows 0, 2 (4 has no row 6) and 0, 2 (4 is the last)
    np.testing.assert_allclose(found[1]["action"], [0.02, 0, 0, 0, 0, 0.2, 0], atol=1e-6)
    np.testing.assert_allclose(found[1]["observation.state"][0], 0.22, atol=1e-6)
    shown = decode_jpeg(found[1]["observation.images.front"]["bytes"], "test")
    assert abs(shown.mean() - (20 + 12 * 2)) < 3
    run(v21(tmp_path / "again"), tmp_path / "asked", label="commanded", rate_hz=5)
    found = rows(tmp_path / "asked")
    np.testing.assert_allclose(found[0]["action"], [0.03, 0, 0, 0, 0, 0.3, 1], atol=1e-6)
    with pytest.raises(DatasetError, match="has 10 frames a second, of which 4 are no whole part"):
        run(v21(tmp_path / "third"), tmp_path / "d", rate_hz=4)


def test_a_change_in_the_tools_frame_is_turned_into_the_base_frame(tmp_path):
    def turned(length):
        found = states(length)
        found[:, 5] = np.pi / 2  # the tool's x is the base's y
        return found

    mapping = changed(action={**FOREIGN["action"], "frame": "tool"})
    run(v21(tmp_path / "src", state=turned), tmp_path / "d", mapping, "commanded")
    np.testing.assert_allclose(
        rows(tmp_path / "d")[0]["action"], [0, 0.015, 0, 0, 0, 0.15, 1], atol=1e-6
    )


def test_absolute_poses_are_targets(tmp_path):
    mapping = changed(action={**FOREIGN["action"], "is": "ee_pose"})

    def targets(length):
        found = states(length) + 0.02
        found[:, 6] = 1
        return found

    dataset = v21(tmp_path / "src", action=targets)
    run(dataset, tmp_path / "ee", mapping, "ee")
    found = rows(tmp_path / "ee")
    assert len(found) == 11
    R = (
        cv2.Rodrigues(np.array([0, 0, 0.02]))[0]
        @ cv2.Rodrigues(np.array([0, 0.02, 0]))[0]
        @ (cv2.Rodrigues(np.array([0.02, 0, 0]))[0])
    )
    np.testing.assert_allclose(found[0]["action"][:3], [0.22, 0.02, 0.12], atol=1e-6)
    np.testing.assert_allclose(found[0]["action"][3:6], rotvec_from_matrix(R), atol=1e-6)
    assert found[0]["action"][6] == 1
    # Between targets: the first frame has none before it.
    info = run(dataset, tmp_path / "commanded", mapping, "commanded")
    assert info["total_frames"] == 9
    np.testing.assert_allclose(
        rows(tmp_path / "commanded")[0]["action"][:3], [0.01, 0, 0], atol=1e-6
    )


def test_joints_of_a_wx250s_in_degrees_go_through_its_kinematics(tmp_path):
    def degrees(length):
        q = arm.READY_RAD + 0.02 * np.arange(length)[:, None]
        return np.column_stack([np.degrees(q), np.where(np.arange(length) < 3, 100, 0)])

    mapping = {
        **FOREIGN,
        "robot_model": "wx250s",
        "state": {**FOREIGN["state"], "unit": "deg"},
        "action": {"column": "action", "is": "joints", "joints": [0, 1, 2, 3, 4, 5], "unit": "deg"},
    }
    del mapping["pose"]
    dataset = v21(tmp_path / "src", state=degrees, action=lambda n: degrees(n + 1)[1:])
    run(dataset, tmp_path / "d", mapping)
    T = [kinematics.forward(arm.READY_RAD + 0.02 * i) for i in range(2)]
    action = rows(tmp_path / "d")[0]["action"]
    np.testing.assert_allclose(action[:3], T[1][:3, 3] - T[0][:3, 3], atol=1e-5)
    np.testing.assert_allclose(
        matrix_from_rotvec(np.array(action[3:6])) @ T[0][:3, :3], T[1][:3, :3], atol=1e-5
    )
    # As measured at the next frame, since the action tells none.
    pressed = [row["action"][6] for row in rows(tmp_path / "d")]
    assert pressed == [1, 1, 0, 0, 0, 1, 1, 0, 0]
    run(dataset, tmp_path / "joint", mapping, "joint")
    found = rows(tmp_path / "joint")
    np.testing.assert_allclose(found[0]["action"], [*(arm.READY_RAD + 0.02), 1], atol=1e-5)
    np.testing.assert_allclose(found[0]["observation.state"], [*arm.READY_RAD, 1], atol=1e-5)


def test_frames_that_are_not_told_are_dropped_and_cut_the_episode(tmp_path):
    def broken(length):
        found = states(length)
        found[4, 1] = np.nan
        return found

    info = run(v21(tmp_path / "src", lengths=(10,), state=broken), tmp_path / "d")
    # Row 4 itself, row 3 which leads to it, and row 5 whose command is not known to begin there.
    assert info["vla_ros"]["provenance"]["dropped"] == {
        "no next frame or command": 1,
        "not finite": 3,
    }
    assert [row["frame_index"] for row in rows(tmp_path / "d")] == [0, 1, 2, 0, 1, 2]
    np.testing.assert_allclose(rows(tmp_path / "d")[3]["observation.state"][0], 0.26, atol=1e-6)


def test_a_leap_is_outside_the_contract(tmp_path):
    def leaping(length):
        found = states(length)
        found[3:, 0] += 0.4
        return found

    info = run(v21(tmp_path / "src", lengths=(8,), state=leaping), tmp_path / "d")
    assert info["vla_ros"]["provenance"]["dropped"]["outside the contract"] == 1
    assert info["total_episodes"] == 2


@pytest.mark.parametrize("images", ["jpeg", "video"])
def test_round_trip_of_our_own_dataset(converted, tmp_path, images):
    dataset = converted
    if images == "video":
        source = LerobotSource(converted)
        map_file = tmp_path / "map.yaml"
        map_file.write_text(yaml.safe_dump(OWN))
        settings = settings_of(source, map_file, "commanded", SIZE, None)
        import_dataset(source, tmp_path / "video", settings, "video")
        dataset = tmp_path / "video"
        assert LerobotSource(dataset).features["observation.images.front"]["dtype"] == "video"
    run(dataset, tmp_path / "d", OWN, "commanded")
    before, after = rows(converted), rows(tmp_path / "d")
    assert len(after) == len(before)
    for old, new in zip(before, after, strict=True):
        for name in ("observation.state", "observation.ee_pose", "action"):
            np.testing.assert_allclose(new[name], old[name], atol=1e-6)
        for name in ("timestamp", "frame_index", "episode_index", "index", "task_index"):
            assert new[name] == old[name]
        if images == "jpeg":
            assert new["observation.images.front"] == old["observation.images.front"]
    tasks = [e["tasks"] for e in rows(converted, EPISODES)]
    assert [e["tasks"] for e in rows(tmp_path / "d", EPISODES)] == tasks
    # The loader takes it as it takes what was converted.
    old, new = (open_dataset(path, 16) for path in (converted, tmp_path / "d"))
    indices = np.array([0, 9, len(old) - 1])
    one, other = (Windows(d, d.episodes, 3).batch(indices) for d in (old, new))
    np.testing.assert_allclose(other.actions, one.actions, atol=1e-6)
    np.testing.assert_array_equal(other.mask, one.mask)
    if images == "jpeg":
        np.testing.assert_array_equal(new.images, old.images)


def test_workers_change_no_byte(tmp_path, monkeypatch):
    dataset = v21(tmp_path / "src")
    run(dataset, tmp_path / "one")
    # Forked, they need no import; that the job may go to a spawned one is told by its pickling.
    forking = multiprocessing.get_context("fork")

    def process(target, args, daemon):
        job = pickle.loads(pickle.dumps(args[1]))
        return forking.Process(target=target, args=(args[0], job), daemon=daemon)

    context = SimpleNamespace(Pipe=forking.Pipe, Process=process)
    monkeypatch.setattr(multiprocessing, "get_context", lambda _: context)
    monkeypatch.setattr(episode_shard.cv2, "setNumThreads", lambda _: None)  # not after a fork
    run(dataset, tmp_path / "two", workers=2)
    for name in ("meta/info.json", DATA):
        assert (tmp_path / "two" / name).read_bytes() == (tmp_path / "one" / name).read_bytes()


def test_what_stops_a_worker_stops_the_import(tmp_path, monkeypatch):
    dataset = v21(tmp_path / "src")
    error = OSError(errno.ENOSPC, "No space left on device")
    found = [("died", None), (None, error)]

    def side_by_side(episodes, *_):
        return (
            (episode, how or what) for episode, (how, what) in zip(episodes, found, strict=True)
        )

    monkeypatch.setattr(episode_shard, "side_by_side", side_by_side)
    with pytest.raises(DatasetError, match=r"episode 0 of .* was not imported: died; run the same"):
        run(dataset, tmp_path / "d", workers=2)
    found[0] = (None, None)
    with pytest.raises(DatasetError, match=r"cannot be written \(No space left on device\)"):
        run(dataset, tmp_path / "d", workers=2)


def test_a_second_run_writes_nothing_anew(tmp_path):
    dataset, out = v21(tmp_path / "src"), tmp_path / "d"
    first = run(dataset, out)
    stamps = {path: path.stat().st_mtime_ns for path in (out / ".shards").glob("*/*")}
    assert run(dataset, out) == first
    assert {path: path.stat().st_mtime_ns for path in (out / ".shards").glob("*/*")} == stamps
    with pytest.raises(DatasetError, match="other options .*label"):
        run(dataset, out, label="commanded")


def test_an_episode_that_cannot_be_read_is_left_out_and_named(tmp_path, capsys):
    dataset = v21(tmp_path / "src")
    file = dataset / "data/chunk-000/episode_000001.parquet"
    file.write_bytes(file.read_bytes()[:-30])
    (tmp_path / "map.yaml").write_text(yaml.safe_dump(FOREIGN))
    command = [dataset, "--map", tmp_path / "map.yaml", "--out", tmp_path / "d"]
    assert main([str(part) for part in command]) == 0
    said = capsys.readouterr()
    assert "left out: src/episode-000001:" in said.err
    assert "1 episodes, 5 frames at 10 Hz, 1 tasks; 1 episodes left out" in said.out


def test_without_av_no_episode_of_video_is_refused_for_good(tmp_path, monkeypatch):
    dataset = v21(tmp_path / "src", "video", lengths=(6,))
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "av", None)
        with pytest.raises(DatasetError, match="^video needs the package av, which is not inst"):
            run(dataset, tmp_path / "d")
    assert run(dataset, tmp_path / "d")["total_frames"] == 5


def test_a_passing_read_error_stops_the_import_and_refuses_nothing(tmp_path, monkeypatch):
    dataset = v21(tmp_path / "src")
    real = pq.read_table

    def read_table(file, **options):
        if "episode_000001" in file.name:
            raise OSError(errno.EIO, "Input/output error", file.name)
        return real(file, **options)

    with monkeypatch.context() as patch:
        patch.setattr(pq, "read_table", read_table)
        with pytest.raises(DatasetError, match="episode-000001 cannot be read now .*Input/output"):
            run(dataset, tmp_path / "d")
    assert not list((tmp_path / "d/.shards").glob("*.refused.json"))
    assert run(dataset, tmp_path / "d")["total_episodes"] == 2


def test_an_import_that_gave_nothing_leaves_the_options_free(tmp_path):
    dataset, out = v21(tmp_path / "src", lengths=(6,)), tmp_path / "d"
    whole = (dataset / "data/chunk-000/episode_000000.parquet").read_bytes()
    drop_row(dataset)
    with pytest.raises(DatasetError, match="none of 1 episodes can be used"):
        run(dataset, out)
    assert not out.exists()
    (dataset / "data/chunk-000/episode_000000.parquet").write_bytes(whole)
    assert run(dataset, out, label="commanded")["total_frames"] == 6


def cut_video(dataset):
    folder = dataset / "videos/chunk-000/observation.images.top"
    write_video(folder / "episode_000000.mp4", [picture(0)] * 3, "vp9", FPS)


def shift_time(dataset):
    file = dataset / "data/chunk-000/episode_000000.parquet"
    table = pq.read_table(file)
    at = table.schema.get_field_index("timestamp")
    late = pa.array(np.array([0, 0.1, 0.2, 0.4, 0.5, 0.6], np.float32))
    pq.write_table(table.set_column(at, "timestamp", late), file)


def drop_row(dataset):
    file = dataset / "data/chunk-000/episode_000000.parquet"
    pq.write_table(pq.read_table(file).slice(0, 5), file)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (cut_video, r"no picture at 0\.300 s, frame 3 of episode 0; get the dataset again"),
        (shift_time, "frame 3 of episode 0 of .* is not at 3 / 10 s; leave that episode out"),
        (drop_row, "must hold frames 0 to 5 of episode 0, got 5"),
    ],
)
def test_what_is_wrong_with_the_only_episode_is_said(tmp_path, damage, message):
    dataset = v21(tmp_path / "src", "video", lengths=(6,))
    damage(dataset)
    with pytest.raises(DatasetError, match="none of 1 episodes can be used; .*" + message):
        run(dataset, tmp_path / "d")


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        (changed(kind="dance"), f"kind in map .* must be one of {ALLOWED}, got 'dance'"),
        (changed(robot_model="wx250s", state={**FOREIGN["state"], "joints": [0, 1]}), "6 joints"),
        (changed(cameras={"front": "top"}), r"a column of the dataset \(observation.images.top\)"),
        (changed(cameras={"front": "action"}), "a column of image or video, got 'float32'"),
        (
            changed(state={**FOREIGN["state"], "joints": [0, 9]}),
            "axes of observation.state .0 to 6",
        ),
        (changed(state={**FOREIGN["state"], "joints": [0, 0]}), "different axes"),
        (changed(state={**FOREIGN["state"], "unit": "turns"}), "unit of state .* rad or deg"),
        (changed(state={"column": "observation.state"}), "state in map .* must be keys column, "),
        (
            changed(state={**FOREIGN["state"], "gripper": {"axis": 6, "closed": 1, "open": 1}}),
            "two different numbers",
        ),
        (changed(action={**FOREIGN["action"], "is": "torque"}), "one of ee_delta, ee_pose, joints"),
        (changed(action={**FOREIGN["action"], "frame": "world"}), "base or tool"),
        (
            changed(action={**FOREIGN["action"], "rotation": {"as": "euler", "axes": [3, 4, 5]}}),
            "rotvec or rpy or quaternion_xyzw or quaternion_wxyz, got 'euler'",
        ),
        (changed(success="yes"), "success in map .* true, false or left away"),
        (changed(pose=None), "label 'reached' cannot be had .* would do for commanded; choose"),
        ("cameras", "it in map .* must be keys cameras, state, kind"),
        (
            changed(calibrations={"rear": {}}),
            "calibrations in map .*, if wanted, front, got 'rear'",
        ),
        (changed(calibrations={"front": {"K": 1}}), "must be keys K, size, T_base_camera, got 'K'"),
        (
            changed(calibrations={"front": {"K": [[1]], "size": [8, 8], "T_base_camera": [[1]]}}),
            r"calibration of front in map .* is none \(K must be \(3, 3\)",
        ),
    ],
)
def test_a_map_that_does_not_fit_is_refused_in_one_sentence(tmp_path, mapping, message):
    dataset = v21(tmp_path / "src", lengths=(2,))
    with pytest.raises(ContractError, match=message):
        run(dataset, tmp_path / "d", mapping)
    assert not (tmp_path / "d").exists()


def test_other_folders_and_versions_are_refused(tmp_path):
    with pytest.raises(DatasetError, match="is no LeRobot dataset: .*info.json is missing"):
        LerobotSource(tmp_path)
    dataset = v21(tmp_path / "src", lengths=(2,))
    file = dataset / "meta/info.json"
    file.write_text(file.read_text().replace("v2.1", "v1.6"))
    with pytest.raises(DatasetError, match="has layout v1.6, and v2.0, v2.1, v3.0 are read"):
        LerobotSource(dataset)
    file.write_text("{")
    with pytest.raises(DatasetError, match="is damaged"):
        LerobotSource(dataset)


@pytest.mark.parametrize("form", ["rotvec", "quaternion_xyzw", "quaternion_wxyz"])
def test_rotations_in_every_form(tmp_path, form):
    half = 0.05 * np.arange(4)
    quaternion = {"quaternion_xyzw": (2, 3), "quaternion_wxyz": (3, 0)}

    def posed(length):
        found = np.zeros((length, 7))
        if form == "rotvec":
            found[:, 2] = 2 * half[:length]
        else:
            at_z, at_w = quaternion[form]
            found[:, at_z], found[:, at_w] = np.sin(half[:length]), np.cos(half[:length])
        return found

    axes = [0, 1, 2] if form == "rotvec" else [0, 1, 2, 3]
    pose = {"column": "observation.state", "position": [4, 5, 6]}
    mapping = changed(pose={**pose, "rotation": {"as": form, "axes": axes}})
    run(v21(tmp_path / "src", lengths=(4,), state=posed), tmp_path / "d", mapping)
    expected = np.column_stack([np.zeros((3, 5)), 2 * half[:3]])
    found = np.array([row["observation.ee_pose"] for row in rows(tmp_path / "d")])
    np.testing.assert_allclose(found, expected, atol=1e-6)
