"""policy_node in this process: what it sees, what the arm is told, and what makes it hold."""

import json
import threading

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import PoseArray  # noqa: E402
from policy_stage import LIMIT_S, STEP_M, WHERE  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.contract import apt_contract, tap_contract  # noqa: E402
from vla_ros.core.errors import EpisodeError  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.nodes import episodes, policy, qos  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.task_server import do_task_type  # noqa: E402
from vla_ros.policy.checkpoint_hash import checkpoint_sha256  # noqa: E402


@pytest.mark.parametrize("contract", [tap_contract(), apt_contract(horizon=8)])
def test_either_method_moves_the_arm_and_says_what_it_did(make_policy, contract, tmp_path):
    stage, runner = make_policy(contract)
    stage.until(lambda: stage.moved_m > 0.011)
    judge = {"task": "push", "partial": True, "success": True, "layout_seed": 7}
    # Another task's success, and one that was there before, are none of this episode.
    for said in ({"task": "pull"}, {}):
        stage.node.task_state = judge | said
        stage.until(lambda moved_m=stage.moved_m: stage.moved_m > moved_m + 0.004)
    stage.node.task_state = judge | {"success": False}
    stage.until(lambda moved_m=stage.moved_m: stage.moved_m > moved_m + 0.004)
    stage.node.task_state = judge
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 0
    results = json.loads((tmp_path / "results.json").read_text())
    (episode,) = results["episodes"]
    expected = checkpoint_sha256(tmp_path / "weights")
    assert (results["checkpoint_sha256"], results["strategy"]) == (expected, "blend")
    assert stage.node.episodes.settings["checkpoint_sha256"] == expected
    assert (episode["success"], episode["layout_seed"]) == (True, 7)
    assert episode["steps"] >= 2
    assert len(episode["inference_ms"]) == episode["chunks"] >= 1
    assert min(episode["camera_to_command_ms"]) > 0
    assert 0 <= episode["starved_ticks"] < episode["ticks"]
    first = runner.seen[0]
    assert first.task == "push"
    assert first.views["front"].picture.startswith(stage.jpeg)
    if contract.needs_extrinsics:
        np.testing.assert_allclose(
            first.views["front"].T_base_camera, WHERE.T_parent_camera, atol=1e-6
        )
        np.testing.assert_allclose(first.state[:6], arm.READY_RAD, atol=1e-6)


def test_an_arm_that_hangs_below_its_command_is_not_lowered_by_every_chunk(
    make_policy, make_driver
):
    class Hanging(make_driver):
        def follow(self, message):
            super().follow(message)
            self.position[1] += 0.02

    stage, runner = make_policy(apt_contract(horizon=8), driver=Hanging)
    stage.until(lambda: stage.moved_m > 0.012 and len(runner.seen) > 2)
    ready, now = (kinematics.forward(q) for q in (arm.READY_RAD, stage.driver.commands[-1]))
    # 0.02 rad at the shoulder are 4 mm and more at the tool, once a chunk.
    assert abs(now[2, 3] - ready[2, 3]) < 0.002


def test_another_task_ends_the_episode_and_what_the_old_one_asked_for(make_policy, tmp_path):
    stage, runner = make_policy(tap_contract())
    thinks, act = threading.Semaphore(0), runner.act

    def slow(observation, decided=None):
        chunk = act(observation)
        assert thinks.acquire(timeout=LIMIT_S)
        return chunk

    runner.act = slow
    stage.until(lambda: runner.seen)
    # Not latched: as rclpy publishes if nobody says otherwise.
    task = stage.driver.create_publisher(String, qos.TASK_TOPIC, 10)
    stage.until(lambda: task.get_subscription_count())
    task.publish(String(data="x" * 1001))
    task.publish(String(data="pull"))
    stage.until(lambda: stage.node._task.text == "pull")
    thinks.release()
    stage.until(lambda: len(runner.seen) == 2)
    assert [seen.task for seen in runner.seen] == ["push", "pull"]
    assert stage.moved_m == pytest.approx(0.0, abs=1e-6)
    thinks.release(100)
    stage.until(lambda: stage.moved_m > 0.008)
    # No task: it holds, and waits for one.
    task.publish(String(data=" "))
    stage.until(lambda: "waiting for a task" in stage.node.phase)
    rested_m = stage.moved_m
    done = [e["task"] for e in json.loads((tmp_path / "results.json").read_text())["episodes"]]
    assert done == ["push", "pull"]
    (told,) = stage.node.set_parameters([Parameter("task", value="lift")])
    assert told.successful
    stage.until(lambda: stage.moved_m > rested_m + 0.008)
    assert runner.seen[-1].task == "lift"
    (told,) = stage.node.set_parameters([Parameter("speed_scale", value=2)])
    assert "speed_scale" in told.reason
    stage.node.set_parameters([Parameter("speed_scale", value=0.0)])
    # It comes to rest as the last of a spring's motion does, less with each command.
    stage.until(lambda: np.abs(np.diff(stage.driver.commands[-3:], axis=0)).max() < 1e-5)


def test_a_hand_on_the_switch_lets_the_arm_move_and_its_going_holds_it(
    make_policy, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy, "HELD_LIMIT_S", 0.3)
    ends, say_end = [], episodes.Episodes._say_end

    def note(self, *how):
        ends.append(how)
        say_end(self, *how)

    monkeypatch.setattr(episodes.Episodes, "_say_end", note)
    stage, _ = make_policy(apt_contract(horizon=8), deadman_s="0.3")
    switch = stage.driver.create_publisher(Bool, qos.DEADMAN_TOPIC, 1)
    hand = stage.driver.create_timer(0.05, lambda: switch.publish(Bool(data=True)))
    assert "dead-man's switch" in stage.node.arm.blocked_reason
    stage.node.task_state = {"task": "push", "partial": False, "success": False}
    stage.until(lambda: stage.moved_m > 0.008)
    hand.cancel()
    stage.until(lambda: "dead-man's switch" in stage.node.arm.blocked_reason)
    stage.until(lambda: stage.node.arm.at_rest)
    rested_m = stage.moved_m
    # Whoever lets go for long ends the episode, and nobody's failure is noted; no other begins.
    stage.until(lambda: "waiting to begin: the dead-man's switch" in stage.node.phase)
    ((success, reason),) = ends
    assert success is None
    assert reason.startswith("the arm was held for 0.3 s: the dead-man's switch is not held")
    assert not (tmp_path / "results.json").exists()
    assert stage.moved_m == rested_m
    hand.reset()
    stage.until_further()
    assert stage.node.acting


def test_a_dry_run_shows_what_it_would_do_and_has_no_way_to_the_arm(make_policy):
    stage, _ = make_policy(apt_contract(horizon=8), dry_run="true", strategy="blend")
    shown, poses = [], []
    stage.driver.create_subscription(JointTrajectory, "/vla/preview", shown.append, 1)
    stage.driver.create_subscription(PoseArray, "/vla/preview_poses", poses.append, 1)
    stage.until(lambda: len(shown) > 1 and poses)
    assert shown[0].joint_names == [*arm.ARM_JOINTS, "gripper"]
    assert len(shown[0].points) == len(poses[0].poses) == 8
    tool = kinematics.forward(np.array(shown[0].points[-1].positions[:6]))
    assert tool[0, 3] - kinematics.forward(arm.READY_RAD)[0, 3] == pytest.approx(
        8 * STEP_M, abs=1e-4
    )
    assert poses[0].poses[-1].position.x == pytest.approx(tool[0, 3], abs=1e-6)
    assert shown[0].points[-1].time_from_start.sec == 1
    assert stage.node.count_publishers("/wx250s/commands/joint_group") == 0
    assert stage.driver.asked == []


def test_what_goes_on_is_told_what_is_decided(make_policy):
    stage, runner = make_policy(apt_contract(horizon=8), goes_on=True)
    stage.until(lambda: runner.decided and runner.decided[-1].openings.size)
    decided = runner.decided[-1]
    assert len(decided.T_base_tool) == len(decided.openings) >= decided.fixed >= 0
    assert runner.decided[0].openings.size == 0
    assert stage.node._acts.motion.queue.strategy == "rtc"


def test_a_results_file_that_cannot_be_written_is_told_at_once(make_policy, tmp_path):
    with pytest.raises(EpisodeError, match="choose another results file"):
        make_policy(tap_contract(), results=str(tmp_path / "nowhere" / "results.json"))


def test_a_camera_whose_place_nobody_knows_ends_the_node_with_the_remedy(make_policy):
    stage, _ = make_policy(apt_contract(horizon=8), is_placed=False, driver_wait_s="0.5")
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 1
    assert "where camera front is on the robot is not known" in stage.node.exit_sentence
    assert "training.hand_eye" in stage.node.exit_sentence


@pytest.mark.skipif(do_task_type() is None, reason="vla_ros_msgs is not built: run `make setup`")
def test_without_a_task_it_takes_goals_and_nothing_else_and_with_one_none(make_policy):
    stage, runner = make_policy(tap_contract(), task="''")
    stage.is_filming = False
    goals = ActionClient(stage.driver, do_task_type(), qos.DO_TASK_ACTION)

    def result(task, meanwhile=lambda handle: None):
        sent = goals.send_goal_async(do_task_type().Goal(task=task))
        stage.until(sent.done)
        asked = sent.result().get_result_async()
        meanwhile(sent.result())
        stage.until(asked.done)
        return asked.result().result

    def cancel(handle):
        stage.until(lambda: stage.node._goals._was_ready)
        handle.cancel_goal_async()

    def pull(_):
        stage.until(lambda: stage.moved_m > 0.008)
        assert {seen.task for seen in runner.seen} == {"pull"}
        for success in (False, True):
            stage.node.task_state = {"task": "pull", "partial": success, "success": success}
            stage.until(lambda: stage.node._goals._sim.partial is stage.node.task_state["partial"])

    stage.until(goals.server_is_ready)
    (said,) = stage.node.set_parameters([Parameter("task", value="push")])
    assert (said.successful, qos.DO_TASK_ACTION in said.reason) == (False, True)
    # No picture has come yet: it is cancelled while they are waited for.
    assert stage.node._inputs.streams.missing()
    assert result("lift", cancel).outcome == Outcome.CANCELLED
    assert not stage.node.episodes.running
    stage.is_filming = True
    done = result("pull", pull)
    assert (done.outcome, done.message) == (Outcome.SUCCEEDED, "task done")
    assert done.steps > 0
    stage.node._serves = False
    assert "has a task of its own" in result("push").message


def test_without_a_task_and_without_the_action_it_says_what_is_missing(make_policy, monkeypatch):
    monkeypatch.setattr(policy, "do_task_type", lambda: None)
    with pytest.raises(ParameterError, match="policy is empty, and .* vla_ros_msgs is not built"):
        make_policy(tap_contract(), task="''")
