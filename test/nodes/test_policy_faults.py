"""policy_node in this process, when the arm, what is seen, or who records fails while it acts.

`test/launch/test_faults.py` has those that the simulated driver can be given.
"""

import json

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from rclpy.action import ActionClient  # noqa: E402
from std_msgs.msg import Bool  # noqa: E402
from std_srvs.srv import Trigger  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.contract import apt_contract, tap_contract  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.nodes import episodes, mission, policy, policy_waits, qos, servo_check  # noqa: E402
from vla_ros.nodes.task_server import do_task_type  # noqa: E402

APT = apt_contract(horizon=8)
# What a judge says of a task that is being done.
NOT_YET = {"task": "push", "partial": False, "success": False}


def test_pictures_that_stop_or_never_change_hold_the_arm_and_later_it_goes_on(
    make_policy, monkeypatch
):
    monkeypatch.setattr(policy, "HELD_LIMIT_S", 60.0)
    stage, runner = make_policy(
        APT, **{"image_max_age_s": "0.2", "safety.camera_frozen_rad": "0.05"}
    )
    stage.until(lambda: stage.moved_m > 0.008)
    stage.is_filming = False
    stage.until(lambda: "the last picture of camera front" in stage.node.arm.status[1])
    stage.until(lambda: stage.node.arm.at_rest)
    queries, rested_m = len(runner.seen), stage.moved_m
    sent = len(stage.driver.commands)
    stage.until(lambda: len(stage.driver.commands) > sent + 25)
    assert len(runner.seen) == queries
    assert stage.moved_m == pytest.approx(rested_m, abs=1e-3)
    stage.is_filming, stage.is_changing = True, False
    stage.until(lambda: "camera front shows the same picture" in stage.node.arm.status[1])
    stage.until(lambda: stage.node.arm.at_rest)
    stage.is_changing = True
    stage.until_further()
    assert stage.node.acting


def test_an_answer_that_leads_out_of_the_world_stays_within_the_limits(make_policy):
    far_m = kinematics.forward(arm.READY_RAD)[0, 3] + 0.06
    high = f"[{far_m:.4f}, 0.4, 0.5]"
    stage, runner = make_policy(APT, **{"safety.workspace_high_m": high})
    runner.step_m = 0.2  # its eight lead 1.6 m away
    stage.until(lambda: stage.moved_m > 0.05)
    stage.let_pass(0.3)
    commands, limits = np.array(stage.driver.commands), stage.node.limits
    assert max(kinematics.forward(q)[0, 3] for q in commands) <= far_m
    # Not by the command guard alone: what is out of reach is taken at the bound.
    assert "no joint solution" not in stage.node._acts.facts.problem
    assert np.abs(np.diff(commands, axis=0)).max() <= limits.velocity_rad_s.max() * 0.02 + 1e-9
    assert stage.node.acting


def test_a_chunk_of_before_a_block_is_over(make_policy, monkeypatch):
    stage, runner = make_policy(APT)
    stage.until(lambda: stage.moved_m > 0.008)
    monkeypatch.setattr(type(stage.node.arm), "blocked_reason", "elbow is blocked")
    stage.until(lambda: stage.node.arm.at_rest)
    life, queries = stage.node._acts.motion.life, len(runner.seen)
    monkeypatch.undo()
    stage.until_further()
    assert stage.node._acts.motion.life >= life
    assert len(runner.seen) > queries


def test_a_stop_ends_the_episode_and_the_next_one_begins_at_the_ready_pose_after_a_reset(
    make_policy, monkeypatch, tmp_path
):
    stage, _ = make_policy(APT, episodes="0")
    stage.node.task_state = NOT_YET
    estop = stage.driver.create_publisher(Bool, qos.ESTOP_TOPIC, qos.ESTOP)
    reset = stage.driver.create_client(Trigger, qos.RESET_STOP_SERVICE)
    stage.until(lambda: stage.moved_m > 0.008 and estop.get_subscription_count())
    estop.publish(Bool(data=True))
    stage.until(lambda: stage.node.phase.startswith("stopped: "))
    rested_m = stage.moved_m
    stage.let_pass(0.3)
    assert stage.moved_m == rested_m
    results = json.loads((tmp_path / "results.json").read_text())
    assert (results["judged"], results["successes"]) == (0, None)
    (episode,) = results["episodes"]
    assert episode["reason"].startswith("the arm was stopped: ")
    assert (episode["success"], episode["partial"]) == (None, False)
    stage.until(reset.service_is_ready)
    reset.call_async(Trigger.Request())
    stage.until(lambda: abs(stage.moved_m) < 1e-6)
    stage.until_further()
    # It is judged as well while its servos are asked, by a driver that does not answer.
    waited = []

    def wait(node):
        while node.acting:
            waited.append(node.arm.at_rest)
            yield

    monkeypatch.setattr(policy_waits, "_ASK_AFTER_S", 0.0)
    monkeypatch.setattr(policy.PolicyNode, "ask_servos", wait)
    stage.until(lambda: len(waited) > 10)
    estop.publish(Bool(data=True))
    stage.until(lambda: stage.node.phase.startswith("stopped: "))
    assert all(waited)


def test_warm_motors_end_a_long_episode_and_rest_lying_down_until_they_have_cooled(
    make_policy, near_cradle, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy_waits, "_ASK_AFTER_S", 0.4)
    monkeypatch.setattr(servo_check, "_PERIOD_S", 0.0)
    monkeypatch.setattr(mission, "_COOL_LOOK_S", 0.05)
    stage, _ = make_policy(tap_contract(), episodes="0")
    stage.node.task_state = NOT_YET
    degrees = stage.driver.registers
    degrees["all", "Present_Temperature"] = [40] * 7
    answer, rested = stage.driver.answer, []

    def note(request, response):
        if stage.node.acting:
            rested.append(stage.node.arm.at_rest)
        return answer(request, response)

    for service in stage.driver.services:
        if service.srv_name.endswith("get_motor_registers"):
            service.callback = note
    stage.until(lambda: rested and not stage.node.arm.asks_servos)
    stage.until_further()  # they are well: the episode goes on
    assert stage.node.episodes.running
    degrees["all", "Present_Temperature"] = [40, 71, 40, 40, 40, 40, 40]
    stage.until(lambda: stage.node.phase.startswith("letting the motors cool: shoulder is at 71"))
    (episode,) = json.loads((tmp_path / "results.json").read_text())["episodes"]
    assert episode["reason"].startswith("the motors have to rest: shoulder is at 71")
    assert (episode["success"], episode["partial"]) == (None, False)
    assert "have to rest until they have cooled" in stage.node._why_busy()
    assert stage.node.arm.is_limp
    np.testing.assert_allclose(stage.driver.commands[-1], near_cradle, atol=1e-6)
    assert all(rested), "asked while the arm moved"
    degrees["all", "Present_Temperature"] = [40, 55, 40, 40, 40, 40, 40]
    stage.until(lambda: stage.node.acting)
    assert not stage.node.arm.is_limp
    stage.until_further()
    degrees["all", "Present_Temperature"] = [40, 79, 40, 40, 40, 40, 40]
    stage.until(lambda: stage.node.phase.startswith("stopped: shoulder is at 79"))
    assert stage.node.arm.at_rest


@pytest.mark.skipif(do_task_type() is None, reason="vla_ros_msgs is not built: run `make setup`")
def test_warm_motors_rest_between_goals_and_no_goal_begins_until_they_have_cooled(
    make_policy, near_cradle, monkeypatch
):
    monkeypatch.setattr(mission, "_COOL_LOOK_S", 0.05)
    stage, runner = make_policy(tap_contract(), task="''")
    degrees = stage.driver.registers
    degrees["all", "Present_Temperature"] = [40, 71, 40, 40, 40, 40, 40]
    stage.until(lambda: stage.node.phase.startswith("letting the motors cool: shoulder is at 71"))
    assert stage.node.arm.is_limp
    goals = ActionClient(stage.driver, do_task_type(), qos.DO_TASK_ACTION)
    stage.until(goals.server_is_ready)

    def send():
        sent = goals.send_goal_async(do_task_type().Goal(task="push"))
        stage.until(sent.done)
        return sent.result().get_result_async()

    refused = send()
    stage.until(refused.done)
    assert refused.result().result.outcome == Outcome.REFUSED
    assert "have to rest until they have cooled: shoulder" in refused.result().result.message
    degrees["all", "Present_Temperature"] = [40] * 7
    stage.until(lambda: stage.node.phase == "waiting for a goal" and not stage.node.arm.is_limp)
    assert runner.seen == []
    send()
    stage.until(lambda: stage.node.acting)
    stage.until_further()


@pytest.mark.parametrize("what", ["gone", "failed"])
def test_a_recorder_that_fails_parks_the_arm_before_the_node_ends(
    make_policy, near_cradle, monkeypatch, what
):
    monkeypatch.setattr(episodes, "_GONE_S", 0.2)
    monkeypatch.setattr(episodes, "_LOOK_S", 0.05)
    stage, _ = make_policy(tap_contract(), park="true", record="true")
    stage.until(lambda: stage.moved_m > 0.004)
    if what == "gone":
        stage.kill_recorder()
    else:
        stage.recorder.say("policy-00000", "failed", detail="the disk is nearly full")
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 1
    said = {
        "gone": "the recorder is gone: ",
        "failed": "the recorder ended policy-00000 (failed): the disk is nearly full",
    }
    assert stage.node.exit_sentence.startswith(said[what])
    np.testing.assert_allclose(stage.driver.commands[-1], near_cradle, atol=1e-6)


def test_a_driver_that_falls_silent_holds_the_arm_and_ends_the_node_where_it_is(
    make_policy, make_driver
):
    class Mute(make_driver):
        speaks = True

        def publish(self):
            if self.speaks:
                super().publish()

    stage, _ = make_policy(APT, driver=Mute, park="true", **{"safety.lost_s": "0.6"})
    stage.until(lambda: stage.moved_m > 0.008)
    stage.driver.speaks = False
    stage.until(lambda: stage.node.arm.at_rest)
    rested_m = stage.moved_m
    stage.until(stage.node.done.done)
    assert "the driver or its cable is gone" in stage.node.exit_sentence
    assert stage.moved_m == pytest.approx(rested_m, abs=1e-6)


def test_two_policy_nodes_at_once_both_end_with_the_arm_at_rest(make_policy):
    stage, _ = make_policy(APT)
    stage.until(lambda: stage.moved_m > 0.008)
    second = policy.PolicyNode()
    stage.executor.add_node(second)
    try:
        second.bring_up()
        stage.until(lambda: second.done.done() and stage.node.done.done())
        for node in (second, stage.node):
            said = "other node(s) command the arm on /wx250s/commands/joint_group (/policy)"
            assert said in node.exit_sentence
        assert not second.arm.active
        assert stage.node.arm.at_rest
    finally:
        stage.executor.remove_node(second)
        second.close()
        second.destroy_node()
