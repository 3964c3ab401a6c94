"""Generated bags: as the recorder's, the same every time, and none that is half or failed."""

import errno
import hashlib
import json
import os
import shutil

import numpy as np
import pytest
import yaml

from training.convert import convert
from training.datasets.frames import MaxAge
from training.doctor import main as doctor
from training.evidence import demos, generate, generated, play
from training.evidence.demos import Mistakes
from training.evidence.simulation import Simulation
from training.learning.dataset import open_dataset
from training.recordings.bags import Bag, find_bags
from training.recordings.recording import read_recording
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core import arm, kinematics
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import BagError, EpisodeError, SceneError
from vla_ros.core.limits import wx250s_limits
from vla_ros.sim.tasks import Task, TaskState

TASK = "push the pumpkin to the left"
SIMULATION = Simulation(seed=7, width=32, height=32)


def digests(folder):
    """Return the hash of every file of every bag."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.parent != folder
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Return a folder of two demonstrations; not to be changed."""
    folder = tmp_path_factory.mktemp("made") / "demos"
    generate.generate_demos(SIMULATION, TASK, 2, folder)
    return folder


@pytest.fixture
def short(monkeypatch):
    """Make segments of play short."""
    monkeypatch.setattr(play, "SEGMENT_S", 1.5)
    monkeypatch.setattr(play, "SEGMENTS_PER_SCENE", 2)


def test_a_demonstration_is_an_episode_that_succeeded_with_the_streams_of_the_recorder(made):
    (path, other) = find_bags([made])
    assert (path.name, other.name) == ("demo-00000", "demo-00001")
    with Bag(path) as bag:
        recording = read_recording(bag, ("front",))
        start, end = bag.episode_events()
    assert (start.kind, start.task) == ("demo", TASK)
    assert start.settings == {"seed": 7, "attempt": 0, "slips": 0.0, "misses": 0.0, "losses": 0.0}
    assert (end.event, end.success, end.reason) == ("end", True, "teacher done")
    assert recording.dropped == []
    assert recording.lost == []
    for samples in (recording.joints, recording.commanded):
        assert set(np.diff(samples.stamps_ns)) == {20_000_000}
    assert set(np.diff(recording.images["front"].stamps_ns)) == {200_000_000}
    # The camera and the teacher look at the same moments.
    assert recording.images["front"].stamps_ns[0] == recording.joints.stamps_ns[0]
    # Once a period no joint goes further than its limits let it.
    steps = np.abs(np.diff(recording.commanded.q, axis=0)).max()
    assert 0.005 < steps <= wx250s_limits().velocity_rad_s[0] * 0.02 + 1e-9
    front = recording.cameras["front"]
    assert front.size == (32, 32)
    assert front.K[0, 2] == 15.5
    assert front.T_base_camera.shape == (4, 4)


def test_a_bag_says_that_no_graph_was_there_and_nothing_of_the_wall_clock(made):
    metadata = yaml.safe_load((made / "demo-00001" / "metadata.yaml").read_text())
    facts = metadata["rosbag2_bagfile_information"]["custom_data"]
    assert "without a graph" in facts["generated"]
    assert (facts["generated_seed"], facts["generated_scene"]) == ("7", "1")
    assert facts["vla_ros_commit"]
    assert json.loads(facts["simulated_time"]) is True
    assert "recorded_utc" not in facts
    counts = json.loads(facts["topics"])
    listed = metadata["rosbag2_bagfile_information"]["topics_with_message_count"]
    found = {row["topic_metadata"]["name"]: row["message_count"] for row in listed}
    assert {name: row["received"] for name, row in counts.items()} == found
    latched = next(row for row in listed if row["topic_metadata"]["name"] == "/tf_static")
    assert latched["topic_metadata"]["offered_qos_profiles"][0]["durability"] == "transient_local"


def test_the_doctor_finds_nothing_and_the_converter_makes_frames_of_every_picture(made, tmp_path):
    assert doctor([str(made), "--quiet", "--workers", "1"]) == 0
    info = convert(find_bags([made]), tmp_path / "data", tap_contract(image_size=32), MaxAge())
    assert info["total_episodes"] == 2
    dataset = open_dataset(tmp_path / "data", 32)
    with Bag(made / "demo-00000") as bag:
        recording = read_recording(bag, ("front",))
    stamps = recording.images["front"].stamps_ns
    # The last picture has no next one, to which an action would lead.
    assert dataset.episodes[0].end == len(stamps) - 1
    at = np.searchsorted(recording.joints.stamps_ns, stamps[:-1])
    expected = np.column_stack([recording.joints.q, recording.joints.opening])[at]
    assert np.allclose(dataset.states[: len(stamps) - 1], expected, atol=1e-6)


@pytest.mark.slow
def test_any_number_of_workers_makes_the_same_bytes(made, tmp_path):
    generate.generate_demos(SIMULATION, TASK, 2, tmp_path / "demos", workers=2)
    assert digests(tmp_path / "demos") == digests(made)


def test_an_attempt_is_the_same_whatever_was_done_before(made, tmp_path):
    camera = SIMULATION.make_camera()
    for attempt in (1, 0):
        assert demos.demonstrate(SIMULATION, TASK, tmp_path / "demos", attempt, camera) == ""
    camera.close()
    assert digests(tmp_path / "demos") == digests(made)


def test_more_are_added_and_what_a_killed_run_left_is_written_anew(made, tmp_path):
    folder = tmp_path / "demos"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / "demo-00001")
    rest = folder / "demo-00001.part"
    (rest / "demo-00001").mkdir(parents=True)
    (rest / "demo-00001" / "demo-00001.mcap").write_bytes(b"half")
    assert [path.name for path in find_bags([folder])] == ["demo-00000"]
    line = generate.generate_demos(SIMULATION, TASK, 2, folder)
    assert "2 demonstrations" in line
    assert "1 of them made now" in line
    assert digests(folder) == digests(made)


def test_what_another_process_is_writing_is_left_to_it(made, tmp_path):
    from vla_ros.bags.part import PartFolder

    folder = tmp_path / "demos"
    shutil.copytree(made, folder)
    shutil.rmtree(folder / "demo-00001")
    other = PartFolder.create(folder, "demo-00001")
    with pytest.raises(EpisodeError, match="another process"):
        generate.generate_demos(SIMULATION, TASK, 2, folder)
    assert other.path.exists()
    other.unlock()


@pytest.mark.parametrize("text", [TASK, "put the carrot on the plate"])
def test_after_a_miss_the_hand_begins_low_beside_and_the_task_is_still_done(tmp_path, text):
    generate.generate_demos(SIMULATION, text, 1, tmp_path / "a", mistakes=Mistakes(misses=1.0))
    assert generated.read_failed(tmp_path / "a") == {}
    with Bag(tmp_path / "a" / "demo-00000") as bag:
        recording = read_recording(bag, ("front",))
    # It was up there before, which is not recorded.
    assert kinematics.forward(arm.READY_RAD)[2, 3] > 0.14
    assert 0.0 < kinematics.forward(recording.joints.q[0])[2, 3] < 0.10


def test_after_a_loss_the_hand_begins_closed_and_the_task_is_still_done(tmp_path):
    text = "put the carrot on the plate"
    generate.generate_demos(SIMULATION, text, 1, tmp_path / "a", mistakes=Mistakes(losses=1.0))
    assert generated.read_failed(tmp_path / "a") == {}
    with Bag(tmp_path / "a" / "demo-00000") as bag:
        recording = read_recording(bag, ("front",))
    assert recording.joints.opening[0] < 0.1
    assert recording.joints.opening.max() > 0.9


def test_mistakes_beyond_their_range_are_refused():
    with pytest.raises(EpisodeError, match=r"slips must be 0 to 0.5, got 0.6; the teacher never"):
        Mistakes(slips=0.6)
    for misses, losses in ((-0.1, 0.0), (0.0, -0.1), (0.6, 0.5)):
        with pytest.raises(EpisodeError, match=rf"shares of 1 together, got {misses} and {losses}"):
            Mistakes(misses=misses, losses=losses)


def test_a_failed_attempt_is_counted_dropped_and_not_tried_again(monkeypatch, tmp_path):
    attempts = []

    def demonstrate(simulation, text, folder, attempt, camera, mistakes):
        assert mistakes == Mistakes(slips=0.25)
        attempts.append(attempt)
        if attempt in (0, 2):
            return "time limit"
        (folder / demos.episode_id(attempt)).mkdir()
        return ""

    monkeypatch.setattr(demos, "demonstrate", demonstrate)
    monkeypatch.setattr(generate, "_camera", lambda simulation: None)
    line = generate.generate_demos(SIMULATION, TASK, 2, tmp_path, mistakes=Mistakes(slips=0.25))
    # 0 fails and 1 does not; 2, in place of 0, fails; 3 does not.
    assert attempts == [0, 1, 2, 3]
    assert "failed and dropped: 2 time limit" in line
    assert json.loads((tmp_path / "failed.json").read_text()) == {
        "0": "time limit",
        "2": "time limit",
    }
    generate.generate_demos(SIMULATION, TASK, 3, tmp_path, mistakes=Mistakes(slips=0.25))
    assert attempts == [0, 1, 2, 3, 4]


def test_a_teacher_that_never_succeeds_is_given_up(monkeypatch, tmp_path):
    monkeypatch.setattr(demos, "demonstrate", lambda *_: "not done when the teacher was")
    monkeypatch.setattr(generate, "_camera", lambda simulation: None)
    with pytest.raises(EpisodeError, match="failed 6 of 6 times, 2 demonstrations were wanted"):
        generate.generate_demos(SIMULATION, TASK, 2, tmp_path)


def test_an_attempt_that_is_not_done_leaves_no_bag(monkeypatch, tmp_path):
    monkeypatch.setattr(demos, "EPISODE_S", 0.6)
    camera = SIMULATION.make_camera()
    assert demos.demonstrate(SIMULATION, TASK, tmp_path, 0, camera) == "time limit"
    camera.close()
    assert list(tmp_path.iterdir()) == []


def test_play_goes_on_where_it_was_and_is_the_same(short, tmp_path):
    line = generate.generate_play(SIMULATION, 3 / 2400, tmp_path / "play")
    assert "3 segments, 0 of them there before" in line
    bags = find_bags([tmp_path / "play"])
    assert [path.name for path in bags] == ["play-00000", "play-00001", "play-00002"]
    whole = digests(tmp_path / "play")
    kept = os.stat(bags[0] / "metadata.yaml").st_mtime_ns
    shutil.rmtree(bags[1])
    line = generate.generate_play(SIMULATION, 3 / 2400, tmp_path / "play")
    assert "3 segments, 2 of them there before" in line
    assert digests(tmp_path / "play") == whole
    assert os.stat(bags[0] / "metadata.yaml").st_mtime_ns == kept
    with Bag(bags[2]) as bag:
        start, end = bag.episode_events()
        recording = read_recording(bag, ("front",))
    assert (start.kind, start.task, end.success, end.reason) == ("play", "", None, "segment over")
    # A segment ends once the arm rests.
    length_s = (recording.joints.stamps_ns[-1] - recording.joints.stamps_ns[0]) * 1e-9
    assert 1.5 <= length_s < 2.0
    assert np.abs(recording.joints.q - recording.joints.q[0]).max() > 0.02


def test_a_disk_that_refuses_ends_it_with_one_sentence(monkeypatch, tmp_path):
    def refuse(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ChunkedWriter, "write", refuse)
    with pytest.raises(EpisodeError, match=r"No space left on device"):
        generate.generate_demos(SIMULATION, TASK, 1, tmp_path / "demos")
    assert [path.name for path in (tmp_path / "demos").iterdir()] == ["generated.json"]


def test_settings_that_came_to_nothing_may_be_mended(tmp_path):
    generated.settle(tmp_path, {"what": "play", "seed": 1})
    generated.settle(tmp_path, {"what": "play", "seed": 2})
    (tmp_path / "play-00000").mkdir()
    with pytest.raises(BagError, match="generated with seed 2"):
        generated.settle(tmp_path, {"what": "play", "seed": 1})
    with pytest.raises(SceneError, match="sausage"):
        Simulation(objects=("sausage",))
    with pytest.raises(SceneError, match="seed must be 0 or more, got -1"):
        Simulation(seed=-1)


def test_other_settings_and_unknown_tasks_are_refused_in_one_sentence(made, tmp_path, capsys):
    with pytest.raises(BagError, match="generated with seed 7; choose another --out"):
        generate.generate_demos(Simulation(seed=8, width=32, height=32), TASK, 2, made)
    assert generate.main(["demos", "--task", "sing", "--out", str(tmp_path / "x")]) == 1
    assert "does not know the task 'sing'" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_what_is_done_before_it_begins_is_no_demonstration(monkeypatch, tmp_path):
    monkeypatch.setattr(Task, "evaluate", lambda *_: TaskState(True, True))
    camera = SIMULATION.make_camera()
    reason = demos.demonstrate(SIMULATION, TASK, tmp_path, 0, camera)
    camera.close()
    assert reason == "done from the beginning"
    assert list(tmp_path.iterdir()) == []
