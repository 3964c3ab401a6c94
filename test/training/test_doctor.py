"""Small bags with one defect each: what the doctor says of them, and what to do."""

import json
import shutil

import cv2
import numpy as np
import pytest
from rosbags.rosbag2 import StoragePlugin, Writer

from training.doctor import examine_bags, main
from training.inspection.doctor_report import (
    ERROR,
    GOOD,
    NOTE,
    UNREADABLE,
    UNUSABLE,
    USABLE,
    WARNING,
)
from training.recordings.source import vla_source
from vla_ros.bags.writer import ChunkedWriter
from vla_ros.core import arm
from vla_ros.core.episode import DISCARDED, EpisodeEvent
from vla_ros.policy.pictures import encode_jpeg

MS, SECOND = 1_000_000, 1_000_000_000
JOINTS, COMMANDED = "/wx250s/joint_states", "/vla/commanded"
CAMERA, EPISODE = "/front/image_raw/compressed", "/vla/episode"
STATE, PICTURE = "sensor_msgs/msg/JointState", "sensor_msgs/msg/CompressedImage"
DELAY = 5 * MS


class Streams:
    """Streams of a sound bag of 2 s: joint states at 100 Hz, commands at 50, pictures at 10.

    A stream is a list of [arrival, stamp, value], all of which a test may change.
    """

    def __init__(self):
        pose = [*arm.READY_RAD]
        jpegs = [encode_jpeg(np.full((16, 16, 3), 8 * k, np.uint8), 90) for k in range(21)]
        self.joints = self._every(10, [list(pose) for _ in range(201)])
        self.commanded = self._every(20, [list(pose) for _ in range(101)])
        self.pictures = self._every(100, jpegs)
        self.events = [
            EpisodeEvent("start", "demo-0", "demo", "lift it"),
            EpisodeEvent("end", "demo-0", "demo", "lift it", True, "done"),
        ]
        self.facts = {}

    @staticmethod
    def _every(period_ms, values):
        stamps = [SECOND + k * period_ms * MS for k in range(len(values))]
        return [[t + DELAY, t, value] for t, value in zip(stamps, values, strict=True)]


@pytest.fixture
def write(bag_writer):
    """Return a function that writes `Streams` as the bag `name`, in the order of arrival."""

    def written(streams, name="bag", storage=StoragePlugin.MCAP):
        types = bag_writer.types
        rows = [(t, JOINTS, STATE, bag_writer.measured(s, v, 0.5)) for t, s, v in streams.joints]
        rows += [
            (t, COMMANDED, STATE, bag_writer.command(s, v, 0.5)) for t, s, v in streams.commanded
        ]
        rows += [
            (
                t,
                CAMERA,
                PICTURE,
                types[PICTURE](bag_writer.header(s), "jpeg", np.frombuffer(v, "B")),
            )
            for t, s, v in streams.pictures
        ]
        string = types["std_msgs/msg/String"]
        ends = [SECOND + DELAY, 3 * SECOND + DELAY]
        rows += [
            (t, EPISODE, "std_msgs/msg/String", string(data=event.to_json()))
            for t, event in zip(ends, streams.events, strict=False)
        ]
        path = bag_writer.folder / name
        is_mcap = storage == StoragePlugin.MCAP
        opened = ChunkedWriter(path) if is_mcap else Writer(path, version=9, storage_plugin=storage)
        with opened as writer:
            known = {}
            rows.sort(key=lambda row: row[0])
            for number, (arrival, topic, msgtype, message) in enumerate(rows):
                if isinstance(writer, ChunkedWriter) and number % 50 == 49:
                    writer.flush()
                if topic not in known:
                    known[topic] = writer.add_connection(
                        topic, msgtype, typestore=bag_writer.typestore
                    )
                raw = bag_writer.typestore.serialize_cdr(message, msgtype)
                writer.write(known[topic], arrival, raw)
            for key, value in streams.facts.items():
                writer.set_custom_data(key, value)
        return path

    return written


def examined(path, images="sample"):
    (report,) = examine_bags([path], vla_source(), images)
    return report


def found(report, code):
    """Return the one finding of that code."""
    (one,) = [finding for finding in report.findings if finding.code == code]
    assert one.remedy
    return one


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_a_sound_bag_is_good(write, storage):
    report = examined(write(Streams(), storage=storage))
    assert (report.verdict, report.reason, report.findings) == (GOOD, "", [])
    assert (report.length_s, report.kind, report.task, report.success) == (
        2.0,
        "demo",
        "lift it",
        True,
    )
    topics = {topic.name: topic.stream for topic in report.topics}
    assert {name: stream.messages for name, stream in topics.items()} == {
        JOINTS: 201,
        COMMANDED: 101,
        CAMERA: 21,
        EPISODE: 2,
    }
    assert topics[JOINTS].rate_hz == pytest.approx(100)
    assert topics[CAMERA].delay_s == 0.005


def test_a_gap_of_joint_states_is_told_with_its_place(write):
    streams = Streams()
    del streams.joints[100:120]
    gap = found(report := examined(write(streams)), "gaps")
    assert report.verdict == USABLE
    # From 0.99 s to 1.20 s; 0.05 s of it are stood in for, and 0.16 of 2 s are 8 %.
    assert gap.places == [(0.99, 0.21)]
    assert "20 messages missing, 8.0% of the time lost" in gap.text


def test_pictures_that_stop_for_most_of_the_time_make_a_bag_unusable(write):
    streams = Streams()
    del streams.pictures[2:20]
    report = examined(write(streams))
    # From 0.1 s to 2.0 s with 0.12 s stood in for: 1.78 of 2 s.
    assert (report.verdict, found(report, "gaps").severity) == (UNUSABLE, ERROR)
    assert "89.0% of the time lost" in found(report, "gaps").text


def test_a_rest_of_the_commands_is_a_note(write):
    streams = Streams()
    del streams.commanded[20:60]
    report = examined(write(streams))
    assert (report.verdict, found(report, "gaps").severity) == (GOOD, NOTE)


def test_jitter_is_told_in_parts_of_the_period(write):
    streams = Streams()
    for k, row in enumerate(streams.joints):
        row[1] += 3 * MS * (-1) ** k
    # Intervals of 4 and 16 ms: 6 ms of jitter.
    jitter = found(report := examined(write(streams)), "jitter")
    assert (report.verdict, jitter.topic) == (USABLE, JOINTS)
    assert "6.0 ms" in jitter.text


@pytest.mark.parametrize(
    ("shift_ms", "severity", "text"),
    [(200, WARNING, "200 ms behind"), (-2000, ERROR, "2000 ms ahead of")],
)
def test_stamps_of_another_clock_are_skewed(write, shift_ms, severity, text):
    streams = Streams()
    for row in streams.pictures:
        row[1] -= shift_ms * MS
    skew = found(examined(write(streams)), "skew")
    assert (skew.topic, skew.severity) == (CAMERA, severity)
    assert text in skew.text


def test_a_clock_that_runs_slow_drifts(write):
    streams = Streams()
    for row in streams.pictures:
        row[1] -= (row[1] - SECOND) // 20
    # A twentieth of 2 s.
    drift = found(report := examined(write(streams)), "drift")
    assert (report.verdict, drift.topic) == (USABLE, CAMERA)
    assert "+100 ms over the bag (+50.00 ms/s)" in drift.text


def test_duplicates_and_disorder_are_told(write):
    streams = Streams()
    streams.joints[51][1] = streams.joints[50][1]
    streams.pictures[5][1], streams.pictures[6][1] = (
        streams.pictures[6][1],
        streams.pictures[5][1],
    )
    report = examined(write(streams))
    assert report.verdict == USABLE
    assert found(report, "duplicates").text.startswith(f"1 message on {JOINTS}")
    assert found(report, "out of order").text.startswith(f"1 message on {CAMERA}")


def test_a_clock_reset_is_told_with_its_place(write):
    streams = Streams()
    for row in streams.joints[100:]:
        row[1] -= 30 * SECOND
    reset = found(report := examined(write(streams)), "clock reset")
    assert (report.verdict, reset.places) == (USABLE, [(1.0, 0.0)])
    assert "was set once, at 1.0 s by -30.0 s" in reset.text
    cut = found(report, "clock set back")
    assert (cut.severity, cut.places) == (WARNING, [(1.0, 0.0)])
    assert "convert uses nothing after it" in cut.remedy
    # The joint states themselves are no worse for it.
    assert not [finding for finding in report.findings if finding.code == "impossible jump"]


def test_a_clock_that_is_set_back_early_leaves_too_little(write):
    streams = Streams()
    # By four of the joints' periods: convert takes that for another time.
    for row in streams.joints[60:]:
        row[1] -= 50 * MS
    cut = found(report := examined(write(streams)), "clock set back")
    assert (report.verdict, cut.severity, cut.topic) == (UNUSABLE, ERROR, JOINTS)
    assert "at 0.6 s: what comes after, 70% of the recording" in cut.text


def test_wild_stamps_are_counted_and_are_no_clock_reset(write):
    streams = Streams()
    streams.joints[50][1] += 3600 * SECOND
    streams.pictures[7][1] = streams.pictures[8][1] = 0
    report = examined(write(streams))
    assert (report.verdict, found(report, "wild stamps").topic) == (USABLE, JOINTS)
    assert "2 of 21 messages" in found(report, "no stamps").text
    assert [t.stream.messages for t in report.topics if t.name == JOINTS] == [201]
    assert not [f for f in report.findings if f.code.startswith("clock")]


def test_what_convert_refuses_is_unusable(write):
    # As convert does without a source file that says `commanded: none`.
    streams = Streams()
    streams.commanded = []
    report = examined(write(streams, "bag"))
    assert (report.verdict, found(report, "no topic").topic) == (UNUSABLE, COMMANDED)
    assert "`commanded: none`" in found(report, "no topic").remedy


def test_pictures_that_cannot_be_decoded_are_a_share_of_the_sample(write, monkeypatch):
    monkeypatch.setattr("training.inspection.doctor_bag.SAMPLED_PICTURES", 5)
    streams = Streams()
    for row in streams.pictures[::5]:  # all that are decoded, a fifth of all
        row[2] = b"\xff\xd8" + bytes(100) + b"\xff\xd9"
    report = examined(write(streams))
    assert (report.verdict, found(report, "broken pictures").severity) == (UNUSABLE, ERROR)


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ([-np.pi] * 6, "failed read"),
        ([np.nan] * 6, "not finite"),
        ([2.5, *arm.READY_RAD[1:]], "impossible jump"),
    ],
)
def test_joint_states_that_no_arm_can_have_are_counted(write, values, reason):
    streams = Streams()
    for row in streams.joints[30:33]:
        row[2] = values
    report = examined(write(streams))
    (topic,) = [topic for topic in report.topics if topic.name == JOINTS]
    assert topic.joints.refused == {reason: 3}
    assert topic.joints.places == pytest.approx([0.30, 0.31, 0.32])
    assert (report.verdict, found(report, reason).severity) == (USABLE, WARNING)


def test_a_bag_of_failed_reads_is_unusable(write):
    streams = Streams()
    for row in streams.joints[:150]:
        row[2] = [-np.pi] * 6
    assert examined(write(streams)).verdict == UNUSABLE


def test_a_demonstration_without_task_is_told(write):
    streams = Streams()
    streams.events = [EpisodeEvent("start", "demo-0", "demo", "")]
    report = examined(write(streams))
    assert report.verdict == USABLE
    assert "Stage 2" in found(report, "no task").remedy
    assert "no end event" in found(report, "episode").text


def test_a_bag_without_episode_is_unusable(write):
    streams = Streams()
    streams.events = []
    report = examined(write(streams))
    assert (report.verdict, found(report, "episode").severity) == (UNUSABLE, ERROR)


def test_a_bag_without_joint_states_or_camera_is_unusable_and_names_what_is_like_them(write):
    streams = Streams()
    streams.joints, streams.pictures = [], []
    report = examined(write(streams))
    texts = [finding.text for finding in report.findings if finding.code == "no topic"]
    assert report.verdict == UNUSABLE
    assert texts == [
        f"there is no message on {JOINTS}; of its type there is {COMMANDED}",
        "no camera was recorded",
    ]


def test_a_jpeg_without_end_is_found_without_decoding(write):
    streams = Streams()
    streams.pictures[7][2] = streams.pictures[7][2][:-20]
    report = examined(write(streams))
    broken = found(report, "broken pictures")
    assert (report.verdict, broken.places) == (USABLE, [(0.7, 0.0)])
    assert "its JPEG has no end" in broken.text


@pytest.mark.parametrize(("images", "verdict"), [("all", USABLE), ("none", GOOD)])
def test_a_jpeg_of_noise_is_found_by_decoding(write, images, verdict):
    streams = Streams()
    streams.pictures[7][2] = b"\xff\xd8" + bytes(100) + b"\xff\xd9"
    report = examined(write(streams), images)
    assert report.verdict == verdict
    (topic,) = [topic for topic in report.topics if topic.name == CAMERA]
    if images == "all":
        assert (topic.pictures.decoded, topic.pictures.broken) == (21, 1)
        assert topic.pictures.sizes == [(16, 16)]


def test_a_camera_that_repeats_itself_for_long_is_frozen(write):
    streams = Streams()
    same = streams.pictures[0][2]
    streams.pictures = [
        [SECOND + k * 100 * MS + DELAY, SECOND + k * 100 * MS, same] for k in range(61)
    ]
    # The joint states are over after 2 s.
    report = examined(write(streams))
    assert found(report, "frozen camera").places == [(0.0, 6.0)]
    assert "run together for 2.0 of 6.0 s" in found(report, "overlap").text


def test_what_the_recorder_lost_is_told(write):
    streams = Streams()
    streams.facts = {"topics": json.dumps({JOINTS: {"received": 201, "lost": 4, "late": 1}})}
    report = examined(write(streams))
    assert "4 messages lost" in found(report, "recorder lost").text
    # 1 of 201 is less than 1 %.
    assert not [finding for finding in report.findings if finding.code == "recorder late"]


def test_a_demonstration_that_the_person_discarded_is_told(write):
    streams = Streams()
    streams.events[1] = streams.events[0].ended(False, DISCARDED)
    report = examined(write(streams))
    assert "convert leaves it out" in found(report, "discarded").remedy


def test_of_a_bag_cut_off_what_is_whole_is_judged(write):
    path = write(Streams())
    (file,) = path.glob("*.mcap")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    report = examined(path)
    assert report.verdict == USABLE
    assert 0.3 < report.length_s < 1.9
    texts = [finding.text for finding in report.findings if finding.code == "lost"]
    assert any("is cut off, its last" in text for text in texts)
    assert any(text.startswith("metadata.yaml lists 201 messages on /wx250s") for text in texts)


def test_a_folder_of_bags_is_one_table_and_a_bad_bag_one_row(write, bag_writer, tmp_path, capsys):
    good = write(Streams(), "good")
    bad = shutil.copytree(good, bag_writer.folder / "ruined")
    (file,) = bad.glob("*.mcap")
    file.write_bytes(b"no recording")
    files = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    assert main([str(bag_writer.folder), "--workers", "1", *files]) == 2
    printed = capsys.readouterr().out
    assert "2 bags: 1 good, 1 unreadable" in printed
    assert "it is no MCAP file" in printed
    bags = json.loads((tmp_path / "r.json").read_text())["bags"]
    assert [bag["verdict"] for bag in bags] == [GOOD, UNREADABLE]
    assert bags[0]["topics"][0]["stream"]["messages"] == 21
    text = (tmp_path / "r.html").read_text()
    assert "src='data:image/png;base64,iVBOR" in text
    assert "<td>/vla/commanded</td><td class=number>101</td><td class=number>50.0</td>" in text
    assert "http" not in text.replace("data:image", "")


def test_whatever_breaks_in_the_doctor_is_one_unreadable_bag(write, monkeypatch):
    def broken(*_):
        raise ZeroDivisionError("of its own")

    monkeypatch.setattr("training.inspection.doctor_bag.between", broken)
    report = examined(write(Streams()))
    assert report.verdict == UNREADABLE
    assert "of its own" in report.reason


def test_a_path_without_bags_is_one_sentence(tmp_path, capsys):
    assert main([str(tmp_path)]) == 2
    assert "holds no bag" in capsys.readouterr().err


def test_the_picture_of_a_bag_is_a_picture(write):
    streams = Streams()
    del streams.joints[100:120]
    (report,) = examine_bags([write(streams)], vla_source(), has_plots=True)
    picture = cv2.imdecode(np.frombuffer(report.picture, np.uint8), cv2.IMREAD_COLOR)
    # The gap is the one red line in the plot's row.
    assert ((picture[:, :, 2] > 200) & (picture[:, :, 1] < 80)).sum() > 20


def test_help_tells_every_limit(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    assert "joints_gap_s" in text
    assert "0.05 s" in text
