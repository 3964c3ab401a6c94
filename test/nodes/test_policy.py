"""policy_node in this process: what it sees, what the arm is told, and what makes it hold."""

import json
import threading
import time

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from geometry_msgs.msg import PoseArray  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import Bool, String  # noqa: E402
from tf2_msgs.msg import TFMessage  # noqa: E402
from trajectory_msgs.msg import JointTrajectory  # noqa: E402

from vla_ros.core import arm, kinematics  # noqa: E402
from vla_ros.core.chunks import chunk_from_poses  # noqa: E402
from vla_ros.core.contract import apt_contract, tap_contract  # noqa: E402
from vla_ros.core.errors import ContractError, EpisodeError  # noqa: E402
from vla_ros.core.observation import Chunk  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.nodes import conversions, extrinsics, lifetime, policy, qos  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.task_server import do_task_type  # noqa: E402
from vla_ros.policy.checkpoint_hash import checkpoint_sha256  # noqa: E402
from vla_ros.policy.pictures import encode_jpeg  # noqa: E402

LIMIT_S = 30.0
WHERE = extrinsics.sim_extrinsics("front")


class Runner:
    """Moves the tool along x: by a step a query as TAP does, or by poses as APT does."""

    num_past, cameras, goes_on = 0, ("front",), False

    def __init__(self, contract):
        self.contract, self.seen, self.raises = contract, [], None
        self.decided = []

    def warm_up(self):
        pass

    def act(self, observation, decided=None):
        self.seen.append(observation)
        self.decided.append(decided)
        if self.raises:
            raise self.raises
        if not self.contract.needs_extrinsics:
            action = np.float32([[0.004, 0, 0, 0, 0, 0, 0.0]])
            return Chunk(action, 0.2, np.zeros(1))
        T_now = kinematics.forward(observation.state[:6])
        poses = np.tile(T_now, (8, 1, 1))
        poses[:, 0, 3] += 0.004 * np.arange(1, 9)
        camera = observation.views["front"].T_base_camera
        actions = chunk_from_poses(T_now, poses, np.zeros(8), camera)
        return Chunk(actions, 0.2, np.zeros(8), poses)


class Stage:
    """The node, an arm's driver, and a camera that says where it is."""

    def __init__(self, driver, is_placed=True):
        self.driver, self.node = driver, policy.PolicyNode()
        self.jpeg = encode_jpeg(np.full((32, 32, 3), 99, np.uint8), 90)
        self.pictures = driver.create_publisher(
            CompressedImage, "/front/image_raw/compressed", qos.CAMERA
        )
        self.is_filming, self.count = True, 0
        driver.create_timer(0.05, self.film)
        if is_placed:
            self.places = driver.create_publisher(TFMessage, qos.TF_STATIC_TOPIC, qos.LATCHED)
            said = extrinsics.extrinsics_to_msg(WHERE, "wx250s", "front_optical_frame", 0)
            self.places.publish(said)
        self.executor = lifetime._executor()
        self.executor.add_node(self.node)
        self.executor.add_node(driver)

    def film(self):
        if self.is_filming:
            self.count += 1
            now_ns = self.driver.get_clock().now().nanoseconds
            # No two alike: a picture that never changes is a frozen camera.
            jpeg = self.jpeg + bytes([self.count % 256])
            self.pictures.publish(
                conversions.compressed_to_msg(jpeg, now_ns, "front_optical_frame")
            )

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    @property
    def moved_m(self):
        """How far the tool was told to move along x, from the ready pose."""
        q = self.driver.commands[-1] if self.driver.commands else arm.READY_RAD
        return kinematics.forward(q)[0, 3] - kinematics.forward(arm.READY_RAD)[0, 3]

    def close(self):
        self.executor.shutdown()
        self.node.close()
        self.node.destroy_node()
        self.driver.destroy_node()


@pytest.fixture
def make_stage(ros, make_driver, monkeypatch, tmp_path):
    made = []

    def make(contract, is_placed=True, driver=make_driver, goes_on=False, **parameters):
        given = {"task": "push", "record": "false", "park": "false", "episode_s": "30.0"}
        (tmp_path / "weights").mkdir(exist_ok=True)
        (tmp_path / "weights" / "model").write_bytes(b"1")
        given |= {"checkpoint": str(tmp_path / "weights")}
        given |= {"results": str(tmp_path / "results.json")} | parameters
        words = [word for k, v in given.items() for word in ("-p", f"{k}:={v}")]
        ros(*words)
        runner = Runner(contract)
        runner.goes_on = goes_on
        monkeypatch.setattr(policy, "load_runner", lambda *_: runner)
        stage = Stage(driver(), is_placed)
        made.append(stage)
        stage.node.bring_up()
        return stage, runner

    yield make
    for stage in made:
        stage.close()


@pytest.mark.parametrize("contract", [tap_contract(), apt_contract(horizon=8)])
def test_either_method_moves_the_arm_and_says_what_it_did(make_stage, contract, tmp_path):
    stage, runner = make_stage(contract)
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


def test_an_arm_that_hangs_below_its_command_is_not_lowered_by_every_chunk(make_stage, make_driver):
    class Hanging(make_driver):
        def follow(self, message):
            super().follow(message)
            self.position[1] += 0.02

    stage, runner = make_stage(apt_contract(horizon=8), driver=Hanging)
    stage.until(lambda: stage.moved_m > 0.012 and len(runner.seen) > 2)
    ready, now = (kinematics.forward(q) for q in (arm.READY_RAD, stage.driver.commands[-1]))
    # 0.02 rad at the shoulder are 4 mm and more at the tool, once a chunk.
    assert abs(now[2, 3] - ready[2, 3]) < 0.002


def test_an_illegal_answer_holds_the_arm_with_its_sentence(make_stage):
    stage, runner = make_stage(apt_contract(horizon=8))
    stage.until(lambda: stage.moved_m > 0.008)
    runner.raises = ContractError("chunk must be finite")
    stage.until(lambda: stage.node._facts.held)
    assert "chunk must be finite" in stage.node._facts.problem
    stage.until(lambda: stage.node.arm.at_rest)
    rested_m = stage.moved_m
    runner.raises = None
    stage.until(lambda: stage.moved_m > rested_m + 0.008)


def test_another_task_ends_the_episode_and_what_the_old_one_asked_for(make_stage, tmp_path):
    stage, runner = make_stage(tap_contract())
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
    stage.until(lambda: stage.node.arm.at_rest)


def test_a_chunk_of_before_a_block_is_over(make_stage, monkeypatch):
    stage, runner = make_stage(apt_contract(horizon=8))
    stage.until(lambda: stage.moved_m > 0.008)
    monkeypatch.setattr(type(stage.node.arm), "blocked_reason", "elbow is blocked")
    stage.until(lambda: stage.node.arm.at_rest)
    life = stage.node._motion.life
    queries = len(runner.seen)
    monkeypatch.undo()
    rested_m = stage.moved_m
    stage.until(lambda: stage.moved_m > rested_m + 0.008)
    assert stage.node._motion.life >= life
    assert len(runner.seen) > queries


def test_a_hand_on_the_switch_lets_the_arm_move_and_its_going_holds_it(make_stage):
    stage, _ = make_stage(apt_contract(horizon=8), deadman_s="0.3")
    switch = stage.driver.create_publisher(Bool, qos.DEADMAN_TOPIC, 1)
    hand = stage.driver.create_timer(0.05, lambda: switch.publish(Bool(data=True)))
    assert "dead-man's switch" in stage.node.arm.blocked_reason
    stage.until(lambda: stage.moved_m > 0.008)
    hand.cancel()
    stage.until(lambda: "dead-man's switch" in stage.node.arm.blocked_reason)
    stage.until(lambda: stage.node.arm.at_rest)
    rested_m = stage.moved_m
    hand.reset()
    stage.until(lambda: stage.moved_m > rested_m + 0.008)


def test_a_dry_run_shows_what_it_would_do_and_has_no_way_to_the_arm(make_stage):
    stage, _ = make_stage(apt_contract(horizon=8), dry_run="true", strategy="blend")
    shown, poses = [], []
    stage.driver.create_subscription(JointTrajectory, "/vla/preview", shown.append, 1)
    stage.driver.create_subscription(PoseArray, "/vla/preview_poses", poses.append, 1)
    stage.until(lambda: len(shown) > 1 and poses)
    assert shown[0].joint_names == [*arm.ARM_JOINTS, "gripper"]
    assert len(shown[0].points) == len(poses[0].poses) == 8
    tool = kinematics.forward(np.array(shown[0].points[-1].positions[:6]))
    assert tool[0, 3] - kinematics.forward(arm.READY_RAD)[0, 3] == pytest.approx(0.032, abs=1e-4)
    assert poses[0].poses[-1].position.x == pytest.approx(tool[0, 3], abs=1e-6)
    assert shown[0].points[-1].time_from_start.sec == 1
    assert stage.node.count_publishers("/wx250s/commands/joint_group") == 0
    assert stage.driver.asked == []


def test_a_recording_that_fails_parks_the_arm_before_the_node_ends(make_stage, monkeypatch):
    stage, _ = make_stage(tap_contract(), park="true")
    stage.until(lambda: stage.moved_m > 0.004)

    def check():
        raise EpisodeError("the disk is full")

    stage.node.episodes.check = check
    stage.until(stage.node.done.done)
    assert stage.node.exit_sentence == "the disk is full"
    np.testing.assert_allclose(stage.driver.commands[-1], arm.SLEEP_RAD, atol=1e-6)


def test_what_goes_on_is_told_what_is_decided(make_stage):
    stage, runner = make_stage(apt_contract(horizon=8), goes_on=True)
    stage.until(lambda: len(runner.decided) > 3)
    decided = runner.decided[-1]
    assert len(decided.T_base_tool) == len(decided.openings) >= decided.fixed >= 0
    assert runner.decided[0].openings.size == 0
    assert stage.node._motion.queue.strategy == "rtc"


def test_a_results_file_that_cannot_be_written_is_told_at_once(make_stage, tmp_path):
    with pytest.raises(EpisodeError, match="choose another results file"):
        make_stage(tap_contract(), results=str(tmp_path / "nowhere" / "results.json"))


def test_pictures_that_stop_hold_the_arm_and_later_it_goes_on(make_stage):
    stage, runner = make_stage(apt_contract(horizon=8), image_max_age_s="0.2")
    stage.until(lambda: stage.moved_m > 0.008)
    stage.is_filming = False
    stage.until(lambda: "the last picture of camera front" in stage.node.arm.status[1])
    stage.until(lambda: stage.node.arm.at_rest)
    queries, rested_m = len(runner.seen), stage.moved_m
    sent = len(stage.driver.commands)
    stage.until(lambda: len(stage.driver.commands) > sent + 25)
    assert len(runner.seen) == queries
    assert stage.moved_m == pytest.approx(rested_m, abs=1e-3)
    stage.is_filming = True
    stage.until(lambda: stage.moved_m > rested_m + 0.008)


def test_a_camera_whose_place_nobody_knows_ends_the_node_with_the_remedy(make_stage):
    stage, _ = make_stage(apt_contract(horizon=8), is_placed=False, driver_wait_s="1.0")
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 1
    assert "where camera front is on the robot is not known" in stage.node.exit_sentence
    assert "training.hand_eye" in stage.node.exit_sentence


@pytest.mark.skipif(do_task_type() is None, reason="vla_ros_msgs is not built: run `make setup`")
def test_without_a_task_it_takes_goals_and_nothing_else_and_with_one_none(make_stage):
    stage, runner = make_stage(tap_contract(), task="''")
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


def test_without_a_task_and_without_the_action_it_says_what_is_missing(make_stage, monkeypatch):
    monkeypatch.setattr(policy, "do_task_type", lambda: None)
    with pytest.raises(ParameterError, match="policy is empty, and .* vla_ros_msgs is not built"):
        make_stage(tap_contract(), task="''")


def test_the_contract_of_a_checkpoint_is_this_arms_and_cameras():
    for found in (tap_contract(image_size=64), apt_contract(("front", "side"), horizon=8)):
        policy.expected_contract("front", found).require_match(found, "here")
        with pytest.raises(ContractError, match="cameras: "):
            policy.expected_contract("wrist", found).require_match(found, "here")
