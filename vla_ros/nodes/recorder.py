"""recorder_node: one MCAP bag an episode, from serialised messages as they arrived.

The node that moves the arm says on /vla/episode when an episode starts and ends; this one answers
on /vla/recording. An episode is recorded from the moment on at which every topic it needs has
arrived after the start event, never from a guess about discovery. When one of them falls silent
the bag ends there, which the other node sees as a "saved" that it did not ask for.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from rclpy.clock import Clock, ClockType
from rclpy.serialization import deserialize_message, serialize_message
from std_msgs.msg import String

from vla_ros.bags.part import PartFolder
from vla_ros.bags.repair import repair_below
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import BagError, EpisodeError
from vla_ros.nodes import qos
from vla_ros.nodes.diagnostics import Diagnostics
from vla_ros.nodes.disk import SessionDisk
from vla_ros.nodes.episode_bag import EpisodeBag, Topic, choose_writer
from vla_ros.nodes.lifetime import ShellNode, run
from vla_ros.nodes.params import declare
from vla_ros.nodes.recorder_answers import Answers
from vla_ros.nodes.recorder_facts import Provenance
from vla_ros.nodes.recorder_parameters import RecorderParameters
from vla_ros.nodes.recorder_report import TopicReport
from vla_ros.nodes.recorder_topics import Latched, importable, subscribe, topics_to_record

# How long a recorder that was told to stop waits for the commander's end event.
_END_GRACE_S = 1.5
# A kill costs at most _FLUSH_S of a bag.
_WATCH_S, _FLUSH_S, _REPORT_S = 0.2, 1.0, 1.0


class RecorderNode(ShellNode):
    """Subscribes to everything from the start, writes only while an episode runs."""

    def __init__(self):
        super().__init__("recorder")
        self._given = parameters = declare(self, RecorderParameters)
        session = parameters.session or time.strftime("%Y%m%d-%H%M%S", time.gmtime())
        self._session = Path(parameters.out).expanduser() / session
        self._node_clock = self.get_clock()
        self._active = False
        self._bag: EpisodeBag | None = None
        self._bag_start_s = 0.0
        self._start: EpisodeEvent | None = None
        self._missing: set[str] = set()
        self._deadline = 0.0
        self._end_deadline: float | None = None
        self._latched = Latched()
        self._next_flush_s = self._next_report_s = 0.0

    def configure(self) -> None:
        """Listen, and repair meanwhile what was cut off before."""
        parameters = self._given
        required, optional = topics_to_record(
            parameters.robot_name, parameters.cameras, parameters.extra_topics
        )
        optional = importable(optional, self.get_logger().warning)
        self._topics = required + optional
        self._required = {topic.name for topic in required}
        backend, self._make_writer = choose_writer(parameters.backend)
        self._disk = SessionDisk(self._session, parameters.budget)
        # A thread, because a long bag takes longer than a commander waits for its recorder.
        below = [Path(parameters.out).expanduser()], self.get_logger().warning, parameters.budget
        threading.Thread(target=repair_below, args=below, name="bag_repair", daemon=True).start()
        simulated_time = self.get_parameter("use_sim_time").value
        self._report = TopicReport(
            required, optional, parameters.late_s, parameters.silent_s, simulated_time
        )
        self._provenance = Provenance(parameters, backend, simulated_time)
        self._diagnostics = Diagnostics(self, parameters.robot_name)
        self._answers = Answers(self, self._diagnostics)
        for topic in self._topics:
            self._subscribe(topic)
        # Wall time: these bounds hold while simulated time stands still, too.
        self.create_timer(_WATCH_S, self._watch, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def activate(self) -> None:
        """Accept episodes."""
        self._active = True
        self._tell("idle")

    def deactivate(self) -> None:
        """Save the running episode and accept no more."""
        self._active = False
        if self._start is not None:
            self._cut("the recorder was deactivated")

    def _subscribe(self, topic: Topic) -> None:
        report, warn = self._report, self.get_logger().warning
        is_episode = topic.name == qos.EPISODE_TOPIC
        handler = self._on_episode if is_episode else partial(self._on_message, topic)
        subscribe(
            self,
            topic,
            handler,
            on_lost=partial(report.lose, topic.name),
            on_mismatch=lambda policy: warn(report.mismatch(topic.name, policy)),
        )

    def _on_message(self, topic: Topic, data: bytes) -> None:
        name = topic.name
        if topic.latched:
            self._latched.hear(name, bytes(data))
        self._provenance.hear(name, data)
        if self._missing:
            self._missing.discard(name)
            if not self._missing:
                self._begin()
        now_ns = self._node_clock.now().nanoseconds
        self._report.hear(name, data, now_ns, time.monotonic_ns())
        self._write(name, now_ns, data)

    def _on_episode(self, data: bytes) -> None:
        try:
            event = EpisodeEvent.from_json(deserialize_message(bytes(data), String).data)
        except EpisodeError as error:
            self.get_logger().warning(f"an event on {qos.EPISODE_TOPIC} was ignored: {error}")
            return
        if event.event == "start":
            self._on_start(event)
        elif self._start is not None and event.episode_id == self._start.episode_id:
            self._write(qos.EPISODE_TOPIC, self._node_clock.now().nanoseconds, data)
            if self._start is not None:  # else the disk refused it
                self._end(event)

    def _on_start(self, event: EpisodeEvent) -> None:
        if self._start is not None:
            self._cut("another episode started before this one ended")
        if self.exit_sentence:
            self._tell("failed", self.exit_sentence, episode_id=event.episode_id)
        elif not self._active:
            detail = "the recorder is not active; activate it"
            self._tell("failed", detail, episode_id=event.episode_id)
        elif not self._is_out_of_space(event.episode_id):
            self._start = event
            self._missing = set(self._required)
            self._deadline = time.monotonic() + self._given.start_timeout_s
            self._tell("waiting")

    def _begin(self) -> None:
        episode_id, start = self._start.episode_id, self._start.to_json()
        facts = self._provenance.facts() | {"episode": start}
        try:
            name = PartFolder.free_id(self._session, episode_id)
            self._bag = EpisodeBag(self._session, name, self._topics, facts, self._make_writer)
        except BagError as error:
            self._fail_recording(error)
            return
        self._bag_start_s = time.monotonic()
        self._report.begin()
        # Said before this bag was opened, but a reader needs them in each.
        now_ns = self._node_clock.now().nanoseconds
        for topic, data in self._latched.messages():
            self._write(topic, now_ns, data)
        self._write(qos.EPISODE_TOPIC, now_ns, serialize_message(String(data=start)))
        if self._bag is None:  # the disk refused it
            return
        self._tell("recording")
        self.get_logger().info(f"{episode_id}: recording; {self._disk.outlook()}")

    def _write(self, topic: str, time_ns: int, data: bytes) -> None:
        if self._bag is not None:
            self._try(self._bag.write, topic, time_ns, data)

    def _end(self, event: EpisodeEvent, detail: str = "") -> None:
        bag, self._bag = self._bag, None
        try:
            if bag is None:
                self._tell("discarded", "the episode ended before all topics had arrived")
            elif event.reason == "discard":
                bag.discard()
                self._tell("discarded")
            else:
                self._note_size(bag)
                path = bag.save(self._facts(event))
                self._disk.saved(path)
                self._tell("saved", detail, path=str(path.resolve()))
        except BagError as error:
            self._fail_recording(error)
        self._start = None
        self._missing = set()
        if self._end_deadline is not None:
            self.finish(0)

    def _facts(self, event: EpisodeEvent) -> dict[str, str]:
        said = {"episode": event.to_json(), "topics": self._report.to_json()}
        return self._provenance.facts() | said

    def _watch(self) -> None:
        now_s, now_ns = time.monotonic(), self._node_clock.now().nanoseconds
        silent = self._report.look(now_ns, time.monotonic_ns())
        if self._start is None:
            pass
        elif self._end_deadline is not None and now_s > self._end_deadline:
            self._cut("the recorder was stopped")
        elif self.count_publishers(qos.EPISODE_TOPIC) == 0:
            self._cut("the node that moves the arm is gone")
        elif self._missing and now_s > self._deadline:
            self._give_up_waiting()
        elif self._bag is not None and silent:
            self._cut(f"topic {', '.join(silent)} silent")
        elif self._bag is not None:
            self._keep_safe(now_s)
        if now_s > self._next_report_s:
            self._next_report_s = now_s + _REPORT_S
            self._publish_report()

    def _cut(self, reason: str) -> None:
        self._end(self._start.cut_short(reason), reason)

    def _give_up_waiting(self) -> None:
        which = f"within {self._given.start_timeout_s:g} s on {', '.join(sorted(self._missing))}"
        self._tell("failed", f"no message {which}: {self._report.remedy(self._missing)}")
        self._start, self._missing = None, set()

    def _keep_safe(self, now_s: float) -> None:
        """Flush the running bag, and end it while there still is room to do so."""
        if now_s > self._next_flush_s:
            self._next_flush_s = now_s + _FLUSH_S
            self._try(self._bag.flush)
        if self._bag is not None:
            self._try(self._note_size, self._bag)
        if self._bag is not None:
            self._is_out_of_space(self._start.episode_id)

    def _note_size(self, bag: EpisodeBag) -> None:
        self._disk.written(bag.size_bytes, time.monotonic() - self._bag_start_s)

    def _is_out_of_space(self, episode_id: str) -> bool:
        """End the recording and the node, if no more may be written, and return whether so."""
        fault = self._disk.fault()
        if fault is None:
            return False
        spent = self._disk.is_spent
        if self._bag is not None:
            reason = "the session's budget is spent" if spent else "the disk is nearly full"
            self._end(self._start.cut_short(reason), str(fault))
        else:
            self._tell("failed", str(fault), episode_id=episode_id)
        self._answers.warn(episode_id, str(fault))
        if not spent:
            raise fault
        self.get_logger().warning(str(fault))
        self.finish(0)
        return True

    def _try(self, write: Callable[..., None], *arguments: object) -> None:
        try:
            write(*arguments)
        except BagError as error:
            self._fail_recording(error)

    def _fail_recording(self, error: BagError) -> None:
        self._tell("failed", str(error))
        self._bag, self._start, self._missing = None, None, set()
        self.fail(str(error))

    def _tell(self, state: str, detail: str = "", path: str = "", episode_id: str = "") -> None:
        if self._start is not None:
            episode_id = self._start.episode_id
        missing = tuple(sorted(self._missing)) if state in ("waiting", "failed") else ()
        self._answers.tell(episode_id, state, detail, path, missing)

    def _publish_report(self) -> None:
        self._report.publish(self._diagnostics, time.monotonic_ns())
        self._disk.publish(self._diagnostics)
        if not self.exit_sentence:  # it stays said until the node has ended
            state = "waiting" if self._missing else "idle" if self._bag is None else "recording"
            self._answers.report(self._start.episode_id if self._start else "", state)

    def stop(self) -> None:
        """Give the commander a moment to end its episode, then save what there is."""
        if self._start is None:
            self.finish(0)
        else:
            self._end_deadline = time.monotonic() + _END_GRACE_S

    def close(self) -> None:
        """Save the open bag, if the node was ended without being asked."""
        if self._bag is not None:
            bag, self._bag = self._bag, None
            try:
                bag.save(self._facts(self._start.cut_short("the recorder was stopped")))
            except BagError as error:
                self.get_logger().error(str(error))


def main() -> int:
    """Run recorder_node; the entry of scripts/recorder_node."""
    return run(RecorderNode, "recorder_node")
