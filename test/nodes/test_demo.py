"""A scripted demonstration, with an arm and a judge that are told; no graph."""

import types

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")

from vla_ros.nodes.demo import DemoNode


class Scene:
    """What of demo_node one demonstration needs, and how its recording ended."""

    def __init__(self):
        self.parameters = types.SimpleNamespace(task="push", episode_s=30.0)
        self.task_state = {"success": False}
        self.episodes = self._teacher = self
        self.arm = types.SimpleNamespace(stop_reason="", blocked_reason="", stopped=False)
        self.now_ns, self.ends = 0, []
        self._teacher_done = False

    def nothing(self, *_):
        return iter(())

    begin = settle = wait = reset = check = nothing

    def end(self, *how):
        self.ends.append(how)
        return iter(())


@pytest.mark.parametrize(
    ("arm", "end"),
    [
        ({"stop_reason": "a button", "stopped": True}, (None, "stopped: a button")),
        (
            {"blocked_reason": "the driver was silent: ...", "stopped": True},
            (None, "the driver was silent: ..."),
        ),
        # A block is the teacher's: it goes on, here to its time limit.
        ({"blocked_reason": "elbow is blocked"}, (False, "time limit")),
    ],
)
def test_a_demonstration_that_was_cut_is_no_failure_and_says_who_cut_it(arm, end):
    scene = Scene()
    steps = DemoNode._attempt(scene, "demo-00000")
    next(steps)
    vars(scene.arm).update(arm)
    next(steps, None)
    scene.now_ns = 31 * 10**9
    assert list(steps) == []
    assert scene.ends == [end]


def test_what_a_stop_cut_short_is_no_try_of_the_teachers(capsys):
    scene, said, numbers = Scene(), [None, None, True], []
    scene.parameters = types.SimpleNamespace(episodes=1, tries_per_episode=1)
    scene.until_free = scene.go_to = scene._until_sim = scene._fresh_scene = scene.nothing

    def attempt(episode_id):
        numbers.append(episode_id)
        yield
        return said.pop(0)

    scene._attempt = attempt
    assert list(DemoNode._scripted(scene)) == [None] * 3
    assert numbers == ["demo-00000", "demo-00001", "demo-00002"]
    assert capsys.readouterr().out == "demo: 1 demonstrations in 1 tries\n"
