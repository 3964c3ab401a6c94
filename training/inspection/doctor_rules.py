"""From what was counted to findings: one function a kind of defect, each with its remedy."""

from collections.abc import Iterator

from training.inspection.doctor_report import (
    CAMERA,
    COMMANDED,
    ERROR,
    JOINTS,
    NOTE,
    OTHER,
    POSE,
    WARNING,
    DoctorLimits,
    Finding,
    TopicReport,
)

_RECORD_AGAIN = "record again, or let convert cut the recording there"
_REMEDIES = {
    "failed read": "check the servo bus: cables, power, U2D2; convert leaves these out",
    "not finite": "check the driver and the servo bus; convert leaves these out",
    "out of range": "check the homing and the robot model, and for a second publisher",
    "impossible jump": "check for a second publisher on the topic, or a failed read",
    "incomplete": "name the arm's joints with --source, or check the driver's motor configuration",
}


def of_topic(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    """Yield what is wrong with one topic by itself."""
    yield from _unreadable(topic)
    yield from _order(topic)
    yield from _clock(topic)
    if topic.role != OTHER:
        yield from _gaps(topic, limits)
        yield from _jitter(topic, limits)
        yield from _drift(topic, limits)
    elif topic.stream.is_steady and topic.stream.missing:
        yield _missing(topic)
    yield from _joints(topic, limits)
    yield from _pictures(topic, limits)


def between(topics: list[TopicReport], limits: DoctorLimits) -> Iterator[Finding]:
    """Yield what is wrong between the topics that a dataset needs."""
    needed = [topic for topic in topics if topic.role in (JOINTS, COMMANDED, CAMERA, POSE)]
    yield from _skew(needed, limits)
    yield from _overlap([topic for topic in needed if topic.role != COMMANDED], limits)


def _some(count: int) -> str:
    return f"{count} message" if count == 1 else f"{count} messages"


def _grave(topic: TopicReport) -> str:
    return NOTE if topic.role == OTHER else WARNING


def _unreadable(topic: TopicReport) -> Iterator[Finding]:
    stream = topic.stream
    if stream.unreadable:
        is_useless = topic.role != OTHER and stream.unreadable == stream.messages
        yield Finding(
            "unreadable messages",
            ERROR if is_useless else _grave(topic),
            topic.name,
            f"{stream.unreadable} of {stream.messages} messages on {topic.name} are damaged",
            "check the disk and what publishes there; convert leaves these out",
        )
    unset = stream.unset_stamps - topic.wild_stamps
    if unset:
        is_useless = topic.role != OTHER and unset == stream.messages
        yield Finding(
            "no stamps",
            ERROR if is_useless else _grave(topic),
            topic.name,
            f"{unset} of {stream.messages} messages on {topic.name} have the stamp 0",
            "have the driver fill header.stamp; time of arrival is no stand-in for it",
        )


def _order(topic: TopicReport) -> Iterator[Finding]:
    stream = topic.stream
    if stream.duplicates:
        yield Finding(
            "duplicates",
            _grave(topic),
            topic.name,
            f"{_some(stream.duplicates)} on {topic.name} with the stamp of another",
            "check for a second publisher or recorder (ros2 topic info -v); convert takes each "
            "stamp once",
        )
    if stream.out_of_order:
        yield Finding(
            "out of order",
            _grave(topic),
            topic.name,
            f"{_some(stream.out_of_order)} on {topic.name} after one with a later stamp",
            "check for a second publisher, or a network that reorders (use reliable QoS)",
        )


def _clock(topic: TopicReport) -> Iterator[Finding]:
    stream = topic.stream
    if not stream.num_clock_steps:
        return
    (at_s, step_s), times = stream.clock_steps[0], stream.num_clock_steps
    often = "once," if times == 1 else f"{times} times, first"
    yield Finding(
        "clock reset",
        _grave(topic),
        topic.name,
        f"the clock of {topic.name} was set {often} at {at_s:.1f} s by {step_s:+.1f} s",
        "have the clock set before recording (NTP, camera's global time)",
        [(at_s, 0.0) for at_s, _ in stream.clock_steps],
    )


def _gaps(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    stream, bound_s = topic.stream, limits.gap_s(topic.role)
    gaps = [gap for gap in stream.gaps if gap[1] > bound_s]
    if not gaps:
        if stream.missing:
            yield _missing(topic)
        return
    # Each gap is stood in for as long as the bound; only the rest of it is lost.
    lost_s = sum(length - bound_s for _, length in gaps)
    share = lost_s / max(stream.end_s - stream.start_s, 1e-9)
    at_s, length_s = gaps[0]
    # A teacher or a player that rests commands nothing, and that is no fault of the recording.
    severity = NOTE if topic.role == COMMANDED else WARNING
    more = "at least " if len(gaps) == len(stream.gaps) < stream.num_gaps else ""
    yield Finding(
        "gaps",
        ERROR if share > limits.gap_share and topic.role != COMMANDED else severity,
        topic.name,
        f"{more}{len(gaps)} {'gap' if len(gaps) == 1 else 'gaps'} over {bound_s:g} s on "
        f"{topic.name}, the longest of {length_s:.2f} s at {at_s:.1f} s; {_some(stream.missing)} "
        f"missing, {share:.1%} of the time lost",
        f"look for a full disk, a loaded CPU or USB bus, or best-effort QoS; {_RECORD_AGAIN}",
        gaps,
    )


def _missing(topic: TopicReport) -> Finding:
    stream = topic.stream
    at_s, length_s = stream.gaps[0]
    return Finding(
        "missing messages",
        NOTE,
        topic.name,
        f"{_some(stream.missing)} missing on {topic.name}, at most {length_s:.3f} s in a row at "
        f"{at_s:.1f} s",
        "nothing to do: the gaps are shorter than convert lets a sample stand in",
        stream.gaps,
    )


def _jitter(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    stream = topic.stream
    if stream.rate_hz is None or stream.jitter_s * stream.rate_hz <= limits.jitter_share:
        return
    yield Finding(
        "jitter",
        NOTE if topic.role == COMMANDED else WARNING,
        topic.name,
        f"{topic.name} comes at {stream.rate_hz:.1f} Hz with {1e3 * stream.jitter_s:.1f} ms of "
        f"jitter, {stream.jitter_s * stream.rate_hz:.0%} of its period",
        "have stamps taken where the data are (camera: at exposure), and lighten the load there",
    )


def _drift(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    drift_s, stream = topic.stream.drift_s, topic.stream
    if drift_s is None or abs(drift_s) <= limits.drift_s:
        return
    lasted_s = max(stream.end_s - stream.start_s, 1e-9)
    yield Finding(
        "drift",
        ERROR if abs(drift_s) > limits.far_drift_s else WARNING,
        topic.name,
        f"the delay of {topic.name} from stamp to arrival changes by {1e3 * drift_s:+.0f} ms over "
        f"the bag ({1e3 * drift_s / lasted_s:+.2f} ms/s)",
        "stamp with the host's clock (camera: global time), or, where the delay only grows, give "
        "the recorder a faster disk or fewer topics",
    )


def _skew(needed: list[TopicReport], limits: DoctorLimits) -> Iterator[Finding]:
    # Delays across a clock that was set say nothing, and that it was set is told already.
    needed = [topic for topic in needed if not topic.stream.num_clock_steps]
    reference = next((t for t in needed if t.role == JOINTS and t.stream.delay_s is not None), None)
    if reference is None or reference.stream.delay_s is None:
        return
    for topic in needed:
        if topic.stream.delay_s is None:
            continue
        skew_s = topic.stream.delay_s - reference.stream.delay_s
        if abs(skew_s) > limits.skew_s:
            yield Finding(
                "skew",
                ERROR if abs(skew_s) > limits.far_skew_s else WARNING,
                topic.name,
                f"stamps of {topic.name} are {1e3 * abs(skew_s):.0f} ms "
                f"{'behind' if skew_s > 0 else 'ahead of'} those of {reference.name}, by arrival",
                "have both stamped by one clock (chrony between hosts, global time in the camera); "
                "convert trusts stamps",
            )


def _overlap(needed: list[TopicReport], limits: DoctorLimits) -> Iterator[Finding]:
    if len(needed) < 2:
        return
    late = max(needed, key=lambda topic: topic.stream.start_s)
    early = min(needed, key=lambda topic: topic.stream.end_s)
    whole_s = max(t.stream.end_s for t in needed) - min(t.stream.start_s for t in needed)
    common_s = early.stream.end_s - late.stream.start_s
    if whole_s <= 0 or common_s >= limits.overlap_share * whole_s:
        return
    yield Finding(
        "overlap",
        ERROR if common_s <= 0 else WARNING,
        "",
        f"the streams run together for {max(common_s, 0):.1f} of {whole_s:.1f} s: {late.name} "
        f"starts at {late.stream.start_s:.1f} s, {early.name} ends at {early.stream.end_s:.1f} s",
        "start the drivers before the recorder, and look why one ended",
    )


def _joints(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    facts, stream = topic.joints, topic.stream
    if facts is None:
        return
    for reason, count in facts.refused.items():
        share = count / stream.messages
        lacking = f", which lack {', '.join(facts.missing)}" if reason == "incomplete" else ""
        is_grave = topic.role == JOINTS and share > limits.refused_share
        yield Finding(
            reason,
            ERROR if is_grave else WARNING,
            topic.name,
            f"{count} of {stream.messages} joint states on {topic.name} are no measurement "
            f"({reason}{lacking}), the first at {facts.places[0]:.1f} s",
            _REMEDIES[reason],
            [(at_s, 0.0) for at_s in facts.places],
        )


def _pictures(topic: TopicReport, limits: DoctorLimits) -> Iterator[Finding]:
    facts = topic.pictures
    if facts is None:
        return
    if facts.unknown:
        yield Finding(
            "encoding",
            ERROR,
            topic.name,
            f"pictures on {topic.name} are of a kind that is not read: {facts.unknown}",
            "convert refuses the bag; record another encoding, or name another topic (--source)",
        )
    elif facts.broken:
        # Of those that only decoding shows to be broken, a sample was looked for.
        cut_off = facts.broken - facts.undecodable
        share = cut_off / facts.looked_at + facts.undecodable / max(facts.decoded, 1)
        yield Finding(
            "broken pictures",
            ERROR if share > limits.broken_share else WARNING,
            topic.name,
            f"{facts.broken} of {facts.looked_at} pictures on {topic.name} are broken "
            f"({facts.reason}), the first at {facts.places[0]:.1f} s",
            "check the camera's cable and USB bus; convert drops the frames that need them",
            [(at_s, 0.0) for at_s in facts.places],
        )
    if facts.frozen_s > limits.frozen_s:
        yield Finding(
            "frozen camera",
            WARNING,
            topic.name,
            f"{topic.name} repeats one picture for {facts.frozen_s:.1f} s from "
            f"{facts.frozen_at_s:.1f} s on",
            "restart the camera driver; leave the bag out if the arm moved meanwhile",
            [(facts.frozen_at_s, facts.frozen_s)],
        )
    if len(facts.sizes) > 1:
        sizes = ", ".join(f"{width}x{height}" for width, height in facts.sizes)
        yield Finding(
            "picture size",
            WARNING,
            topic.name,
            f"{topic.name} changes its size: {sizes}",
            "set one size in the camera driver; intrinsics hold for one size only",
        )
