"""Which task a policy is to do now: by parameter, by topic, one after the other."""

from collections import deque
from collections.abc import Callable

from std_msgs.msg import String

from vla_ros.core.errors import VlaError
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode
from vla_ros.nodes.params import ParameterError
from vla_ros.nodes.policy_parameters import require_task


class TaskInput:
    """Listens on /vla/task, and tells what is new.

    Args:
        node: the node to live in.
        task: the first one; empty: there is none.
        say: publishes a task of this node's own for others, the simulator's judge among them; None:
            nobody is told.
        changed: called when there is another task.
        is_open: whether tasks by parameter and topic are taken, or only those that are given.

    Attributes:
        text: the task; empty where none is to be done.

    Raises:
        ParameterError: the first task is no instruction.
    """

    def __init__(
        self,
        node: ShellNode,
        task: str,
        say: Callable[[str], None] | None,
        changed: Callable[[], None],
        is_open: bool = True,
    ):
        if task.strip():
            require_task(task)
        self._logger, self._say, self._changed = node.get_logger(), say, changed
        self._said: deque[str] = deque()
        self._is_open = is_open
        self.text = task
        node.create_subscription(String, qos.TASK_TOPIC, self._on_task, qos.TASK)
        self._tell()

    def set(self, task: str) -> None:
        """Do another task from now on, and tell others; none where it is empty.

        Raises:
            ParameterError: it is no instruction, or only those that are given are taken.
        """
        self._require_open()
        self.give(task)

    def give(self, task: str) -> None:
        """Do as `set` does, for a goal of the action."""
        self._take(task)
        self._tell()

    def _require_open(self) -> None:
        if not self._is_open:
            raise ParameterError(
                f"this node's tasks are the goals of {qos.DO_TASK_ACTION}: send one there, or "
                "start the node with a task"
            )

    def _tell(self) -> None:
        if self._say is not None:
            self._say(self.text)
            self._said.append(self.text)

    def _on_task(self, message: String) -> None:
        if self._said and message.data == self._said[0]:
            self._said.popleft()  # what this node said itself
            return
        self._said.clear()
        try:
            self._require_open()
            self._take(message.data)
        except VlaError as error:
            self._logger.error(f"a task on {qos.TASK_TOPIC} is not taken: {error}")

    def _take(self, task: str) -> None:
        task = task if task.strip() else ""
        if task == self.text:
            return
        if task:
            require_task(task)
        self.text = task
        self._logger.info(f"new task: {task}" if task else "no task: holding")
        self._changed()
