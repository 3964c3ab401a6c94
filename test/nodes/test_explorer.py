"""Play against a fake driver and a fake recorder: what goes wrong at night."""

import time
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from fake_recorder import Recorder  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.duty import Cooling, Reminder  # noqa: E402
from vla_ros.core.exploration import ExplorationParameters  # noqa: E402
from vla_ros.core.limits import wx250s_limits  # noqa: E402
from vla_ros.core.pose_library import PoseLibrary, generate  # noqa: E402
from vla_ros.nodes import episodes, explorer, lifetime, mission, qos  # noqa: E402
from vla_ros.nodes.explorer import ExplorerNode  # noqa: E402
from vla_ros.nodes.explorer_motion import load_poses, make_motion  # noqa: E402
from vla_ros.nodes.explorer_parameters import ExplorerParameters  # noqa: E402
from vla_ros.nodes.mission import MissionNode  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.seeds import given_or_drawn  # noqa: E402

LIMIT_S = 40.0
P = ExplorationParameters()


class Stage:
    def __init__(self, driver):
        self.node, self.driver, self.recorder = ExplorerNode(), driver, Recorder()
        self.executor = lifetime._executor()
        for node in (self.node, self.driver, self.recorder):
            self.executor.add_node(node)

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def is_playing(self):
        return self.node.acting and len(self.driver.commands) > 40 and not self.node.arm.at_rest


@pytest.fixture
def stage(ros, make_driver, near_cradle, monkeypatch):
    monkeypatch.setattr(explorer, "_FIRST_PAUSE_S", 0.05)
    monkeypatch.setattr(episodes, "_GONE_S", 0.2)
    monkeypatch.setattr(episodes, "_LOOK_S", 0.05)
    made = []

    def make(**parameters):
        given = {"park": "false", "pause_s": "0.0", "exploration.interest_weight": "0.0"}
        given |= parameters
        ros(*[word for name, value in given.items() for word in ("-p", f"{name}:={value}")])
        made.append(Stage(make_driver()))
        made[0].node.bring_up()
        return made[0]

    yield make
    for scene in made:
        scene.executor.shutdown()
        scene.node.close()
        for node in (scene.node, scene.driver, scene.recorder):
            if node is not None:
                node.destroy_node()


def test_a_cut_recording_is_tried_again_until_it_works(stage):
    scene = stage(segments=1, segment_s=1.5)
    scene.recorder.refuses = ("play-00001",)
    scene.until(scene.is_playing)
    scene.recorder.say("play-00000", "saved", path="/bags/s/play-00000", detail="no images")
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    assert (scene.node.log.segments, scene.node.log.cuts) == (1, 2)
    starts = [name for event, name, _ in scene.recorder.events if event == "start"]
    assert starts == ["play-00000", "play-00001", "play-00002"]
    assert scene.recorder.events[-1] == ("end", "play-00002", "segment over")


def test_recording_that_fails_for_too_long_ends_play(stage):
    scene = stage(segment_s=0.5, give_up_after_min=0.005)
    scene.recorder.refuses = [f"play-{index:05d}" for index in range(1, 50)]
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 1
    assert "failed: no images" in scene.node.exit_sentence
    assert scene.node.log.segments == 1


def test_a_recorder_that_is_gone_ends_play_with_the_arm_at_rest(stage):
    scene = stage(segment_s=60.0)
    scene.until(scene.is_playing)
    scene.executor.remove_node(scene.recorder)
    scene.recorder.destroy_node()
    scene.recorder = None
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 1
    assert "the recorder is gone" in scene.node.exit_sentence
    np.testing.assert_array_equal(scene.driver.commands[-1], scene.driver.commands[-2])


def test_a_stopped_arm_waits_for_a_person_and_plays_on(stage):
    scene = stage(segments=2, segment_s=1.0)
    scene.until(scene.is_playing)
    asked = scene.driver.create_client(Trigger, qos.STOP_SERVICE)
    reset = scene.driver.create_client(Trigger, qos.RESET_STOP_SERVICE)
    scene.until(lambda: asked.service_is_ready() and reset.service_is_ready())
    asked.call_async(Trigger.Request())
    scene.until(lambda: scene.node.phase.startswith("stopped:"))
    assert scene.node.arm.at_rest
    assert not scene.node.episodes.running
    reset.call_async(Trigger.Request())
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    reasons = [reason for event, _, reason in scene.recorder.events if event == "end"]
    assert reasons[0].startswith("stopped: /vla/stop was called")
    assert reasons[1:] == ["segment over"] * 2
    assert (scene.node.log.segments, scene.node.log.stopped, scene.node.log.blocked) == (2, 1, 0)
    # What moved the arm goes with every start and every end: the seed that was drawn, and what
    # differs from the defaults.
    first = scene.recorder.settings[0]
    assert first.keys() == {"seed", "exploration.interest_weight"}
    assert 0 <= first["seed"] < 2**31
    assert all(settings == first for settings in scene.recorder.settings)


def test_a_reminder_waits_for_a_person_and_the_motors_rest_lying_down(stage):
    scene = stage(
        segments=2, segment_s=0.5, shuffle_every_min=0.001, shuffle_pause="true",
        rest_every_min=0.001, rest_min=0.0,
    )  # fmt: skip
    scene.until(lambda: scene.node.phase == "waiting for somebody to shuffle the objects")
    assert "shuffle the objects, then call ~/shuffled" in diagnostics(scene.node)
    shuffled = scene.driver.create_client(Trigger, "/explorer/shuffled")
    scene.until(shuffled.service_is_ready)
    while not scene.recorder.events:
        # A slow machine takes longer to begin than from one reminder to the next.
        shuffled.call_async(Trigger.Request())
        scene.until(lambda: scene.recorder.events)
        scene.until(lambda: scene.node.phase == "waiting for somebody to shuffle the objects")
    assert scene.recorder.events[-1] == ("end", "play-00000", "segment over")
    shuffled.call_async(Trigger.Request())
    scene.until(lambda: any(not request.enable for request in torques(scene.driver)))
    np.testing.assert_allclose(scene.driver.position[:6], arm.SLEEP_RAD, atol=1e-3)
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    assert (scene.node.log.rests, scene.node.log.segments) == (1, 2)
    enabled = [request.enable for request in torques(scene.driver)]
    assert enabled[-1] is True
    assert False in enabled
    assert scene.recorder.events[-1] == ("end", "play-00001", "segment over")


OFTEN = {"exploration.waypoints_min": 1, "exploration.waypoints_max": 1}


def test_warm_motors_end_the_segment_and_rest_lying_down_until_they_have_cooled(stage, monkeypatch):
    monkeypatch.setattr(mission, "_COOL_LOOK_S", 0.05)
    monkeypatch.setattr(explorer, "_ASK_AFTER_S", 0.0)
    scene = stage(segments=1, segment_s=9.0, rest_every_min=0.0, rest_min=0.0, **OFTEN)
    answer, rested = scene.driver.answer, []

    def note(request, response):
        if scene.node.phase.startswith("playing"):
            rested.append(scene.node.arm.at_rest)
        return answer(request, response)

    for service in scene.driver.services:
        if service.srv_name.endswith("get_motor_registers"):
            service.callback = note
    scene.until(scene.is_playing)
    scene.driver.registers["all", "Present_Temperature"] = [40, 71, 40, 40, 40, 40, 40]
    scene.until(lambda: scene.node.phase.startswith("letting the motors cool: shoulder is at 71"))
    assert not torques(scene.driver)[-1].enable
    np.testing.assert_allclose(scene.driver.position[:6], arm.SLEEP_RAD, atol=1e-3)
    assert scene.recorder.events[-1][2].startswith("the motors have to rest: shoulder is at 71")
    assert scene.node.log.segments == 0
    assert rested
    assert all(rested), "asked while the arm moved"
    monkeypatch.setattr(explorer, "_ASK_AFTER_S", 60.0)
    scene.node.parameters = replace(scene.node.parameters, segment_s=0.5)
    scene.driver.registers["all", "Present_Temperature"] = [40, 55, 40, 40, 40, 40, 40]
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    assert torques(scene.driver)[-1].enable
    log = scene.node.log
    assert (log.rests, log.stopped, log.segments) == (1, 1, 1)


def test_motors_that_are_not_heard_of_end_play_where_they_lie(stage, monkeypatch):
    monkeypatch.setattr(mission, "_COOL_LOOK_S", 0.05)
    monkeypatch.setattr(mission, "Cooling", partial(Cooling, unread_s=0.3))
    scene = stage(segment_s=5.0, rest_every_min=0.0, rest_min=0.0, park="true")
    scene.driver.registers["all", "Present_Temperature"] = [40, 71, 40, 40, 40, 40, 40]
    scene.until(lambda: scene.node.arm.warm_reason)
    scene.driver.registers["all", "Present_Temperature"] = [0] * 7
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 1
    assert "how warm the motors are" in scene.node.exit_sentence
    assert not torques(scene.driver)[-1].enable
    np.testing.assert_allclose(scene.driver.position[:6], arm.SLEEP_RAD, atol=1e-3)


def test_motors_that_are_warm_when_the_time_is_over_lie_where_they_are(stage, monkeypatch):
    monkeypatch.setattr(mission, "_COOL_LOOK_S", 0.05)
    scene = stage(segment_s=5.0, rest_every_min=0.0, rest_min=0.0, park="true", hours=0.0004)
    scene.driver.registers["all", "Present_Temperature"] = [40, 71, 40, 40, 40, 40, 40]
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    assert [request.enable for request in torques(scene.driver)] == [False, False]


def test_a_mission_waits_until_the_servos_have_answered():
    answers = iter((True, True, False))

    class Arm:
        asks_servos = property(lambda _: next(answers))

        def check_hardware(self):
            return True

    assert len(list(MissionNode.ask_servos(SimpleNamespace(arm=Arm())))) == 2


def test_an_arm_that_is_stopped_while_its_motors_rest_stays_limp_until_the_reset(stage):
    scene = stage(segments=2, segment_s=0.5, rest_every_min=0.001, rest_min=0.03)
    scene.until(lambda: any(not request.enable for request in torques(scene.driver)))
    scene.node._motor_rest = Reminder(0.0)  # once is enough
    for service in (qos.STOP_SERVICE, qos.RESET_STOP_SERVICE):
        client = scene.driver.create_client(Trigger, service)
        scene.until(client.service_is_ready)
        client.call_async(Trigger.Request())
        if service == qos.STOP_SERVICE:
            scene.until(lambda: scene.node.phase.startswith("stopped: "))
            assert not any(request.enable for request in torques(scene.driver))
    scene.until(lambda: torques(scene.driver)[-1].enable)
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0


def test_an_arm_that_is_blocked_at_the_start_of_every_segment_ends_play(stage):
    scene = stage(segments=1, blocked_limit=2)
    scene.node._player.start = lambda: False
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 1
    assert "2 segments in a row ended because the arm was blocked" in scene.node.exit_sentence
    assert (scene.node.log.segments, scene.node.log.blocked) == (0, 2)


def test_an_arm_blocked_several_times_in_a_row_begins_anew_at_the_ready_pose(stage):
    scene = stage(segments=1, segment_s=0.5, blocked_limit=2)
    player = scene.node._player
    go_on, calls = player.go_on, []

    def once_given_up():
        calls.append(player.go_on)
        if len(calls) == 1:
            player.given_up = "the arm was blocked 2 times in a row"
        return go_on()

    player.go_on = once_given_up
    scene.until(scene.node.done.done)
    assert scene.node.done.result() == 0
    assert (scene.node.log.segments, scene.node.log.blocked) == (1, 1)


def diagnostics(node):
    """Return what the node says of itself now."""
    node.say_status()
    return [status.message for status in node.diagnostics._statuses.values()]


def torques(driver):
    return [request for request in driver.asked if hasattr(request, "enable")]


def test_a_library_that_is_none_is_refused_by_its_name(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text("{}")
    with pytest.raises(ParameterError, match=f"poses of node explorer cannot be used: {path}"):
        load_poses(str(path), P)
    with pytest.raises(ParameterError, match="No such file"):
        load_poses("/no/such.json", P)
    assert load_poses("", P) is None


def motion_of(seed, **changes):
    """Return two seconds of play (100, 3) [m] from the ready pose."""
    motion = make_motion(replace(P, **changes), wx250s_limits(), "", seed)
    motion.start(kinematics.forward(arm.READY_RAD), 1.0)
    return np.array([motion.step(0.02)[0][:3, 3] for _ in range(100)])


def test_the_same_seed_plays_the_same_and_a_seed_that_is_not_given_is_drawn(ros):
    np.testing.assert_array_equal(motion_of(5), motion_of(5))
    assert not np.array_equal(motion_of(5), motion_of(6))
    ros()
    node = rclpy.create_node("explorer")
    try:
        assert given_or_drawn(node, 5) == 5
        drawn = {given_or_drawn(node, -1) for _ in range(3)}
        assert len(drawn) == 3
        assert min(drawn) >= 0
    finally:
        node.destroy_node()
    assert ExplorerParameters().seed == -1


@pytest.mark.parametrize(
    ("play", "safety", "sentence"),
    [
        ({"x_high_m": 0.42, "radius_limit_m": 0.45}, {"workspace_high_m": (0.4, 0.4, 0.5)},
         "20 mm outside safety.workspace_low_m and workspace_high_m"),
        ({"joint_speed_rad_s": 2.0}, {}, "exploration.joint_speed_rad_s is 2.0, above safety.velo"),
        ({}, {"acceleration_rad_s2": 2.0}, "joint_acceleration_rad_s2 is 2.5, above safety.accele"),
        ({}, {"table_clearance_m": 0.02}, "height_low_m is 0.01, below safety.table_clearance_m"),
        ({"x_low_m": 0.33}, {}, r"begin at the ready pose \(tool at \[0.25, 0.0, 0.15\] m\)"),
    ],
)  # fmt: skip
def test_play_that_contradicts_the_limits_is_refused_in_a_sentence(play, safety, sentence):
    with pytest.raises(ParameterError, match=f"^node explorer cannot play with .*{sentence}"):
        make_motion(replace(P, **play), wx250s_limits(**safety), "", 0)


def test_a_library_for_wider_bounds_is_refused_by_its_name(tmp_path):
    path = tmp_path / "poses.json"
    path.write_text(PoseLibrary(generate(P).poses, "generated", P.bounds).to_json())
    assert len(load_poses(str(path), P)) == len(generate(P))
    with pytest.raises(ParameterError, match=f"{path} was made for other bounds than play has"):
        load_poses(str(path), replace(P, y_limit_m=0.2))
