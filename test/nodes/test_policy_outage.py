"""policy_node in this process, while the server of its policy is away."""

import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from vla_ros.core.contract import tap_contract  # noqa: E402
from vla_ros.core.errors import RemoteError, RunnerError  # noqa: E402
from vla_ros.nodes import policy  # noqa: E402


def test_an_outage_ends_an_episode_that_does_not_count_and_none_begins_until_it_is_over(
    make_policy, monkeypatch, tmp_path
):
    monkeypatch.setattr(policy, "HELD_LIMIT_S", 0.2)
    monkeypatch.setattr(policy, "_ASK_AGAIN_S", 0.05)
    stage, runner = make_policy(tap_contract(), episodes="1")
    stage.until(lambda: stage.moved_m > 0.001)
    runner.raises = RemoteError("the link broke")
    asks = "waiting for the policy's answer: holding: the link broke"
    stage.until(lambda: stage.node.phase == asks)
    rested_m, count = stage.moved_m, len(runner.seen)
    stage.until(lambda: len(runner.seen) > count + 2)
    assert (stage.moved_m, stage.node.episodes.running) == (rested_m, False)
    assert not (tmp_path / "results.json").exists()
    # It is there again; a policy that then fails by itself is no outage.
    runner.raises = RunnerError("out of memory")
    stage.until(lambda: stage.node.episodes.running)
    stage.until_held("out of memory")
    stage.let_pass(0.3)
    assert stage.node.episodes.running
