"""What the doctor says of a bag as a whole, and of the episode that it holds."""

from collections.abc import Iterator

from training.inspection.doctor_report import (
    CAMERA,
    COMMANDED,
    ERROR,
    JOINTS,
    OTHER,
    POSE,
    WARNING,
    BagReport,
    DoctorLimits,
    Finding,
)
from training.recordings.bags import Bag
from training.recordings.messages import JOINT_STATE, PICTURES, STRING, TRANSFORMS
from training.recordings.messages import POSE as POSE_TYPE
from training.recordings.recording import TF
from training.recordings.source import EPISODE_TOPIC, Source
from vla_ros.core.episode import EpisodeEvent
from vla_ros.core.errors import EpisodeError

_WANTED_TYPES = {
    JOINTS: (JOINT_STATE,),
    COMMANDED: (JOINT_STATE,),
    CAMERA: PICTURES,
    POSE: (POSE_TYPE,),
}


def of_bag(
    bag: Bag, report: BagReport, counted: dict[str, dict], limits: DoctorLimits
) -> Iterator[Finding]:
    """Yield what is wrong with the bag as a whole.

    Args:
        counted: the recorder's counts by topic, see `core.topic_watch.TopicCounts`.
    """
    for clause in bag.lost:
        yield Finding(
            "lost",
            WARNING,
            "",
            clause,
            "nothing to repair: what is whole is read, and the file stays as it is; end a "
            "recording with Ctrl-C and keep the disk from filling up",
        )
    yield from _listed(bag, report)
    yield from _recorder(counted, limits)
    yield from _needed(bag.source, report)
    if report.length_s < limits.length_s:
        yield Finding(
            "too short",
            ERROR,
            "",
            f"the recording lasts {report.length_s:.2f} s, less than {limits.length_s:g} s",
            "record for longer, or leave it out",
        )


def of_episode(report: BagReport, source: Source, texts: list[str]) -> Iterator[Finding]:
    """Yield what is wrong with the episode; enters its kind, task and success into the report."""
    if source.task is not None:
        report.kind, report.task = source.kind, source.task.text or "; ".join(sorted({*texts}))
        if source.task.topic and len({*texts}) != 1:
            yield Finding(
                "task",
                ERROR,
                source.task.topic,
                f"{source.task.topic} gives {len({*texts})} different instructions",
                "record one task a bag, or give the text in the source file",
            )
    else:
        yield from _events(report, texts)
    if report.kind and report.kind != "play" and not report.task.strip():
        yield Finding(
            "no task",
            WARNING,
            "",
            f"the episode is of the kind {report.kind} and has no task",
            "give task:= to the node that records, or a text in a source file; Stage 2 needs one",
        )


def _events(report: BagReport, texts: list[str]) -> Iterator[Finding]:
    remedy = "leave it out, or give task and kind in a source file (--source)"
    try:
        events = [EpisodeEvent.from_json(text) for text in texts]
    except EpisodeError as error:
        yield Finding("episode", ERROR, EPISODE_TOPIC, f"{EPISODE_TOPIC}: {error}", remedy)
        return
    starts = [event for event in events if event.event == "start"]
    ends = [event for event in events if event.event == "end"]
    if starts:
        report.kind, report.task = starts[0].kind, starts[0].task
    if len(starts) != 1 or len(ends) > 1:
        yield Finding(
            "episode",
            ERROR,
            EPISODE_TOPIC,
            f"the bag must hold one episode, got {len(starts)} start and {len(ends)} end events on "
            f"{EPISODE_TOPIC}",
            remedy,
        )
    elif not ends:
        yield Finding(
            "episode",
            WARNING,
            EPISODE_TOPIC,
            "the episode has no end event: it was cut off",
            "none is needed; nobody judged whether the task was done",
        )
    else:
        report.success = ends[0].success
        if ends[0].is_discarded:
            yield Finding(
                "discarded",
                WARNING,
                EPISODE_TOPIC,
                f"the demonstration was {ends[0].reason}",
                "none is needed: training.convert leaves it out",
            )


def _listed(bag: Bag, report: BagReport) -> Iterator[Finding]:
    found = {topic.name: topic.stream.messages for topic in report.topics}
    for name, listed in sorted(bag.listed_counts.items()):
        if found.get(name, 0) < listed:
            yield Finding(
                "lost",
                WARNING,
                name,
                f"metadata.yaml lists {listed} messages on {name}, {found.get(name, 0)} are there",
                "look for missing files of a split bag; nothing else brings them back",
            )


def _recorder(counted: dict[str, dict], limits: DoctorLimits) -> Iterator[Finding]:
    for name, counts in sorted(counted.items()):
        lost, late = (_number(counts.get(key)) for key in ("lost", "late"))
        if lost:
            yield Finding(
                "recorder lost",
                WARNING,
                name,
                f"the recorder counted {lost:.0f} messages lost on their way on {name}",
                "raise the publisher's history depth or use shared memory; see /diagnostics live",
            )
        if late > limits.late_share * max(_number(counts.get("received")), 1):
            delay_s = _number(counts.get("longest_delay_s"))
            yield Finding(
                "recorder late",
                WARNING,
                name,
                f"the recorder counted {late:.0f} late messages on {name}, by up to {delay_s:.2f} "
                "s",
                "lighten the load of the recording host, or write to a faster disk",
            )


def _needed(source: Source, report: BagReport) -> Iterator[Finding]:
    """Yield topics that a dataset needs and that are not there or of another type."""
    remedy = "record with it running, or say what it is called here in a source file (--source)"
    roles = {topic.role for topic in report.topics}
    there = {topic.name for topic in report.topics}
    wanted = [
        (source.joints.topic, JOINT_STATE),
        *((t, PICTURES[0]) for t in source.cameras.values()),
    ]
    if source.commanded is not None:
        wanted.append((source.commanded.topic, JOINT_STATE))
    if source.ee_pose is not None and source.ee_pose.topic:
        wanted.append((source.ee_pose.topic, POSE_TYPE))
    if source.ee_pose is not None and not source.ee_pose.topic:
        wanted.append((TF, TRANSFORMS))
    if source.task is not None and source.task.topic:
        wanted.append((source.task.topic, STRING))
    for name, msgtype in wanted:
        if name not in there:
            same = [topic.name for topic in report.topics if topic.type == msgtype]
            hint = f"; of its type there is {', '.join(same)}" if same else ""
            is_commanded = source.commanded is not None and name == source.commanded.topic
            none = "; `commanded: none` there does without" if is_commanded else ""
            yield Finding(
                "no topic",
                ERROR,
                name,
                f"there is no message on {name}{hint}",
                f"{remedy}{none}",
            )
    if CAMERA not in roles and not source.cameras:
        same = [topic.name for topic in report.topics if topic.type in PICTURES]
        hint = f"; pictures are on {', '.join(same)}" if same else ""
        yield Finding("no topic", ERROR, "", f"no camera was recorded{hint}", remedy)
    for topic in report.topics:
        types = _WANTED_TYPES.get(topic.role, (topic.type,))
        if topic.role != OTHER and topic.type not in types:
            yield Finding(
                "type",
                ERROR,
                topic.name,
                f"{topic.name} must be {' or '.join(types)}, got {topic.type}",
                "name the right topic in a source file (--source), or leave the bag out",
            )


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
