"""The action /vla/do_task: another node gives tasks, follows them, cancels them, and chains them.

One goal at a time. An action has no way to say why a goal is rejected, so every goal is accepted,
and one that cannot begin is aborted at once, with the reason in its result.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.action import ActionServer, CancelResponse
from rclpy.action.server import GoalEvent
from rclpy.clock import Clock, ClockType

from vla_ros.core.errors import VlaError
from vla_ros.core.task_run import HELD_LIMIT_S, Ending, Outcome, TaskRun
from vla_ros.core.task_text import TaskError, checked_task
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode

_FEEDBACK_PERIOD_S = 0.5


@dataclass(frozen=True)
class Progress:
    """How far a roll-out is.

    Attributes:
        state: one of "preparing", "acting", "holding", "ending".
        message: why it is held; else empty.
        elapsed_s: since the first command [s].
        steps: of the policy so far.
        inference_ms: what the last inference took [ms]; 0 before the first.
    """

    state: str = "preparing"
    message: str = ""
    elapsed_s: float = 0.0
    steps: int = 0
    inference_ms: float = 0.0


@dataclass(frozen=True, eq=False)
class Goal:
    """What a client asks for.

    Attributes:
        handle: rclpy's.
        task: the instruction.
        run: when it is over.
    """

    handle: Any
    task: str
    run: TaskRun

    @property
    def request(self) -> Any:
        """The action's goal, as it was sent."""
        return self.handle.request

    @property
    def is_cancelled(self) -> bool:
        """Whether a client has cancelled it."""
        return self.handle.is_cancel_requested


def do_task_type() -> Any:
    """Return the action's type, None where vla_ros_msgs is not built."""
    try:
        from vla_ros_msgs.action import DoTask
    except ImportError:
        return None
    return DoTask


def build_sentence() -> str:
    """Return why there is no action, and how to get it."""
    return (
        f"there is no action {qos.DO_TASK_ACTION}, because the package vla_ros_msgs is not built: "
        "`make setup` builds it, and in a workspace with this checkout as src/vla_ros `colcon "
        "build --base-paths src src/vla_ros/vla_ros_msgs`"
    )


class TaskServer:
    """Takes goals; who carries them out looks at `goal`, and says by `finish` what came of it.

    Args:
        node: the node to live in.
        action_type: what `do_task_type` returned.
        time_limit_s: of a goal that has none of its own [s].
        refusal: why no goal can begin now; empty where one can.
        progress: how far the running one is.

    Attributes:
        goal: the one that runs; None: there is none.
    """

    def __init__(
        self,
        node: ShellNode,
        action_type: Any,
        time_limit_s: float,
        refusal: Callable[[], str],
        progress: Callable[[], Progress],
    ):
        self._node, self._type = node, action_type
        self._time_limit_s = time_limit_s
        self._refusal, self._progress = refusal, progress
        self.goal: Goal | None = None
        self._server = ActionServer(
            *(node, action_type, qos.DO_TASK_ACTION),
            # Not called: rclpy would run a coroutine that waits again and again, on a whole core.
            execute_callback=lambda handle: None,
            handle_accepted_callback=node.guarded(self._on_accepted),
            cancel_callback=self._on_cancel,
        )
        node.undo_at_cleanup(self._server.destroy)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        node.create_timer(_FEEDBACK_PERIOD_S, self._say_progress, clock=steady)

    def finish(self, ending: Ending, progress: Progress, bag: str = "") -> None:
        """End the running goal, if there is one; its result goes out with the next callbacks."""
        if self.goal is not None:
            goal, self.goal = self.goal, None
            self._end(goal.handle, ending, progress, bag)

    def _on_accepted(self, handle: Any) -> None:
        # Not public, but without it only a coroutine gets a goal to the state that it is in.
        handle._update_state(GoalEvent.EXECUTE)
        try:
            self.goal = self._checked(handle)
        except VlaError as error:
            self._node.get_logger().warning(f"a task was refused: {error}")
            self._end(handle, Ending(Outcome.REFUSED, str(error)), Progress(), "")

    def _checked(self, handle: Any) -> Goal:
        """Return the goal; raises TaskError where it cannot begin."""
        task = checked_task(handle.request.task)
        run = TaskRun(handle.request.time_limit_s or self._time_limit_s, HELD_LIMIT_S)
        if self.goal is not None:
            doing = "cancelled" if self.goal.is_cancelled else "carried out"
            raise TaskError(
                f"the task {self.goal.task!r} is still being {doing}: wait for its result, or "
                "cancel it first"
            )
        if refusal := self._refusal():
            raise TaskError(refusal)
        return Goal(handle, task, run)

    def _on_cancel(self, handle: Any) -> CancelResponse:
        is_running = self.goal is not None and handle == self.goal.handle
        return CancelResponse.ACCEPT if is_running else CancelResponse.REJECT

    def _end(self, handle: Any, ending: Ending, progress: Progress, bag: str) -> None:
        result = self._type.Result(
            outcome=int(ending.outcome),
            message=ending.message,
            steps=progress.steps,
            elapsed_s=progress.elapsed_s,
            bag=bag,
        )
        if ending.outcome == Outcome.SUCCEEDED:
            handle.succeed()
        elif ending.outcome == Outcome.CANCELLED and handle.is_cancel_requested:
            handle.canceled()
        else:
            handle.abort()
        self._server.notify_execute(handle, lambda _: result)

    def _say_progress(self) -> None:
        if self.goal is None:
            return
        said = self._progress()
        feedback = self._type.Feedback(
            state=getattr(self._type.Feedback, said.state.upper()),
            message=said.message,
            elapsed_s=said.elapsed_s,
            steps=said.steps,
            inference_ms=said.inference_ms,
        )
        self.goal.handle.publish_feedback(feedback)
