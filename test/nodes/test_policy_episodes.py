"""Where a policy's episodes begin, with an arm that is told; no graph."""

import types

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")

from vla_ros.core.task_run import Outcome
from vla_ros.nodes.mission import MissionNode
from vla_ros.nodes.policy import PolicyNode


class Scene:
    """What of policy_node its episodes need: each is ended by another task."""

    def __init__(self):
        self.parameters = types.SimpleNamespace(episodes=0, episode_s=30.0)
        self.arm = types.SimpleNamespace(
            stopped=False, stop_reason="", blocked_reason="", warm_reason=""
        )
        self._task, self._waits = types.SimpleNamespace(text="push"), self
        self.scene_can_reset, self.phase, self.did = False, "", []

    def until_free(self):
        return (yield from MissionNode.until_free(self))

    def nothing(self, *_):
        yield from ()
        return False

    until_answered = until_let = ask_servos = nothing

    def go_to(self, *_):
        self.did.append("ready")
        yield

    def rest_motors(self):
        self.did.append("rest")
        self.arm.warm_reason = ""
        yield

    def _episode(self, _, run):
        self.did.append("episode")
        run.end(Outcome.CANCELLED, "another task")
        yield

    def after(self, steps, count=4):
        """Return what was done in so many steps."""
        self.did.clear()
        for _ in range(count):
            next(steps)
        return self.did


def test_another_task_goes_on_from_where_the_arm_is_unless_somebody_stopped_it():
    scene = Scene()
    steps = PolicyNode._episodes(scene)
    assert scene.after(steps) == ["ready", "episode", "episode", "episode"]
    scene.arm.stopped = True
    assert scene.after(steps) == []
    scene.arm.stopped = False
    assert scene.after(steps) == ["ready", "episode", "episode", "episode"]
    # While it waits for a task, too, and the motors are looked after.
    scene._task.text = ""
    assert scene.after(steps) == []
    assert scene.phase == "waiting for a task"
    scene.arm.warm_reason = "shoulder is at 71 degrees"
    assert scene.after(steps) == ["rest"]
    scene._task.text = "push"
    assert scene.after(steps) == ["ready", "episode", "episode", "episode"]
    scene._task.text = ""
    scene.after(steps)
    scene.arm.stopped = True
    assert scene.after(steps) == []
    scene.arm.stopped, scene._task.text = False, "lift"
    assert scene.after(steps)[0] == "ready"
