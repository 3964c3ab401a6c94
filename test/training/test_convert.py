import importlib.metadata
import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest

from training.convert import convert, convert_bags, main
from training.datasets import workers
from training.datasets.bag_shard import Settings
from training.datasets.frames import MaxAge
from training.recordings.bags import find_bags
from vla_ros.core import arm
from vla_ros.core.contract import tap_contract
from vla_ros.core.episode import DISCARDED, EpisodeEvent
from vla_ros.core.errors import BagError, DatasetError
from vla_ros.policy.pictures import decode_jpeg, encode_jpeg

MS = 1_000_000
CONTRACT = tap_contract(image_size=32)
DATA = "data/chunk-000/file-000.parquet"


@pytest.fixture
def recording(bag_writer):
    """Return a function: a still arm for a second, parts of it replaced."""

    def write(name="play-0", kind="play", task="", success=None, **changes):
        still = [(s * 50 * MS, (arm.READY_RAD, 1.0)) for s in range(21)]
        images = [(s * 100 * MS, bag_writer.picture(20 * s)) for s in range(11)]
        parts = {"joints": still, "commanded": still, "images": images}
        parts["events"] = bag_writer.events(name, kind, task, success)
        return bag_writer.write(name, **{**parts, **changes})

    return write


def test_a_bag_becomes_the_expected_rows(recording, bag_writer, tmp_path):
    info = convert(
        [recording("demo-7", "demo", "Wipe: #1", True)], tmp_path / "d", CONTRACT, MaxAge()
    )
    rows = pq.read_table(tmp_path / "d" / DATA).to_pylist()
    assert info["total_frames"] == len(rows) == 5
    assert [row["frame_index"] for row in rows] == [0, 1, 2, 3, 4]
    assert [row["timestamp"] for row in rows] == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert rows[2]["observation.state"] == pytest.approx([*arm.READY_RAD, 1.0], abs=1e-6)
    assert rows[2]["action"] == pytest.approx([0, 0, 0, 0, 0, 0, 1])
    # Pictures of the dataset's size are kept byte for byte.
    jpeg = rows[2]["observation.images.front"]["bytes"]
    assert jpeg == encode_jpeg(bag_writer.picture(80), 95)
    episode = pq.read_table(tmp_path / "d/meta/episodes/chunk-000/file-000.parquet").to_pylist()[0]
    assert episode["bag"] == "bags/demo-7"
    assert episode["kind"] == "demo"
    assert episode["success"] is True
    assert episode["tasks"] == ["Wipe: #1"]
    assert (episode["dataset_from_index"], episode["dataset_to_index"]) == (0, 5)
    tasks = pq.read_table(tmp_path / "d/meta/tasks.parquet").to_pylist()
    assert tasks == [{"task_index": 0, "task": "Wipe: #1"}]


def test_info_holds_contract_options_and_what_was_dropped(recording, tmp_path):
    convert([recording()], tmp_path / "d", CONTRACT, MaxAge(image_s=0.3))
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    provenance = info["vla_ros"]["provenance"]
    assert info["codebase_version"] == "v3.0"
    assert info["vla_ros"]["contract"] == json.loads(json.dumps(CONTRACT.to_dict()))
    assert provenance["options"]["max_age"]["image_s"] == 0.3
    assert provenance["dropped"] == {"no next frame": 1}
    assert provenance["bags"][0]["bag"] == "bags/play-0"
    assert provenance["code_version"]
    table = pq.read_schema(tmp_path / "d" / DATA)
    assert set(info["features"]) == set(table.names)


def test_a_shard_tells_what_made_it_also_where_another_version_assembles(bag_writer, tmp_path):
    paths = [bag_writer.moving_episode(f"play-{i}", 3, seed=i) for i in range(2)]
    for path, code in zip(paths, ("older", "newer"), strict=True):
        settings = Settings(tap_contract(image_size=16), MaxAge(), code=code)
        info = convert_bags([path], tmp_path / "d", settings)
    provenance = info["vla_ros"]["provenance"]
    made_by = [provenance["made_by"][row["made_by"]] for row in provenance["bags"]]
    assert [maker["code_version"] for maker in made_by] == ["older", "newer"]
    assert made_by[0]["simplejpeg"] == importlib.metadata.version("simplejpeg")
    assert provenance["options"] == Settings(tap_contract(image_size=16)).options | {
        "images": "jpeg"
    }


def test_stats_are_those_of_the_rows(bag_writer, tmp_path):
    convert([bag_writer.moving_episode("play-0", 8)], tmp_path / "d", CONTRACT, MaxAge())
    stats = json.loads((tmp_path / "d/meta/stats.json").read_text())
    rows = pq.read_table(tmp_path / "d" / DATA).to_pylist()
    actions = np.array([row["action"] for row in rows])
    np.testing.assert_allclose(stats["action"]["mean"], actions.mean(0), atol=1e-9)
    np.testing.assert_allclose(
        stats["action"]["q99"], np.quantile(actions, 0.99, axis=0), atol=1e-9
    )
    pictures = np.stack(
        [decode_jpeg(r["observation.images.front"]["bytes"], "") for r in rows]
    ).reshape(-1, 3) / 255  # fmt: skip
    image = stats["observation.images.front"]
    np.testing.assert_allclose(np.ravel(image["mean"]), pictures.mean(0))
    np.testing.assert_allclose(np.ravel(image["std"]), pictures.std(0))


def test_a_larger_camera_is_resized(recording, tmp_path):
    large = np.zeros((48, 64, 3), np.uint8)
    images = [(s * 100 * MS, large) for s in range(11)]
    convert([recording(images=images)], tmp_path / "d", CONTRACT, MaxAge())
    row = pq.read_table(tmp_path / "d" / DATA).to_pylist()[0]
    assert decode_jpeg(row["observation.images.front"]["bytes"], "").shape == (32, 32, 3)


def test_a_broken_picture_cuts_the_episode_and_is_counted(recording, bag_writer, tmp_path):
    images = [
        (s * 100 * MS, b"\xff\xd8 broken" if s == 4 else bag_writer.picture(0)) for s in range(11)
    ]
    info = convert([recording(images=images)], tmp_path / "d", CONTRACT, MaxAge())
    # Ticks 0 and 200 ms, not 400, then 600 and 800.
    assert info["total_episodes"] == 2
    assert info["total_frames"] == 4
    assert info["vla_ros"]["provenance"]["dropped"]["unreadable image"] == 1


def test_joint_states_that_no_arm_can_have_are_refused_and_counted(recording, tmp_path):
    failed = np.full(6, -np.pi)
    joints = [(s * 50 * MS, (failed if s == 3 else arm.READY_RAD, 1.0)) for s in range(21)]
    info = convert([recording(joints=joints)], tmp_path / "d", CONTRACT, MaxAge())
    assert info["vla_ros"]["provenance"]["dropped"]["refused joint states"] == 1
    assert info["total_frames"] == 5


def test_a_bag_without_an_end_event_has_no_verdict(recording, bag_writer, tmp_path):
    convert([recording(events=bag_writer.events("p")[:1])], tmp_path / "d", CONTRACT, MaxAge())
    episode = pq.read_table(tmp_path / "d/meta/episodes/chunk-000/file-000.parquet").to_pylist()[0]
    assert episode["success"] is None
    assert episode["reason"] == "no end event"


def test_a_demonstration_that_the_person_discarded_is_left_out_and_named(recording, tmp_path):
    start = EpisodeEvent("start", "demo-1", "demo", "lift it")
    discarded = recording("demo-1", events=[start, start.ended(False, DISCARDED)])
    info = convert([recording("demo-0"), discarded], tmp_path / "d", CONTRACT, MaxAge())
    assert [row["bag"] for row in info["vla_ros"]["provenance"]["bags"]] == ["bags/demo-0"]
    (skipped,) = info["vla_ros"]["provenance"]["skipped_bags"]
    assert "bag bags/demo-1 was discarded by the person" in skipped["reason"]


def test_an_unusable_bag_is_left_out_and_named(recording, tmp_path):
    paths = [recording("a"), recording("b", omit=("/vla/commanded",))]
    info = convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    (skipped,) = info["vla_ros"]["provenance"]["skipped_bags"]
    assert skipped["bag"] == "bags/b"
    assert "no message on /vla/commanded" in skipped["reason"]


@pytest.mark.parametrize("count", [0, 2])
def test_refuses_a_bag_that_is_not_one_episode(recording, bag_writer, tmp_path, count):
    start, end = bag_writer.events("x")
    with pytest.raises(BagError, match=f"one episode, got {count} start and 1 end|no message on"):
        convert([recording(events=[start] * count + [end])], tmp_path / "d", CONTRACT, MaxAge())
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


def test_what_of_a_bag_was_lost_is_listed_with_it_and_said(recording, tmp_path, capsys):
    bag = recording()
    (bag / "metadata.yaml").unlink()
    assert main([str(bag), "--out", str(tmp_path / "d"), "--image-size", "32"]) == 0
    info = json.loads((tmp_path / "d/meta/info.json").read_text())
    (row,) = info["vla_ros"]["provenance"]["bags"]
    assert row["lost"] == ["metadata.yaml is missing"]
    assert "lost: bags/play-0: metadata.yaml is missing\n" in capsys.readouterr().err


def test_refuses_a_folder_that_is_no_dataset(recording, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d/thesis.txt").write_text("years of work")
    with pytest.raises(DatasetError, match=r"d exists and is no dataset .it holds thesis.txt"):
        convert([recording()], tmp_path / "d", CONTRACT, MaxAge())
    assert [path.name for path in (tmp_path / "d").iterdir()] == ["thesis.txt"]


def test_refuses_a_dataset_whose_shards_were_removed(recording, tmp_path):
    convert([recording("a")], tmp_path / "d", CONTRACT, MaxAge())
    shutil.rmtree(tmp_path / "d/.shards")
    with pytest.raises(DatasetError, match="d exists already without the shards"):
        convert([recording("b")], tmp_path / "d", CONTRACT, MaxAge())


def test_refuses_bags_that_yield_no_frame(recording, tmp_path):
    late = [(s * 100 * MS, (arm.READY_RAD, 1.0)) for s in range(50, 60)]
    with pytest.raises(DatasetError, match="no frame to write"):
        convert([recording(joints=late)], tmp_path / "d", CONTRACT, MaxAge())
    assert [path.name for path in tmp_path.iterdir()] == ["bags"]


def test_the_command_converts_a_folder_and_says_what_it_did(
    recording, bag_writer, tmp_path, capsys
):
    recording()
    arguments = [str(bag_writer.folder), "--out", str(tmp_path / "d"), "--image-size", "32"]
    assert main(arguments) == 0
    assert "1 episodes, 5 frames at 5 Hz" in capsys.readouterr().out


def test_the_command_ends_with_one_sentence_and_code_1(tmp_path, capsys):
    assert main([str(tmp_path / "nothing"), "--out", str(tmp_path / "d")]) == 1
    error = capsys.readouterr().err
    assert error.startswith("training.convert: ")
    assert error.count("\n") == 1


def test_the_same_bags_give_the_same_bytes(recording, bag_writer, tmp_path):
    recording("a")
    recording("b")
    for name in ("one", "two"):
        convert(find_bags([bag_writer.folder]), tmp_path / name, CONTRACT, MaxAge())
    one, two = ((tmp_path / name / DATA).read_bytes() for name in ("one", "two"))
    assert one == two


def test_a_stop_by_the_keyboard_is_one_sentence(recording, tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(workers, "shard_of_bag", stopped)
    assert main([str(recording()), "--out", str(tmp_path / "d")]) == 130
    assert capsys.readouterr().err.splitlines()[-1] == (
        "training.convert: stopped; what was converted is kept: run the same command again"
    )
