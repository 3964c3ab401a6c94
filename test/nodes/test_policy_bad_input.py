"""What a policy node is given that it cannot use: it says so in a sentence, and the arm is safe."""

import dataclasses
import time

import cv2
import numpy as np
import pytest
import torch

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from policy_servers import Runner as Served  # noqa: E402
from policy_servers import served  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.parameter import Parameter  # noqa: E402
from sensor_msgs.msg import CompressedImage  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from tiny_policies import apt, tap  # noqa: E402

from vla_ros.core.contract import apt_contract, tap_contract  # noqa: E402
from vla_ros.core.errors import CheckpointError, ContractError, RemoteError  # noqa: E402
from vla_ros.core.observation import Chunk  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.nodes import policy, qos  # noqa: E402
from vla_ros.nodes.params import ParameterError  # noqa: E402
from vla_ros.nodes.policy_parameters import PolicyParameters  # noqa: E402
from vla_ros.nodes.task_server import do_task_type  # noqa: E402
from vla_ros.policy.checkpoint import save_checkpoint  # noqa: E402
from vla_ros.policy.runner import TapRunner  # noqa: E402

SIDE_TOO = ("front", "side")


def changed(checkpoint, **contract):
    """Return a checkpoint that says another contract of itself."""
    other = dataclasses.replace(checkpoint.contract, **contract)
    return dataclasses.replace(checkpoint, contract=other)


def given(folder, **more):
    """Return the parameters of a node with the checkpoint in `folder`."""
    return PolicyParameters(checkpoint=str(folder / "c"), **({"own_process": False} | more))


@pytest.mark.parametrize(
    ("checkpoint", "camera", "error", "sentence"),
    [
        (changed(tap(), robot_model="vx300s"), "front", ContractError, "robot_model: wx250s here"),
        (tap(), "wrist", ContractError, "camera front first, .* camera of node policy is wrist"),
        (apt(SIDE_TOO), "side", ContractError, "name the camera .* front"),
        (changed(tap(), action_space="joint"), "front", ContractError, "action_space: ee_delta"),
        (
            changed(tap(), rate_hz=100.0),
            "front",
            ContractError,
            "acts 100 times a second.* to 50;",
        ),
        (changed(tap(), rate_hz=0.01), "front", ContractError, "acts 0.01 times a second"),
        (tap(stage=1), "front", CheckpointError, "is of stage 1, which follows no instruction"),
    ],
)
def test_a_checkpoint_for_another_arm_camera_or_rate_is_refused(
    checkpoint, camera, error, sentence, tmp_path
):
    save_checkpoint(checkpoint, tmp_path / "c")
    with pytest.raises(error, match=sentence):
        # One in a process of its own, which nobody needs any more then.
        policy.load_runner(given(tmp_path, camera=camera, own_process=camera == "wrist"))


@pytest.mark.parametrize("name", ["normalizer.json", "model.safetensors"])
def test_a_checkpoint_without_its_statistics_is_refused_by_the_files_name(name, tmp_path):
    save_checkpoint(tap(), tmp_path / "c")
    (tmp_path / "c" / name).unlink()
    with pytest.raises(CheckpointError, match=f"has no {name}; give a complete folder"):
        policy.load_runner(given(tmp_path))


def test_pictures_that_are_none_and_weights_that_went_bad_hold_the_arm(
    make_policy, tmp_path, monkeypatch
):
    runners, load = [], policy.load_runner
    monkeypatch.setattr(policy, "load_runner", lambda *a: runners.append(load(*a)) or runners[0])
    save_checkpoint(tap(), tmp_path / "c")
    stage, _ = make_policy(checkpoint=str(tmp_path / "c"), overlays="true", overlay_period_s="0.1")
    shown = []
    topic = qos.attention_topic("front")
    stage.driver.create_subscription(CompressedImage, topic, shown.append, qos.PREVIEW)
    chunks = lambda: stage.node._acts.facts.chunks  # noqa: E731

    def until_used():
        count = chunks()
        stage.until(lambda: chunks() > count)

    until_used()
    # Behind the answers it says what they hang on.
    stage.until(lambda: shown)
    picture, noise = stage.jpeg, np.random.default_rng(0)
    # Raw pixels where a JPEG should be, as from a driver that publishes another encoding.
    stage.jpeg = noise.integers(0, 255, 32 * 32 * 3, np.uint8).tobytes()
    stage.until_held("image of camera front cannot be decoded")
    # Another size and another format are pictures all the same.
    stage.jpeg = cv2.imencode(".png", noise.integers(0, 255, (48, 64, 3), np.uint8))[1].tobytes()
    until_used()
    stage.jpeg = picture
    (runner,) = runners
    assert isinstance(runner, TapRunner)
    with torch.no_grad():
        parameter = next(runner.policy.head.parameters())
        good = parameter.clone()
        parameter.fill_(float("nan"))
    stage.until_held("action must be finite")
    with torch.no_grad():
        parameter.copy_(good)
    until_used()
    assert stage.node.acting


def test_a_task_of_whatever_script_or_looks_reaches_the_policy_as_it_was_said(make_policy):
    stage, runner = make_policy(tap_contract())
    stage.until(lambda: runner.seen)
    for bad in ("put " * 2500, "go\nthen stop", "half \x1b[2J"):
        (told,) = stage.node.set_parameters([Parameter("task", value=bad)])
        assert not told.successful
        assert "a task " in told.reason
    (told,) = stage.node.set_parameters([Parameter("task", value=["go", "stop"])])
    assert not told.successful
    assert stage.node._task.text == "push"
    said = stage.driver.create_publisher(String, qos.TASK_TOPIC, 10)
    stage.until(said.get_subscription_count)
    for text in ("把胡萝卜放在盘子里", "{task: [yes, *no]} # 1.5"):
        said.publish(String(data=text))
        stage.until(lambda text=text: runner.seen[-1].task == text)
    stage.until_further()


def test_a_camera_that_never_speaks_ends_the_node_with_its_name(make_policy):
    stage, runner = make_policy(apt_contract(SIDE_TOO, horizon=8), driver_wait_s="0.3")
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 1
    assert "no image on /side/image_raw/compressed; start camera_node" in stage.node.exit_sentence
    assert runner.seen == []
    assert stage.moved_m == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("parameter", "value", "sentence"),
    [
        ("image_max_age_s", "11.0", "image_max_age_s of node policy must lie in 0.01 to 10.0 s"),
        ("handover.execute_steps", "-1", "handover.execute_steps"),
        ("strategy", "average", "strategy of node policy must be one of auto, blend"),
        ("strategy", "rtc", "needs APT's diffusion expert"),
    ],
)
def test_a_parameter_out_of_its_range_is_refused_by_its_name(
    make_policy, parameter, value, sentence
):
    with pytest.raises(ParameterError, match=sentence):
        make_policy(tap_contract(), **{parameter: value})


def test_a_server_that_is_gone_slow_or_lies_holds_the_arm_and_later_it_goes_on(make_policy):
    slow, far = Served(), Chunk(np.float32([[0.01, 0, 0, 0, 0, 0, 1]]), 0.2, np.ones(1))

    def late(_):
        time.sleep(0.6)
        return far

    with served(slow) as address:
        stage, _ = make_policy(checkpoint=address, remote_timeout_s="0.3")
        port = int(address.rpartition(":")[2])
        stage.until(lambda: stage.moved_m > 0.008)
        slow.answer = late
        stage.until_held("no answer within 0.3 s")
        slow.answer = None
        stage.until_further()
        slow.chunk = Chunk(np.zeros((1, 6), np.float32), 0.2, np.zeros(1))
        stage.until_held("the arm gets nothing of it")
        slow.chunk = far
        stage.until_further()
    stage.until_held(f"policy server ws://127.0.0.1:{port}")
    rested_m = stage.moved_m
    stage.let_pass(0.3)
    assert stage.moved_m == rested_m
    with served(Served(), port):
        stage.until_further()
    assert stage.node.acting
    far_runner = stage.node._runner
    stage.node.close()
    with pytest.raises(RemoteError, match="was closed"):
        far_runner.act(None)


@pytest.mark.skipif(do_task_type() is None, reason="vla_ros_msgs is not built: run `make setup`")
def test_a_task_cancelled_in_mid_grasp_leaves_the_gripper_closed_where_it_is(make_policy):
    stage, runner = make_policy(tap_contract(), task="''")
    goals = ActionClient(stage.driver, do_task_type(), qos.DO_TASK_ACTION)
    stage.until(goals.server_is_ready)
    sent = goals.send_goal_async(do_task_type().Goal(task="grasp the carrot"))
    stage.until(sent.done)
    commanded = lambda: stage.node.arm.commanded  # noqa: E731
    stage.until(lambda: stage.moved_m > 0.02 and commanded()[1] == 0.0)
    assert not stage.node.arm.at_rest
    cancelled_m = stage.moved_m
    sent.result().cancel_goal_async()
    asked = sent.result().get_result_async()
    stage.until(asked.done)
    assert asked.result().result.outcome == Outcome.CANCELLED
    rested_m = stage.moved_m
    stage.let_pass(0.3)
    assert stage.node.arm.at_rest
    assert (stage.moved_m, commanded()[1]) == (rested_m, 0.0)
    assert rested_m - cancelled_m < 0.03
    assert runner.seen[-1].task == "grasp the carrot"
