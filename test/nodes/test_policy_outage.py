"""policy_node in this process, while its policy is away, or sees nothing."""

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from vla_ros.core.contract import tap_contract  # noqa: E402
from vla_ros.core.errors import PictureError, RemoteError, RunnerError  # noqa: E402
from vla_ros.nodes import policy, policy_waits  # noqa: E402
from vla_ros.nodes.mission import MissionNode  # noqa: E402


def test_an_outage_ends_an_episode_that_does_not_count_and_none_begins_until_it_is_over(
    make_policy, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy, "HELD_LIMIT_S", 0.2)
    monkeypatch.setattr(policy_waits, "_ASK_AGAIN_S", 0.05)

    def settle(node):
        yield from MissionNode.settle(node)
        # As long as a bag takes: that it was held is not known from the arm any more.
        yield from node.wait_steady(0.1)

    monkeypatch.setattr(policy.PolicyNode, "settle", settle)
    stage, runner = make_policy(tap_contract(), episodes="1")
    stage.until(lambda: stage.moved_m > 0.001)
    # Its camera is unplugged, and back.
    stage.is_filming = False
    stage.until(lambda: "the last picture of camera front is" in stage.node.phase)
    count = len(runner.seen)
    stage.let_pass(0.2)
    assert (len(runner.seen), stage.node.episodes.running) == (count, False)
    stage.is_filming = True
    stage.until(lambda: stage.node.acting)
    stage.until_further()
    # Its server is away, and back.
    runner.raises = RemoteError("the link broke")
    asks = "waiting for the policy's answer: the link broke"
    stage.until(lambda: stage.node.phase == asks)
    rested_m, count = stage.moved_m, len(runner.seen)
    stage.until(lambda: len(runner.seen) > count + 2)
    assert (stage.moved_m, stage.node.episodes.running) == (rested_m, False)
    assert not (tmp_path / "results.json").exists()
    # It is there again, and its camera sends what is no picture.
    runner.raises = PictureError("no picture in it")
    stage.until(lambda: stage.node.phase == "waiting for the policy's answer: no picture in it")
    # That is over, too; a policy that then fails by itself is no outage.
    runner.raises = RunnerError("out of memory")
    stage.until(lambda: stage.node.episodes.running)
    stage.until_held("out of memory")
    stage.let_pass(0.3)
    assert stage.node.episodes.running


def test_a_camera_that_stays_frozen_ends_the_node_with_the_arm_parked(
    make_policy, near_cradle, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy, "HELD_LIMIT_S", 0.2)
    monkeypatch.setattr(policy_waits, "_ASK_AGAIN_S", 0.05)
    stage, _ = make_policy(
        tap_contract(), outage_s="1.0", park="true", **{"safety.camera_frozen_rad": "0.05"}
    )
    stage.until(lambda: stage.moved_m > 0.001)
    stage.is_changing = False
    stage.until(stage.node.done.done)
    assert stage.node.done.result() == 1
    said = stage.node.exit_sentence
    assert "(outage_s): camera front shows the same picture" in said
    assert "restart camera_node; see to that, then start the node again" in said
    np.testing.assert_allclose(stage.driver.commands[-1], near_cradle, atol=1e-6)
    # Of several tries none is the policy's failure.
    assert not (tmp_path / "results.json").exists()
