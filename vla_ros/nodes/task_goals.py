"""Tasks as goals of an action: who asks, who judges, and the mission that carries them out.

The seam to the node that acts is narrow: it runs an episode until a `TaskRun` is over, for which
`TaskGoals.facts` says what is known, and tells how far it is.
"""

import time
from collections.abc import Callable, Generator
from dataclasses import dataclass

from std_srvs.srv import SetBool

from vla_ros.core import arm
from vla_ros.core.errors import EpisodeError, SafetyError
from vla_ros.core.task_run import Ending, Facts, Outcome, PersonJudge, SimJudge, TaskRun
from vla_ros.nodes import qos
from vla_ros.nodes.commander import CommanderNode
from vla_ros.nodes.episodes import Steps
from vla_ros.nodes.task_server import Goal, Progress, TaskServer, build_sentence, do_task_type


@dataclass(frozen=True)
class Acting:
    """What the node that acts does for goals.

    Attributes:
        set_task: takes an instruction; empty: there is none now.
        episode: runs the episode of an id until a run is over, and ends its recording.
        counts: the steps taken in this episode, and what the last inference took [ms].
        held: why the node holds the arm while it acts; empty where it does not.
        interrupted: why the arm is held while it acts, for what came of nothing that it did.
        pauses: whether it rests to look after the arm.
    """

    set_task: Callable[[str], None]
    episode: Callable[[str, TaskRun], Steps]
    counts: Callable[[], tuple[int, float]]
    held: Callable[[], str]
    interrupted: Callable[[], str]
    pauses: Callable[[], bool]


class TaskGoals:
    """Carries out the goals of /vla/do_task, one at a time.

    It also serves /vla/judge (std_srvs/SetBool), by which a person says of any episode that its
    task is done, or will not be.

    Args:
        node: the node to live in.
        time_limit_s: of goals without one of their own [s].
        acting: what the node does for them.
        refusal: why the node takes none now, beside what every node would say; empty: it does.
    """

    def __init__(
        self,
        node: CommanderNode,
        time_limit_s: float,
        acting: Acting,
        refusal: Callable[[], str],
    ):
        self._node, self._acting, self._own_refusal = node, acting, refusal
        self._count = self._bags = 0
        self._sim = SimJudge("")
        self._person = PersonJudge("", 0.0)
        # Whether the arm was in its ready pose since it was activated, or stopped.
        self._was_ready = False
        node.create_service(SetBool, qos.JUDGE_SERVICE, self._on_verdict)
        action_type = do_task_type()
        self._server: TaskServer | None = None
        if action_type is None:
            node.get_logger().warning(build_sentence())
        else:
            self._server = TaskServer(
                node, action_type, time_limit_s, self._refusal, self._progress
            )

    @property
    def goal(self) -> Goal | None:
        """The one that is carried out; None: there is none."""
        return self._server.goal if self._server is not None else None

    def judge_anew(self, task: str) -> SimJudge:
        """Begin to judge a task, of whomever; return what the simulator will have said of it."""
        self._sim, self._person = SimJudge(task), PersonJudge(task, time.monotonic())
        return self._sim

    def facts(self, unwanted: str = "") -> Facts:
        """Return what is known now; `unwanted`: why the node wants an end of it, if it does."""
        node, said, judge = self._node, self._person.verdict, ", says a person"
        self._sim.hear(node.task_state)
        if said is None:
            said, judge = self._sim.success or None, ""
        if not unwanted and self.goal is not None and self.goal.is_cancelled:
            unwanted = "cancelled"
        # After a silence the servos are prepared anew: that holds the arm, and stops nothing.
        stopped = node.arm.stop_reason
        is_outside = node.acting and bool(self._acting.interrupted())
        return Facts(
            *(node.now_ns, said, judge, stopped, self._held(), unwanted, is_outside),
            self._acting.pauses(),
        )

    def unless_over(
        self, steps: Steps, run: TaskRun, unwanted: Callable[[], str] = lambda: ""
    ) -> Generator[None, None, bool]:
        """Take the steps; return whether they were done before the run was over."""
        while run.judge(self.facts(unwanted())) is None:
            try:
                next(steps)
            except StopIteration:
                return True
            yield
        steps.close()
        return False

    def serve(self) -> Steps:
        """Carry out goals for ever."""
        node = self._node
        node.get_logger().info(f"there is no task: waiting for goals of {qos.DO_TASK_ACTION}")
        self._was_ready = False
        while True:
            node.phase = "waiting for a goal"
            while self.goal is None:
                node.arm.check_hardware()
                if node.arm.warm_reason:
                    # What it has grasped goes down with it: heat in the motors comes first.
                    yield from node.rest_motors()
                    self._was_ready, node.phase = False, "waiting for a goal"
                # Whoever stopped it may have put it anywhere.
                self._was_ready = self._was_ready and not node.arm.stopped
                yield
            yield from self._carry_out(self.goal)

    def come_to_rest(self, steps: Steps, reason: str, then: Callable[[], None]) -> Steps:
        """Take the node's steps to rest, end what goal there is, then call `then`."""
        yield from steps
        if self.goal is not None:
            self._finish(Ending(Outcome.ERROR, f"the node came to rest: {reason}"))
            # The result goes out before the node ends.
            yield
        then()

    def _carry_out(self, goal: Goal) -> Steps:
        node, acting = self._node, self._acting
        self._bags = len(node.episodes.paths)
        episode_id = f"policy-{self._count:05d}"
        self._count += 1
        acting.set_task(goal.task)
        node.episodes.is_kept = goal.request.record
        try:
            ready = self._get_ready(self._was_ready and not goal.request.from_ready)
            if (yield from self.unless_over(ready, goal.run)):
                yield from acting.episode(episode_id, goal.run)
            yield from node.settle()
        except (EpisodeError, SafetyError) as error:
            # The next goal may fare better; a person reads the sentence in the result.
            yield from node.settle()
            node.episodes.abandon(str(error))
            self._finish(Ending(Outcome.ERROR, str(error)))
        else:
            self._finish(goal.run.ending)
            if goal.run.ending.outcome == Outcome.STOPPED:
                self._was_ready = False
        acting.set_task("")

    def _get_ready(self, goes_on: bool) -> Steps:
        self._node.phase = "preparing"
        yield from self._node.ask_servos()
        if not goes_on:
            yield from self._node.go_to(arm.READY_RAD, 1.0)
            self._was_ready = True

    def _held(self) -> str:
        acting = self._acting
        if self.goal is None:
            # What else holds it in an episode of the node's own, such as a block, is its result.
            return acting.interrupted() if self._node.acting else ""
        return self._node.arm.held_reason or (acting.held() if self._node.acting else "")

    def _finish(self, ending: Ending) -> None:
        goal = self.goal
        if goal is None:
            return
        bag = next(iter(self._node.episodes.paths[self._bags :]), "")
        self._server.finish(ending, self._progress(), bag)
        self._node.get_logger().info(f"{goal.task!r}: {ending.outcome.name}, {ending.message}")

    def _refusal(self) -> str:
        node = self._node
        if node.state != "active" or node.stop_deadline_s is not None:
            return f"node {node.get_name()} is not active ({node.phase}): activate it first"
        if refusal := self._own_refusal():
            return refusal
        if node.arm.stopped:
            return (
                f"the arm is stopped: {node.arm.blocked_reason}; clear that, then call "
                f"{qos.RESET_STOP_SERVICE}"
            )
        return ""

    def _progress(self) -> Progress:
        run, node = self.goal.run, self._node
        if not run.has_begun:
            return Progress("preparing", self._held() or node.phase)
        steps, inference_ms = self._acting.counts()
        held = self._held() if node.acting else ""
        state = "holding" if held else "acting" if node.acting else "ending"
        return Progress(state, held, run.elapsed_s, steps, inference_ms)

    def _on_verdict(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        response.success, response.message = (
            self._person.hear(request.data, time.monotonic())
            if self._node.acting
            else (False, "no policy acts now")
        )
        return response
