"""One recording as a scene: its streams as they are, and the frames that conversion would make."""

import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.datasets.bag_shard import Settings, streams_of
from training.datasets.frames import DropList, Segment, segments_from_streams
from training.datasets.labels import DELTA_AXES, POSE, label_contract
from training.inspection.view_scene import (
    Camera,
    Gap,
    Line,
    Panel,
    Scene,
    axis_lines,
    motion_panels,
    outcome,
    relative_intrinsics,
)
from training.recordings.bags import Bag, bag_label
from training.recordings.recording import JointSamples, Recording, read_recording
from training.recordings.source import Source
from vla_ros.core.errors import BagError
from vla_ros.core.resample import NS_PER_S


def bag_scene(path: Path, source: Source, cameras: list[str], rate_hz: float) -> Scene:
    """Return the recording at `path`.

    Args:
        path: the bag's folder.
        source: what its topics are called.
        cameras: which to show; empty for all that it holds.
        rate_hz: of the frames.

    Raises:
        BagError: the bag cannot be used; see `Bag` and `read_recording`.
        ContractError: the source does not tell of any motion.
    """
    with Bag(path, source) as bag:
        names = tuple(cameras or _cameras_of(bag))
        if not names:
            raise BagError(
                f"bag {path} has no pictures under a name that is known; name its cameras' topics "
                "in a source file"
            )
        recording = read_recording(bag, names)
    # The label shapes `action` only, of which nothing is shown: any that can be had will do.
    settings = Settings(label_contract("reached", names, rate_hz=rate_hz), source=source)
    label = (settings.recorded.labels or ["reached"])[0]
    contract = label_contract(
        label, names, 128, rate_hz, source.robot_model, len(source.joints.names)
    )
    drops = DropList(rate_hz, recording.dropped)
    streams = streams_of(recording, settings.max_age)
    segments = segments_from_streams(streams, contract, drops, label, settings.recorded)
    start_ns = _start_ns(recording)
    gaps = [
        Gap(
            run.reason, run.count, _seconds(run.first_ns, start_ns), _seconds(run.last_ns, start_ns)
        )
        for run in drops.runs()
    ]
    lost = [f"lost: {clause}" for clause in recording.lost]
    episode = recording.episode
    return Scene(
        title=bag_label(path),
        facts=[*outcome(episode.kind, episode.task, episode.success, episode.reason), *lost],
        frame_times_s=_seconds(_joined([s.ticks_ns for s in segments], np.int64), start_ns),
        cameras=_cameras(recording, segments, start_ns),
        panels=_panels(recording, segments, source, start_ns),
        read_pictures=_reader(path, source, recording),
        openings=_joined([s.vectors["observation.state"][:, -1] for s in segments]),
        tool=_tool(segments),
        gaps=gaps,
    )


def _cameras_of(bag: Bag) -> list[str]:
    """Return the names of the cameras whose pictures are in the bag."""
    named = [name for name, topic in bag.source.cameras.items() if topic in bag.topics]
    before, _, after = bag.source.camera_pattern.partition("{camera}")
    if not after:
        return named
    pattern = re.compile(f"{re.escape(before)}([^/]+){re.escape(after)}")
    return named + sorted(m[1] for m in map(pattern.fullmatch, bag.topics) if m)


def _start_ns(recording: Recording) -> int:
    firsts = [recording.joints.stamps_ns[0]]
    firsts += [index.stamps_ns[0] for index in recording.images.values() if len(index)]
    return int(min(firsts))


def _seconds(stamps_ns, start_ns: int):
    return (stamps_ns - start_ns) / NS_PER_S


def _joined(parts: list[np.ndarray], dtype: type = np.float64) -> np.ndarray:
    return np.concatenate(parts) if parts else np.zeros(0, dtype)


def _tool(segments: list[Segment]) -> np.ndarray | None:
    if not segments or POSE not in segments[0].vectors:
        return None
    return np.concatenate([s.vectors[POSE][:, :3] for s in segments])


def _cameras(recording: Recording, segments: list[Segment], start_ns: int) -> dict[str, Camera]:
    cameras = {}
    for name, index in recording.images.items():
        known = recording.cameras[name]
        K = None
        if known.K is not None and known.size is not None:
            K = relative_intrinsics(known.K, *known.size)
        frames = _joined([np.array(s.images[name], np.int64) for s in segments], np.int64)
        times = _seconds(index.stamps_ns, start_ns)
        cameras[name] = Camera(times, frames, K, known.T_base_camera)
    return cameras


def _reader(path: Path, source: Source, recording: Recording):
    def read(camera: str, rows: np.ndarray) -> Iterator:
        with Bag(path, source) as bag:
            places = recording.images[camera].places[rows]
            found = {row: data for _, row, data in bag.images_at({camera: places})}
        yield from (found.get(row, b"") for row in range(len(rows)))

    return read


def _panels(
    recording: Recording, segments: list[Segment], source: Source, start_ns: int
) -> list[Panel]:
    joints, commanded = recording.joints, recording.commanded
    names = list(source.joints.names)
    lines = axis_lines(names, _seconds(joints.stamps_ns, start_ns), joints.q)
    gripper = [Line("measured", _seconds(joints.stamps_ns, start_ns), joints.opening)]
    beside = ""
    if isinstance(commanded, JointSamples) and len(commanded.stamps_ns):
        times, beside = _seconds(commanded.stamps_ns, start_ns), ", dashed: commanded"
        lines += axis_lines(names, times, commanded.q, dashed=True)
        gripper.append(Line("commanded", times, commanded.opening, 0, dashed=True))
    reached = _over_segments(segments, "action.reached", start_ns) or _over_segments(
        segments, "action", start_ns
    )
    moved = _over_segments(segments, "action.commanded", start_ns)
    motion = []
    if reached is not None and reached[1].shape[1] == len(DELTA_AXES):
        what = "reached" + (", dashed: commanded" if moved else "")
        motion = motion_panels(DELTA_AXES, reached, moved, what)
    ages = [Line("age at the frame", *_ages(segments, start_ns), 0)] if segments else []
    for at, (camera, index) in enumerate(recording.images.items(), 1):
        times = _seconds(index.stamps_ns, start_ns)
        ages.append(Line(f"{camera}: since the last", times[1:], 1000 * np.diff(times), at))
    return [
        Panel(f"joints [rad]{beside}", lines),
        Panel(f"gripper opening, 1 is open{beside}", gripper),
        *motion,
        Panel("pictures [ms]", ages),
    ]


def _over_segments(
    segments: list[Segment], column: str, start_ns: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Return (times [s], values (N, k)) of a column, broken where segments end; None without."""
    kept = [s for s in segments if column in s.vectors]
    if not kept:
        return None
    times, values = [], []
    for segment in kept:
        at_s = _seconds(segment.ticks_ns, start_ns)
        found = segment.vectors[column].astype(np.float64)
        times.append(np.append(at_s, at_s[-1]))
        values.append(np.vstack([found, np.full((1, found.shape[1]), np.nan)]))
    return np.concatenate(times), np.concatenate(values)


def _ages(segments: list[Segment], start_ns: int) -> tuple[np.ndarray, np.ndarray]:
    times = _joined([s.ticks_ns for s in segments], np.int64)
    return _seconds(times, start_ns), _joined([s.image_age_ns for s in segments]) / 1e6
