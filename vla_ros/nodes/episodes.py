"""The commander's half of the episode handshake with the recorder."""

import time
from collections.abc import Generator

from std_msgs.msg import String

from vla_ros.core.episode import EpisodeEvent, RecordingState
from vla_ros.core.errors import EpisodeError
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode

Steps = Generator[None, None, None]


class Episodes:
    """Says when an episode starts and ends, and waits for the recorder where there is one.

    Args:
        node: the node that moves the arm.
        kind: "play", "demo" or "policy".
        record: whether a recorder must take part.
        recorder_wait_s: how long it may take to appear, and to answer [s, wall time].
    """

    def __init__(self, node: ShellNode, kind: str, record: bool, recorder_wait_s: float):
        self._node = node
        self._kind = kind
        self._record = record
        self._wait_s = recorder_wait_s
        self._state = RecordingState()
        self._current: EpisodeEvent | None = None
        self.paths: list[str] = []
        self._events = node.create_publisher(String, qos.EPISODE_TOPIC, qos.EPISODE)
        self._tasks = node.create_publisher(String, qos.TASK_TOPIC, qos.LATCHED)
        node.create_subscription(String, qos.RECORDING_TOPIC, self._on_recording, qos.LATCHED)

    @property
    def running(self) -> bool:
        """Whether an episode was started and not yet ended."""
        return self._current is not None

    def say_task(self, task: str) -> None:
        """Publish the instruction, for late joiners too."""
        self._tasks.publish(String(data=task))

    def begin(self, episode_id: str, task: str = "") -> Steps:
        """Start an episode; done once the recorder records it.

        Raises:
            EpisodeError: no recorder, or it cannot record.
        """
        if self._record:
            yield from self._until(
                lambda: self._events.get_subscription_count() > 0,
                f"no recorder listens on {qos.EPISODE_TOPIC}; start recorder_node, or set record "
                "to false",
            )
        self._current = EpisodeEvent("start", episode_id, self._kind, task)
        self._events.publish(String(data=self._current.to_json()))
        if self._record:
            yield from self._until(
                lambda: self._said("recording"),
                f"the recorder did not start episode {episode_id}; see its log",
            )

    def end(self, success: bool | None, reason: str) -> Steps:
        """End the running episode; done once its bag is saved.

        Raises:
            EpisodeError: the recorder failed.
        """
        if self._current is None:
            return
        start, self._current = self._current, None
        event = EpisodeEvent("end", start.episode_id, self._kind, start.task, success, reason)
        self._events.publish(String(data=event.to_json()))
        if self._record:
            yield from self._until(
                lambda: self._said("saved", "discarded", episode_id=start.episode_id),
                f"the recorder did not confirm episode {start.episode_id}; see its log",
            )
            if self._state.path:
                self.paths.append(self._state.path)

    def _said(self, *states: str, episode_id: str = "") -> bool:
        episode_id = episode_id or self._current.episode_id
        if self._state.episode_id != episode_id:
            return False
        if self._state.state == "failed":
            raise EpisodeError(f"recording {episode_id} failed: {self._state.detail}")
        return self._state.state in states

    def _until(self, condition, sentence: str) -> Steps:
        deadline = time.monotonic() + self._wait_s
        while not condition():
            if time.monotonic() > deadline:
                raise EpisodeError(f"{sentence} (waited {self._wait_s:g} s)")
            yield

    def _on_recording(self, message: String) -> None:
        self._state = RecordingState.from_json(message.data)
