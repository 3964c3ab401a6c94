"""Goals of another node: one at a time, followed, cancelled, judged, and ended with a reason."""

import re
import time
from dataclasses import dataclass

import numpy as np
import pytest

rclpy = pytest.importorskip("rclpy")
pytest.importorskip("interbotix_xs_msgs")
pytestmark = pytest.mark.ros

from action_msgs.msg import GoalStatus  # noqa: E402
from rclpy.action import ActionClient  # noqa: E402
from rclpy.node import Node  # noqa: E402
from std_msgs.msg import String  # noqa: E402
from std_srvs.srv import SetBool  # noqa: E402

from vla_ros.core import arm, task_run  # noqa: E402
from vla_ros.core.episode import EpisodeEvent  # noqa: E402
from vla_ros.core.errors import EpisodeError  # noqa: E402
from vla_ros.core.task_run import Outcome  # noqa: E402
from vla_ros.nodes import lifetime, qos, task_goals, task_server  # noqa: E402
from vla_ros.nodes.commander import CommanderNode, CommanderParameters  # noqa: E402
from vla_ros.nodes.params import parameter  # noqa: E402
from vla_ros.nodes.task_goals import Acting, TaskGoals  # noqa: E402

DoTask = task_server.do_task_type()
if DoTask is None:
    pytest.skip("vla_ros_msgs is not built", allow_module_level=True)

LIMIT_S = 30.0


@dataclass(frozen=True)
class ActorParameters(CommanderParameters):
    record: bool = parameter(False, "Nobody records here.")


class Actor(CommanderNode):
    """Counts the looks at an arm that it does not move."""

    def __init__(self):
        super().__init__("policy", "policy", ActorParameters)
        self.tasks, self.kept, self.steps = [], [], 0
        self.held = self.busy = self.fault = ""

    def configure(self):
        super().configure()
        counts, held = lambda: (self.steps, 12.5), lambda: self.held
        others = lambda: "", lambda: False
        acting = Acting(self.tasks.append, self.episode, counts, held, *others)
        self.goals = TaskGoals(self, 30.0, acting, lambda: self.busy)

    def mission(self):
        yield from self.until_active()
        yield from self.goals.serve()

    def _steps_to_rest(self, reason, then):
        steps = super()._steps_to_rest(reason, lambda: None)
        return self.goals.come_to_rest(steps, reason, then)

    def episode(self, episode_id, run):
        self.kept.append(self.episodes.is_kept)
        yield from self.episodes.begin(episode_id, self.tasks[-1])
        self.steps = 0
        self.goals.judge_anew(self.tasks[-1])
        run.begin()
        self.acting = True
        while run.judge(self.goals.facts()) is None:
            self.steps += 1
            if self.fault:
                raise EpisodeError(self.fault)
            yield
        yield from self.settle()
        yield from self.episodes.end(None, run.ending.message)
        if self.kept[-1]:
            self.episodes.paths.append(f"/bags/{episode_id}")


class Stage:
    def __init__(self, driver):
        self.node, self.client, self.driver = Actor(), Node("client"), driver
        self.actions = ActionClient(self.client, DoTask, qos.DO_TASK_ACTION)
        self.executor = lifetime._executor()
        for node in (self.node, self.client, driver):
            self.executor.add_node(node)
        self.said, self.events = [], []
        self.client.create_subscription(String, qos.EPISODE_TOPIC, self.hear, qos.EPISODE)
        self.node.bring_up()
        self.until(lambda: self.node.arm.active and self.actions.server_is_ready())

    def hear(self, message):
        self.events.append(EpisodeEvent.from_json(message.data))

    def until_discarded(self):
        self.until(lambda: self.events and self.events[-1].event == "end")
        assert self.events[-1].reason == "discard"

    def until(self, condition):
        deadline = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < deadline
            self.executor.spin_once(timeout_sec=0.05)

    def send(self, task, **goal):
        """Return the handle of a goal, accepted as each is."""
        self.said.clear()
        future = self.actions.send_goal_async(
            DoTask.Goal(task=task, **goal), lambda message: self.said.append(message.feedback)
        )
        self.until(future.done)
        assert future.result().accepted
        return future.result()

    def result(self, handle):
        """Return (status, result) of a goal."""
        future = handle.get_result_async()
        self.until(future.done)
        return future.result().status, future.result().result

    def refused(self, task, **goal):
        """Return the sentence of a goal that is refused."""
        status, result = self.result(self.send(task, **goal))
        assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, Outcome.REFUSED)
        assert (result.steps, result.elapsed_s, result.bag) == (0, 0.0, "")
        return result.message

    def acts(self):
        return self.node.acting and self.node.steps > 3

    def is_under_way(self):
        return self.node.arm.active and 0.1 < self.node.arm.commanded[0][0] < 0.5

    def close(self):
        self.executor.shutdown()
        self.node.close()
        for node in (self.node, self.client, self.driver):
            node.destroy_node()


@pytest.fixture
def stage(ros, make_driver, monkeypatch):
    monkeypatch.setattr(task_server, "_FEEDBACK_PERIOD_S", 0.05)
    monkeypatch.setattr(task_server, "HELD_LIMIT_S", 0.6)
    monkeypatch.setattr(task_run, "_VERDICT_AFTER_S", 0.0)
    ros()
    made = Stage(make_driver())
    yield made
    made.close()


def test_the_numbers_are_those_of_the_action():
    assert {item.name: int(item) for item in Outcome} == {
        name: getattr(DoTask.Result, name) for name in Outcome.__members__
    }


def test_a_goal_is_followed_cancelled_and_the_next_one_is_judged_by_a_person(stage):
    first = stage.send("put the carrot on the plate", record=False)
    stage.until(stage.acts)
    stage.until(lambda: stage.said and stage.said[-1].state == DoTask.Feedback.ACTING)
    said = stage.said[-1]
    assert (said.message, said.inference_ms, said.steps > 0) == ("", 12.5, True)
    assert "'put the carrot on the plate' is still being carried out" in stage.refused("push")
    first.cancel_goal_async()
    status, result = stage.result(first)
    assert (status, result.outcome) == (GoalStatus.STATUS_CANCELED, DoTask.Result.CANCELLED)
    assert (result.message, result.bag, stage.node.kept) == ("cancelled", "", [False])
    assert result.steps == stage.node.steps
    assert 0.0 < result.elapsed_s < LIMIT_S
    assert not stage.node.acting
    assert stage.node.arm.at_rest

    second = stage.send("push the apple to the left", time_limit_s=600.0)
    stage.until(stage.acts)
    judge = stage.client.create_client(SetBool, qos.JUDGE_SERVICE)
    stage.until(judge.service_is_ready)
    given = judge.call_async(SetBool.Request(data=True))
    status, result = stage.result(second)
    stage.until(given.done)
    assert given.result().message == "'push the apple to the left' is judged as done"
    assert (status, result.outcome) == (GoalStatus.STATUS_SUCCEEDED, DoTask.Result.SUCCEEDED)
    assert (result.message, result.bag) == ("task done, says a person", "/bags/policy-00001")
    # Each is over before the next one begins, and leaves no task behind.
    stage.until(lambda: stage.node.phase == "waiting for a goal")
    tasks = ["put the carrot on the plate", "", "push the apple to the left", ""]
    assert (stage.node.tasks, stage.node.kept) == (tasks, [False, True])
    late = judge.call_async(SetBool.Request(data=True))
    stage.until(late.done)
    assert (late.result().success, late.result().message) == (False, "no policy acts now")

    assert "the task is empty" in stage.refused(" ")
    assert "up to 1000 characters, got 10000" in stage.refused("g" * 10_000)
    assert "U+001B" in stage.refused("go \x1b[2J")
    assert "above 0 s, up to 86400 s, got -1" in stage.refused("go", time_limit_s=-1.0)
    stage.node.busy = "it does something else"
    assert stage.refused("{task: [yes]}") == "it does something else"


def test_what_keeps_the_arm_from_moving_ends_a_goal_with_its_reason(stage, monkeypatch):
    status, result = stage.result(stage.send("push", time_limit_s=0.1))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, DoTask.Result.TIME_LIMIT)
    assert result.elapsed_s >= 0.1

    held = stage.send("push")
    stage.until(stage.acts)
    stage.node.held = "no answer from the network"
    stage.until(lambda: stage.said and stage.said[-1].state == DoTask.Feedback.HOLDING)
    assert stage.said[-1].message == "no answer from the network"
    stage.node.held = ""
    stage.node.arm.need_camera("front", 0.1)
    status, result = stage.result(held)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, DoTask.Result.HELD)
    assert re.match(r"the arm was held for 0\.6 s: .*camera front", result.message)
    stage.node.arm.need_camera("front", None)

    refused = stage.send("push")
    stage.until(stage.acts)
    stage.node.arm.set_target(np.full(6, np.nan), 1.0)
    assert "0.6 s: a target was refused" in stage.result(refused)[1].message
    stage.node.fault = "the disk is full"
    status, result = stage.result(stage.send("push", record=False))
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, DoTask.Result.ERROR)
    stage.until_discarded()
    # No bag of an earlier goal either.
    assert (result.message, result.bag) == ("the disk is full", "")

    stage.node.fault = ""
    stopped = stage.send("push")
    stage.until(stage.acts)
    stage.node.arm._estop.stop("a button")
    status, result = stage.result(stopped)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, DoTask.Result.STOPPED)
    assert result.message == "the arm was stopped: a button"
    assert "/vla/reset_stop" in stage.refused("push")
    stage.node.arm._loop.reset_stop()
    stage.until(lambda: not stage.node.arm.blocked_reason)

    # Whoever stopped it may have moved it: it goes to the ready pose before it acts.
    ways = []
    go_to = stage.node.go_to
    monkeypatch.setattr(stage.node, "go_to", lambda *way: ways.append(way[1]) or go_to(*way))
    last = stage.send("push", record=False)
    stage.until(stage.acts)
    assert ways == [1.0]
    stage.node.trigger_deactivate()
    status, result = stage.result(last)
    assert (status, result.outcome) == (GoalStatus.STATUS_ABORTED, DoTask.Result.ERROR)
    assert result.message == "the node came to rest: deactivated"
    stage.until_discarded()
    assert "is not active" in stage.refused("push")

    # Activated anew, it goes to its ready pose first, and a cancel holds it on the way.
    stage.until(lambda: not stage.node.arm.active)
    stage.driver.position[0] += 0.6
    stage.until(lambda: stage.node.trigger_activate() == lifetime._SUCCESS)
    early = stage.send("push")
    stage.until(lambda: stage.is_under_way() and stage.said)
    assert stage.said[-1].state == DoTask.Feedback.PREPARING
    early.cancel_goal_async()
    status, result = stage.result(early)
    assert (status, result.outcome) == (GoalStatus.STATUS_CANCELED, DoTask.Result.CANCELLED)
    assert (result.steps, result.elapsed_s) == (0, 0.0)
    assert stage.is_under_way()
    assert stage.node.arm.at_rest
    # It never came there, so the next one does.
    again = stage.send("push")
    stage.until(stage.acts)
    np.testing.assert_allclose(stage.node.arm.commanded[0], arm.READY_RAD, atol=1e-6)
    stage.node.begin_stop()
    assert stage.result(again)[1].message == "the node came to rest: stopped"


def test_without_the_package_the_node_says_how_to_build_it_and_runs(ros, make_driver, monkeypatch):
    monkeypatch.setattr(task_goals, "do_task_type", lambda: None)
    ros()
    node, said = Actor(), []
    monkeypatch.setattr(type(node.get_logger()), "warning", lambda _, text: said.append(text))
    assert node.trigger_configure() == lifetime._SUCCESS
    assert [text for text in said if "colcon build --base-paths src src/vla_ros/" in text]
    assert node.goals.goal is None
    node.close()
    node.destroy_node()
