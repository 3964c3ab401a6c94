"""The commander's half of the episode handshake with the recorder."""

import time
from collections.abc import Callable, Generator

from rclpy.duration import Duration
from std_msgs.msg import String

from vla_ros.core.episode import EpisodeEvent, RecordingState
from vla_ros.core.errors import EpisodeError
from vla_ros.nodes import qos
from vla_ros.nodes.lifetime import ShellNode

Steps = Generator[None, None, None]

# The recorder has nothing more to say about an episode in one of these states.
_OVER = ("saved", "discarded", "failed")
# Without a publisher on /vla/recording for so long the recorder is gone [s, wall].
_GONE_S = 2.0
# How often the graph is asked who publishes there [s, wall].
_LOOK_S = 0.5
# How long a last event may take to reach the recorder [s].
_FLUSH_S = 0.5


class RecorderGoneError(EpisodeError):
    """There was a recorder, and now there is none."""


class RecordingCutError(EpisodeError):
    """The recorder ended, or refused, a recording that was to go on."""


class Episodes:
    """Says when an episode starts and ends, and waits for the recorder where there is one.

    Args:
        node: the node that moves the arm.
        kind: "play", "demo" or "policy".
        record: whether a recorder must take part.
        recorder_wait_s: how long it may take to appear, and to answer [s, wall time].

    Attributes:
        paths: the folders of the bags that were saved.
        settings: what `EpisodeEvent.settings` says of each episode.
        is_kept: whether a bag is kept, however its episode ends.
    """

    def __init__(self, node: ShellNode, kind: str, record: bool, recorder_wait_s: float):
        self._node = node
        self._kind = kind
        self._record = record
        self._wait_s = recorder_wait_s
        self._state = RecordingState()
        self._current: EpisodeEvent | None = None
        self._present_s: float | None = None
        self._look_s = 0.0
        self.paths: list[str] = []
        self.settings: dict = {}
        self.is_kept = True
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
            RecorderGoneError: the recorder went away.
            RecordingCutError: it cannot record; the sentence says why.
            EpisodeError: there is none, or it does not answer.
        """
        if self._record:
            yield from self._until(
                lambda: self._events.get_subscription_count() > 0,
                f"no recorder listens on {qos.EPISODE_TOPIC}; start recorder_node, or set record "
                "to false",
            )
        # What was said before is about an earlier episode, if of the same name.
        self._state = RecordingState()
        start = EpisodeEvent("start", episode_id, self._kind, task, settings=self.settings)
        self._current = start
        self._events.publish(String(data=self._current.to_json()))
        if not self._record:
            return
        try:
            yield from self._until(
                lambda: self._is_recording(episode_id),
                f"the recorder did not start episode {episode_id}; see its log",
            )
        except EpisodeError:
            self._say_end(None, "the recording did not start")
            raise

    def check(self) -> None:
        """Make sure that the running episode is still being recorded; fine where none runs.

        Raises:
            RecorderGoneError: the recorder is gone.
            RecordingCutError: it ended this recording by itself.
        """
        if not self._record or self._current is None:
            return
        self._require_recorder()
        said, running = self._state, self._current.episode_id
        if said.episode_id != running or said.state != "recording":
            # Cut by the recorder, or forgotten by one that was started anew.
            self._current = None
            if said.episode_id == running and said.path:
                self.paths.append(said.path)
            raise _cut(running, said)

    def end(self, success: bool | None, reason: str) -> Steps:
        """End the running episode; done once its bag is saved.

        Raises:
            RecordingCutError: the recorder had ended it before it heard of this, so that the bag
                says another thing.
            EpisodeError: the recorder failed, does not answer, or is gone.
        """
        if self._current is None:
            return
        episode_id = self._current.episode_id
        self._say_end(success, reason)
        if not self._record:
            return
        yield from self._until(
            lambda: self._state.episode_id == episode_id and self._state.state in _OVER,
            f"the recorder did not confirm episode {episode_id}; see its log",
        )
        said = self._state
        if said.state == "failed":
            raise RecordingCutError(f"recording {episode_id} failed: {said.detail}")
        if said.path:
            self.paths.append(said.path)
        # It says so in its detail; of a bag that nobody judged, and is kept, nothing is lost.
        if said.detail and (success is not None or not self.is_kept):
            raise _cut(episode_id, said)

    def abandon(self, reason: str) -> None:
        """End the running episode, if there is one, without waiting for anybody."""
        if self._current is not None and self._node.context.ok():
            self._say_end(None, reason)

    def flush(self) -> None:
        """Wait for a moment until the recorder has what was said: for where the process may end.

        Commands would wait, too.
        """
        if self._node.context.ok():
            self._events.wait_for_all_acked(Duration(seconds=_FLUSH_S))

    def _say_end(self, success: bool | None, reason: str) -> None:
        start, self._current = self._current, None
        reason = reason if self.is_kept else "discard"
        self._events.publish(String(data=start.ended(success, reason).to_json()))

    def _is_recording(self, episode_id: str) -> bool:
        if self._state.episode_id != episode_id:
            return False
        # "saved" would be that of an earlier run, whose names were the same.
        if self._state.state == "failed":
            raise RecordingCutError(f"recording {episode_id} failed: {self._state.detail}")
        return self._state.state == "recording"

    def _until(self, condition: Callable[[], bool], sentence: str) -> Steps:
        deadline = time.monotonic() + self._wait_s
        while not condition():
            self._require_recorder()
            if time.monotonic() > deadline:
                raise EpisodeError(f"{sentence} (waited {self._wait_s:g} s)")
            yield

    def _require_recorder(self) -> None:
        """Raise where a recorder was there and is not any more."""
        now_s = time.monotonic()
        if now_s < self._look_s:
            return
        self._look_s = now_s + _LOOK_S
        if self._node.count_publishers(qos.RECORDING_TOPIC):
            self._present_s = now_s
        elif self._present_s is not None and now_s - self._present_s > _GONE_S:
            raise RecorderGoneError(
                f"the recorder is gone: nobody publishes {qos.RECORDING_TOPIC} any more; see its "
                "log, and start it again"
            )

    def _on_recording(self, message: String) -> None:
        self._state = RecordingState.from_json(message.data)


def _cut(episode_id: str, said: RecordingState) -> RecordingCutError:
    detail = said.detail or "see its log"
    return RecordingCutError(f"the recorder ended {episode_id} ({said.state}): {detail}")
