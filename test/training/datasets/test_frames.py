"""Expected frames are worked out by hand from stamps in milliseconds."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.datasets.frames import DropList, MaxAge, Streams, segments_from_streams
from training.datasets.labels import (
    LABELS,
    MOVING,
    Recorded,
    Tick,
    asked_gripper,
    label_contract,
    vector_axes,
)
from vla_ros.core import arm
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import ContractError
from vla_ros.core.kinematics import forward

MS = 1_000_000
CONTRACT = tap_contract(image_size=32)


def waist(angle):
    """Return READY with the waist turned: the tool moves on a circle about the base."""
    joints = np.array(arm.READY_RAD)
    joints[0] = angle
    return joints


def streams(images_ms, joints, commanded, max_age=None, **more_ms):
    """Return streams of {ms: value}; images are their own stamps, `more_ms` are further cameras."""
    cameras = {"front": images_ms, **more_ms}
    result = Streams.empty(max_age or MaxAge(), tuple(cameras), commanded is not None)
    for camera, stamps_ms in cameras.items():
        result.images[camera].extend((ms * MS, f"image {ms}") for ms in stamps_ms)
    result.joints.extend((ms * MS, np.array([*q, o])) for ms, (q, o) in joints.items())
    if commanded is not None:
        result.commanded.extend((ms * MS, np.array([*q, o])) for ms, (q, o) in commanded.items())
    return result


def segments_and_drops(recording, contract=CONTRACT, label="reached"):
    """Return the segments, and {reason: count} of what was dropped."""
    segments, drops = segments_and_runs(recording, contract, label)
    counts = Counter()
    for run in drops:
        counts[run.reason] += run.count
    return segments, counts


def segments_and_runs(recording, contract=CONTRACT, label="reached"):
    """Return the segments, and the runs of what was dropped."""
    drops = DropList(contract.rate_hz)
    return segments_from_streams(recording, contract, drops, label), drops.runs()


def steady(until_ms, step_ms=10):
    """Return a waist that turns 0.1 rad every 200 ms, gripper closing from 600 ms on."""
    return {
        ms: (waist(0.1 * ms / 200), 1.0 if ms < 600 else 0.0)
        for ms in range(0, until_ms + 1, step_ms)
    }


def test_a_message_exactly_on_a_tick_is_the_one_that_is_seen():
    moving = steady(800)
    segments, dropped = segments_and_drops(streams(range(0, 801, 100), moving, moving))
    (segment,) = segments
    assert (segment.ticks_ns // MS).tolist() == [0, 200, 400, 600]
    assert segment.images["front"] == ["image 0", "image 200", "image 400", "image 600"]
    assert segment.image_age_ns.tolist() == [0, 0, 0, 0]
    np.testing.assert_allclose(
        segment.vectors["observation.state"][:, 0], [0, 0.1, 0.2, 0.3], atol=1e-6
    )
    assert dropped == {"no next frame": 1}


def test_between_messages_the_older_one_holds():
    # Pictures at 0, 130, 260 ms...: at the tick of 200 ms the one of 130 ms is the newest.
    moving = steady(800)
    segments, _ = segments_and_drops(streams(range(0, 801, 130), moving, moving))
    (segment,) = segments
    assert segment.images["front"][:3] == ["image 0", "image 130", "image 390"]
    assert (segment.image_age_ns // MS).tolist()[:3] == [0, 70, 10]


def test_the_action_is_the_reached_displacement_to_the_next_tick():
    moving = steady(800)
    segments, _ = segments_and_drops(streams(range(0, 801, 100), moving, moving))
    first = segments[0].vectors["action"][0]
    # The tool is at radius r on the x axis; a waist turn of 0.1 rad moves it along the circle.
    radius = forward(waist(0.0))[0, 3]
    expected = [radius * (np.cos(0.1) - 1), radius * np.sin(0.1), 0, 0, 0, 0.1, 1]
    np.testing.assert_allclose(first, expected, atol=1e-6)
    np.testing.assert_allclose(
        segments[0].vectors["observation.ee_pose"][0, :3], forward(waist(0.0))[:3, 3], atol=1e-6
    )


def test_the_gripper_is_the_command_at_the_next_tick_made_binary():
    joints = steady(800)
    commanded = {ms: (q, 0.5 if ms < 600 else 0.49) for ms, (q, _) in joints.items()}
    segments, _ = segments_and_drops(streams(range(0, 801, 100), joints, commanded))
    # Ticks 0, 200, 400, 600; each looks at the command one tick later.
    assert segments[0].vectors["action"][:, 6].tolist() == [1, 1, 0, 0]
    assert segments[0].vectors["action.commanded"][:, 6].tolist() == [1, 1, 0, 0]


def test_a_gripper_on_its_way_is_asked_for_the_end_it_moves_to():
    # Closing at 2 a second from 400 ms on, as the safety layer lets it: 0.6 one tick later.
    joints = steady(1600)
    opening = {ms: float(np.clip(1 - 0.002 * (ms - 400), 0.0, 1.0)) for ms in joints}
    closing = {ms: (q, opening[ms]) for ms, (q, _) in joints.items()}
    segments, _ = segments_and_drops(streams(range(0, 1601, 100), joints, closing))
    # The picture at 400 ms, fingers still open, is the one to close at.
    assert segments[0].vectors["action"][:6, 6].tolist() == [1, 1, 0, 0, 0, 0]
    assert segments[0].vectors["action.joint"][2, 6] == pytest.approx(0.6)
    opens = {ms: (q, 1.0 - opening[ms]) for ms, (q, _) in joints.items()}
    segments, _ = segments_and_drops(streams(range(0, 1601, 100), joints, opens))
    assert segments[0].vectors["action"][:6, 6].tolist() == [0, 0, 1, 1, 1, 1]


@given(before=st.floats(0.0, 1.0), after=st.floats(0.0, 1.0))
def test_what_a_gripper_is_asked_for_is_an_end_and_never_against_its_way(before, after):
    def tick(opening):
        arm = np.append(np.zeros(6), opening)
        return Tick(arm, None, arm, None)

    asked = asked_gripper(tick(before), tick(after))
    assert asked in (0.0, 1.0)
    if abs(after - before) >= MOVING:
        assert (asked - 0.5) * (after - before) > 0
    else:
        assert asked == float(after >= 0.5)


def test_commanded_motion_is_kept_beside_the_reached_one():
    joints = steady(800)
    commanded = {ms: (waist(0.2 * ms / 200), o) for ms, (_, o) in joints.items()}
    segments, _ = segments_and_drops(streams(range(0, 801, 100), joints, commanded))
    assert segments[0].vectors["action"][0, 5] == pytest.approx(0.1, abs=1e-6)
    assert segments[0].vectors["action.commanded"][0, 5] == pytest.approx(0.2, abs=1e-6)


def test_a_gap_cuts_the_recording_in_two_and_is_counted():
    # No picture from 600 to 1000 ms: the ticks of 800 and 1000 see one older than 120 ms.
    moving = steady(2000)
    images = [ms for ms in range(0, 2001, 100) if not 600 < ms < 1200]
    segments, dropped = segments_and_drops(streams(images, moving, moving))
    assert [(s.ticks_ns // MS).tolist() for s in segments] == [
        [0, 200, 400],
        [1200, 1400, 1600, 1800],
    ]
    # 600 has a picture, but no next frame; 2000 is the end.
    assert dropped == {"stale images of front": 2, "no next frame": 2}


def test_no_action_leads_over_a_gap():
    moving = steady(2000)
    joints = {ms: value for ms, value in moving.items() if not 600 < ms < 1200}
    segments, dropped = segments_and_drops(streams(range(0, 2001, 100), joints, moving))
    for segment in segments:
        np.testing.assert_allclose(segment.vectors["action"][:, 5], 0.1, atol=1e-6)
    assert dropped["stale joints"] == 2


def test_a_piece_of_one_frame_is_dropped_and_counted():
    moving = steady(1200)
    images = [0, 200, 800, 1000, 1200]
    segments, dropped = segments_and_drops(streams(images, moving, moving))
    assert [(s.ticks_ns // MS).tolist() for s in segments] == [[800, 1000]]
    assert dropped["too short a piece"] == 1


def test_ticks_begin_when_every_stream_has_begun():
    moving = steady(1000)
    joints = {ms: value for ms, value in moving.items() if ms >= 350}
    segments, dropped = segments_and_drops(streams(range(0, 1001, 100), joints, moving))
    assert (segments[0].ticks_ns // MS).tolist() == [400, 600, 800]
    assert dropped == {"before joints began": 2, "no next frame": 1}


def test_what_comes_before_the_last_stream_and_after_the_first_is_listed_by_its_name():
    # Joints from 0 to 4000 ms; the camera from 610 to 1900, the wrist's from 500 to 3000.
    moving = steady(4000)
    recording = streams(range(610, 1911, 100), moving, moving, wrist=range(500, 3001, 100))
    segments, runs = segments_and_runs(recording)
    assert [(s.ticks_ns // MS).tolist() for s in segments] == [[610, 810, 1010, 1210, 1410, 1610]]
    assert [(r.reason, r.count, r.first_ns // MS, r.last_ns // MS) for r in runs] == [
        ("before images of front began", 3, 10, 410),
        ("no next frame", 1, 1810, 1810),
        ("after images of front ended", 10, 2010, 3810),
    ]


def test_streams_that_never_meet_are_listed_once():
    moving = steady(2000)
    joints = {ms: value for ms, value in moving.items() if ms >= 1000}
    segments, runs = segments_and_runs(streams(range(0, 401, 100), joints, moving))
    assert segments == []
    assert [(r.reason, r.count, r.first_ns // MS, r.last_ns // MS) for r in runs] == [
        ("before joints began", 5, 0, 800),
        ("after images of front ended", 6, 1000, 2000),
    ]


def test_motion_that_no_arm_makes_is_dropped():
    moving = steady(1000)
    joints = {ms: (q if ms < 400 else q + [1.5, 0, 0, 0, 0, 0], o) for ms, (q, o) in moving.items()}
    segments, dropped = segments_and_drops(streams(range(0, 1001, 100), joints, moving))
    # The jump lies between the ticks of 200 and 400 ms.
    assert dropped["outside the contract"] == 1
    assert [(s.ticks_ns // MS).tolist() for s in segments] == [[400, 600, 800]]


def test_an_empty_stream_gives_nothing():
    segments, dropped = segments_and_drops(streams([], steady(500), steady(500)))
    assert segments == []
    assert dropped == {"no images of front": 3}  # ticks of 0, 200 and 400 ms


def test_a_tick_needs_every_camera_and_names_the_one_that_lacks():
    moving = steady(1600)
    wrist = [ms for ms in range(0, 1601, 100) if not 500 < ms < 900]
    segments, dropped = segments_and_drops(
        streams(range(0, 1601, 100), moving, moving, wrist=wrist)
    )
    assert [(s.ticks_ns // MS).tolist() for s in segments] == [[0, 200, 400], [1000, 1200, 1400]]
    assert segments[1].images == {
        "front": ["image 1000", "image 1200", "image 1400"],
        "wrist": ["image 1000", "image 1200", "image 1400"],
    }
    # 600 has a picture of 100 ms before, and no next frame.
    assert dropped == {"stale images of wrist": 1, "no next frame": 2}


def test_the_age_of_a_frame_is_that_of_its_oldest_picture():
    moving = steady(800)
    segments, _ = segments_and_drops(
        streams(range(0, 801, 100), moving, moving, wrist=range(0, 801, 130))
    )
    assert (segments[0].image_age_ns // MS).tolist()[:3] == [0, 70, 10]


def test_dropped_ticks_are_listed_with_time_and_reason():
    moving = steady(2000)
    images = [ms for ms in range(0, 2001, 100) if not 600 < ms < 1200]
    _, runs = segments_and_runs(streams(images, moving, moving))
    assert [(r.reason, r.count, r.first_ns // MS, r.last_ns // MS) for r in runs] == [
        ("no next frame", 1, 600, 600),
        ("stale images of front", 2, 800, 1000),
        ("no next frame", 1, 2000, 2000),
    ]


def test_a_clock_that_jumps_by_years_costs_no_time_and_is_one_run():
    year_ms = 365 * 24 * 3600 * 1000
    moving = steady(800) | {year_ms + ms: value for ms, value in steady(800).items()}
    images = [*range(0, 801, 100), *range(year_ms, year_ms + 801, 100)]
    segments, runs = segments_and_runs(streams(images, moving, moving))
    assert [len(s) for s in segments] == [4, 4]
    (hole,) = [run for run in runs if run.reason == "stale images of front"]
    # Ticks of 200 ms after 800 ms and before the year is over.
    assert hole.count == year_ms // 200 - 5


def test_without_commands_the_gripper_is_the_measured_one_and_only_reached_motion_is_there():
    segments, _ = segments_and_drops(streams(range(0, 801, 100), steady(800), None))
    assert list(segments[0].vectors) == ["observation.state", "observation.ee_pose", "action"]
    # Open until 600 ms; each frame looks at the next tick.
    assert segments[0].vectors["action"][:, 6].tolist() == [1, 1, 0, 0]


def test_the_label_chooses_the_action_and_the_others_stand_beside():
    joints = steady(800)
    commanded = {ms: (waist(0.2 * ms / 200), o) for ms, (_, o) in joints.items()}
    recording = streams(range(0, 801, 100), joints, commanded)
    found = {
        label: segments_and_drops(recording, label_contract(label), label)[0][0].vectors
        for label in LABELS
    }
    first = {label: vectors["action"][0] for label, vectors in found.items()}
    assert first["reached"][5] == pytest.approx(0.1, abs=1e-6)
    assert first["commanded"][5] == pytest.approx(0.2, abs=1e-6)
    np.testing.assert_allclose(first["joint"], [*waist(0.2), 1], atol=1e-6)
    np.testing.assert_allclose(first["ee"][:3], forward(waist(0.2))[:3, 3], atol=1e-6)
    assert first["ee"][6] == 1
    for label, vectors in found.items():
        assert list(vectors) == list(vector_axes(label, Recorded()))
        np.testing.assert_array_equal(vectors["action.joint"], found["joint"]["action"])
        np.testing.assert_array_equal(vectors["action.ee_pose"], found["ee"]["action"])
        if label != "reached":
            np.testing.assert_array_equal(vectors["action.reached"], found["reached"]["action"])


@pytest.mark.parametrize("label", ["commanded", "joint", "ee"])
def test_a_label_that_needs_commands_is_refused_without_them(label):
    with pytest.raises(ContractError, match=f"label '{label}' cannot be had .* do for reached;"):
        segments_and_drops(streams([0, 200], steady(400), None), label=label)


def test_another_arm_has_its_joints_and_its_recorded_tool_pose():
    recorded = Recorded(("a", "b"), has_kinematics=False, has_pose=True, has_commanded=False)
    contract = label_contract("reached", robot_model="two_link", num_joints=2)
    recording = Streams.empty(MaxAge(), ("front",), has_commanded=False, has_ee_poses=True)
    T = np.eye(4)
    for ms in range(0, 601, 20):
        recording.images["front"].push(ms * MS, ms)
        recording.joints.push(ms * MS, np.array([0.5, -2.0, 1.0]))
        T = T.copy()
        T[0, 3] = 0.001 * ms
        recording.ee_poses.push(ms * MS, T)
    (segment,) = segments_from_streams(recording, contract, DropList(5), "reached", recorded)
    np.testing.assert_allclose(segment.vectors["observation.state"][0], [0.5, -2, 1])
    np.testing.assert_allclose(segment.vectors["action"][0], [0.2, 0, 0, 0, 0, 0, 1], atol=1e-6)


def test_another_arm_without_pose_and_commands_has_no_label():
    recorded = Recorded(("a",), has_kinematics=False, has_pose=False, has_commanded=False)
    with pytest.raises(ContractError, match="would do for none; .* name the topics"):
        vector_axes("reached", recorded)
