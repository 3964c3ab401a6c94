"""Streams of one recording to frames at the policy's rate. Pure: no files, no clock, no pictures.

A frame at tick t holds what a policy would have seen at t (`core.resample`, the class that the
live node uses) and the motion from t to the next tick. A tick that no stream can vouch for yields
no frame and cuts the recording in two; nothing is filled in. Pictures are chosen here by their
place in the bag, so that those that no frame shows are never read.
"""

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import chain

import numpy as np

from training.datasets.drop_list import DropList
from training.datasets.labels import (
    ACTION,
    POSE,
    STATE,
    Recorded,
    Tick,
    actions_between,
    pose_vector,
    vector_axes,
)
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, StaleDataError
from vla_ros.core.kinematics import forward
from vla_ros.core.resample import NS_PER_S, StreamBuffer, first_tick_from, tick_at

# A frame needs a successor, and a pair of frames needs two.
MIN_FRAMES = 2


@dataclass(frozen=True)
class MaxAge:
    """How long a sample of each stream may stand in at a tick [s]."""

    image_s: float = 0.12
    joints_s: float = 0.05
    commanded_s: float = 0.2


@dataclass(frozen=True)
class Streams:
    """One recording by stamp.

    Attributes:
        images: by camera, the picture's place in the bag, or whatever finds it again.
        joints: (J + 1,) joints [rad] and opening [0, 1], measured.
        commanded: (J + 1,) the same, commanded; None where the recording has no such stream.
        ee_poses: (4, 4) the tool in base_link, measured; None where none was recorded.
        rows: by a stream's name an array whose rows its samples number, in place of values that
            each are an object: a tenth of the memory.
    """

    images: dict[str, StreamBuffer]
    joints: StreamBuffer
    commanded: StreamBuffer | None
    ee_poses: StreamBuffer | None = None
    rows: dict[str, np.ndarray] = field(default_factory=dict)

    @classmethod
    def empty(
        cls,
        max_age: MaxAge,
        cameras: tuple[str, ...] = ("front",),
        has_commanded: bool = True,
        has_ee_poses: bool = False,
    ) -> "Streams":
        """Return buffers with the bounds of `max_age`."""

        def buffer(name: str, age_s: float) -> StreamBuffer:
            return StreamBuffer(name, int(age_s * NS_PER_S))

        return cls(
            {camera: buffer(f"images of {camera}", max_age.image_s) for camera in cameras},
            buffer("joints", max_age.joints_s),
            buffer("commanded motion", max_age.commanded_s) if has_commanded else None,
            buffer("tool poses", max_age.joints_s) if has_ee_poses else None,
        )

    def all(self) -> list[StreamBuffer]:
        """Return the streams that a tick needs, in the order in which they are asked."""
        others = (self.joints, self.commanded, self.ee_poses)
        return [*self.images.values(), *(stream for stream in others if stream is not None)]


@dataclass(frozen=True)
class Segment:
    """Consecutive frames of one recording, N of them.

    Attributes:
        ticks_ns: (N,) int64 [ns].
        images: by camera, N values of its stream.
        vectors: by column (N, k) float32, see `vector_axes`.
        image_age_ns: (N,) int64, age of the oldest picture at its tick.
    """

    ticks_ns: np.ndarray
    images: dict[str, list]
    vectors: dict[str, np.ndarray]
    image_age_ns: np.ndarray

    def __len__(self) -> int:
        return len(self.ticks_ns)


def segments_from_streams(
    streams: Streams,
    contract: Contract,
    drops: DropList,
    label: str = "reached",
    recorded: Recorded | None = None,
) -> list[Segment]:
    """Return the segments of one recording; what yields no frame is added to `drops`.

    Ticks count from the first stamp of the first camera, so that a camera whose rate is a multiple
    of the contract's is sampled exactly on its stamps. Those before every stream began and after
    one has ended are dropped by the name of that stream.
    """
    recorded = recorded or Recorded(has_commanded=streams.commanded is not None)
    axes = vector_axes(label, recorded)
    segments: list[Segment] = []
    run, now = _Run(axes, list(streams.images)), None
    samples = _samples(streams, contract.rate_hz, recorded.has_kinematics, drops)
    for following in chain(samples, [None]):
        if now is not None:
            frame = _frame(now, following, contract, label, drops)
            if frame is None:
                run.close(segments, drops)
                run = _Run(axes, list(streams.images))
            else:
                run.add(now, frame)
        now = following
    return segments


@dataclass(frozen=True)
class _Sample:
    """What a policy would have seen at a tick: the stamp of the oldest picture, and the arm."""

    index: int
    tick_ns: int
    images: list
    oldest_ns: int
    arm: Tick


def _samples(
    streams: Streams, rate_hz: float, has_kinematics: bool, drops: DropList
) -> Iterator[_Sample]:
    """Yield the samples of all ticks that every stream vouches for."""
    buffers = streams.all()
    bounds = _bounds(buffers, rate_hz, drops)
    if bounds is None:
        return
    start_ns, index, end_ns = bounds
    # Closed: a sample that lands exactly on the last tick counts.
    while (tick_ns := tick_at(start_ns, index, rate_hz)) <= end_ns:
        stamps, values = [], []
        for buffer in buffers:
            try:
                stamp_ns, value = buffer.sample(tick_ns)
            except StaleDataError:
                # However long a hole is, no tick in it is looked at one by one.
                back_ns = min(buffer.next_ns(tick_ns) or end_ns + 1, end_ns + 1)
                following = max(index + 1, first_tick_from(start_ns, back_ns, rate_hz))
                last_ns = tick_at(start_ns, following - 1, rate_hz)
                drops.add(f"stale {buffer.name}", tick_ns, last_ns, following - index)
                index = following
                break
            stamps.append(stamp_ns)
            rows = streams.rows.get(buffer.name)
            values.append(value if rows is None else rows[value])
        else:
            num_cameras = len(streams.images)
            arm = _arm(streams, values[num_cameras:], has_kinematics)
            yield _Sample(index, tick_ns, values[:num_cameras], min(stamps[:num_cameras]), arm)
            index += 1


def _bounds(
    buffers: list[StreamBuffer], rate_hz: float, drops: DropList
) -> tuple[int, int, int] | None:
    """Return (start of the ticks [ns], first tick to look at, end [ns]), None without any.

    What lies before the last stream began, and after the first has ended, is added to `drops`.
    """
    firsts = [buffer.first_ns for buffer in buffers if buffer.first_ns is not None]
    lasts = [buffer.last_ns for buffer in buffers if buffer.last_ns is not None]
    if len(firsts) < len(buffers):
        if firsts:
            count = first_tick_from(min(firsts), max(lasts) + 1, rate_hz)
            (empty, *_) = [buffer.name for buffer in buffers if buffer.first_ns is None]
            drops.add(f"no {empty}", min(firsts), max(lasts), count)
        return None
    start_ns, begin_ns, end_ns = firsts[0], max(firsts), min(lasts)
    index = first_tick_from(start_ns, begin_ns, rate_hz)
    # Ticks before the first camera's first picture are counted back from it.
    before = index + int((start_ns - min(firsts)) * (rate_hz / NS_PER_S))
    if before:
        late = buffers[firsts.index(begin_ns)].name
        last_ns = tick_at(start_ns, index - 1, rate_hz)
        drops.add(
            f"before {late} began", tick_at(start_ns, index - before, rate_hz), last_ns, before
        )
    over = max(index, first_tick_from(start_ns, end_ns + 1, rate_hz))
    after = first_tick_from(start_ns, max(lasts) + 1, rate_hz) - over
    if after > 0:
        ended = buffers[lasts.index(end_ns)].name
        last_ns = tick_at(start_ns, over + after - 1, rate_hz)
        drops.add(f"after {ended} ended", tick_at(start_ns, over, rate_hz), last_ns, after)
    return start_ns, index, end_ns


def _arm(streams: Streams, values: list, has_kinematics: bool) -> Tick:
    joints, *others = values
    commanded = None if streams.commanded is None else others[0]
    T = None if streams.ee_poses is None else others[-1]
    if not has_kinematics:
        return Tick(joints, T, commanded, None)
    T_commanded = None if commanded is None else forward(commanded[:-1])
    return Tick(joints, forward(joints[:-1]) if T is None else T, commanded, T_commanded)


def _frame(
    now: _Sample, following: _Sample | None, contract: Contract, label: str, drops: DropList
) -> dict[str, np.ndarray] | None:
    if following is None or following.index != now.index + 1:
        drops.add("no next frame", now.tick_ns)
        return None
    actions = actions_between(now.arm, following.arm, label)
    state = now.arm.joints.astype(np.float32)
    try:
        contract.state.validate(state)
        contract.action.validate(actions[ACTION])
    except ContractError:
        drops.add("outside the contract", now.tick_ns)
        return None
    pose = {} if now.arm.T is None else {POSE: pose_vector(now.arm.T)}
    return {STATE: state, **pose, **actions}


@dataclass
class _Run:
    """A segment that is being gathered: plain arrays, since an hour has a hundred thousand."""

    axes: dict[str, list[str]]
    cameras: list[str]
    ticks: array = field(default_factory=lambda: array("q"))
    ages: array = field(default_factory=lambda: array("q"))
    images: list[list] = field(default_factory=list)
    columns: dict[str, array] = field(default_factory=dict)

    def add(self, sample: _Sample, vectors: dict[str, np.ndarray]) -> None:
        if not self.columns:
            self.columns = {name: array("f") for name in self.axes}
            self.images = [[] for _ in self.cameras]
        self.ticks.append(sample.tick_ns)
        self.ages.append(sample.tick_ns - sample.oldest_ns)
        for values, value in zip(self.images, sample.images, strict=True):
            values.append(value)
        for name, values in self.columns.items():
            values.frombytes(vectors[name].tobytes())

    def close(self, segments: list[Segment], drops: DropList) -> None:
        """Add the segment to `segments`, or to `drops` where it is too short."""
        if not self.ticks:
            return
        if len(self.ticks) < MIN_FRAMES:
            drops.add("too short a piece", self.ticks[0])
            return
        segments.append(
            Segment(
                np.array(self.ticks, dtype=np.int64),
                dict(zip(self.cameras, self.images, strict=True)),
                {
                    name: np.array(values, dtype=np.float32).reshape(len(self.ticks), -1)
                    for name, values in self.columns.items()
                },
                np.array(self.ages, dtype=np.int64),
            )
        )
