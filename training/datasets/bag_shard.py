"""One bag to one shard, in two passes over its files.

The first pass reads joints, commands and events, and of pictures only the stamps; frames are chosen
from that. The second pass reads the pictures that frames show, each once, decodes them at the
smallest scale that will do, and writes. Memory does not grow with the number of pictures.
"""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from training.datasets.dataset_provenance import made_by
from training.datasets.drop_list import DropList
from training.datasets.frames import MaxAge, Segment, Streams, segments_from_streams
from training.datasets.labels import Recorded, vector_axes
from training.datasets.picture_pass import PicturePass, last_uses
from training.datasets.shard import Camera
from training.datasets.shard_folder import Refusal, is_done, write_refusal
from training.datasets.shard_writer import Frame, ShardWriter
from training.provenance import code_version, combined_sha256, file_sha256
from training.recordings.bag_folder import UnreadableBagError
from training.recordings.bags import Bag, ImageIndex, bag_label
from training.recordings.messages import Picture
from training.recordings.recording import CameraFacts, EpisodeFacts, Recording, read_recording
from training.recordings.source import Source, vla_source
from vla_ros.core.cameras import scaled_intrinsics
from vla_ros.core.contract import Contract
from vla_ros.core.episode import DISCARDED
from vla_ros.core.errors import BagError
from vla_ros.core.resample import StreamBuffer

# Raise it when the same bag and settings would give other frames: shards of before are not reused.
CONVERTER_VERSION = 3
SAY_EVERY = 32

# Told ("frames", how many a bag has) and ("done", how many more are written).
Say = Callable[[str, int], None]


@dataclass(frozen=True)
class Settings:
    """What shapes the frames of every bag of a dataset, besides the bags.

    `code` is the version of this package, which shards note, and which is no reason to make them
    anew: CONVERTER_VERSION is.
    """

    contract: Contract
    max_age: MaxAge = field(default_factory=MaxAge)
    label: str = "reached"
    source: Source = field(default_factory=vla_source)
    code: str = field(default_factory=code_version)

    @property
    def recorded(self) -> Recorded:
        """What the source tells of motion."""
        source = self.source
        return Recorded(
            tuple(source.joints.names),
            source.has_kinematics,
            source.has_kinematics or source.ee_pose is not None,
            source.commanded is not None,
        )

    @property
    def options(self) -> dict:
        """Plain JSON: all of this but the contract and the code's version."""
        return {
            "max_age": asdict(self.max_age),
            "label": self.label,
            "source": self.source.to_dict(),
            "converter_version": CONVERTER_VERSION,
        }

    def key(self, label: str, sha256: str) -> str:
        """Return the name of a bag's shard: the same bag and settings have the same."""
        content = [label, sha256, self.contract.to_dict(), self.options]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:32]


def shard_of_bag(path: Path, folder: Path, settings: Settings, say: Say) -> str:
    """Make sure that `folder` holds the bag's shard, or its refusal, and return the key.

    Raises:
        UnreadableBagError: the bag cannot be read now, which is no refusal.
        OSError: the disk refuses what is written.
    """
    label = bag_label(path)
    try:
        with Bag(path, settings.source, scratch_in=folder) as bag:
            sha256 = bag.sha256()
            key = settings.key(label, sha256)
            if not is_done(folder, key):
                try:
                    _write_shard(bag, folder / key, sha256, settings, say)
                except UnreadableBagError:
                    raise
                except BagError as error:
                    _refuse(path, folder, key, sha256, error)
            return key
    except UnreadableBagError:
        raise
    except BagError as error:  # it cannot even be opened
        sha256 = _content_sha256(path)
        key = settings.key(label, sha256)
        _refuse(path, folder, key, sha256, error)
        return key


def _content_sha256(path: Path) -> str:
    try:
        hashes = {file.name: file_sha256(file) for file in path.iterdir() if file.is_file()}
    except OSError as error:
        raise UnreadableBagError(
            f"bag {path} cannot be read ({error.strerror or error}): check the disk, or leave it "
            "out"
        ) from None
    return combined_sha256(hashes)


def _refuse(path: Path, folder: Path, key: str, sha256: str, error: BagError) -> None:
    # Where the bag lies is this machine's matter.
    reason = str(error).replace(str(path), bag_label(path))
    write_refusal(folder, key, Refusal(bag_label(path), sha256, reason))


def streams_of(recording: Recording, max_age: MaxAge) -> Streams:
    """Return the recording's streams by stamp; a sample's value is its row, of pictures too."""
    streams = Streams.empty(
        max_age,
        tuple(recording.images),
        recording.commanded is not None,
        recording.ee_pose is not None,
    )
    for camera, index in recording.images.items():
        _number(streams.images[camera], index.stamps_ns)
    for buffer, samples in (
        (streams.joints, recording.joints),
        (streams.commanded, recording.commanded),
    ):
        if buffer is not None and samples is not None:
            streams.rows[buffer.name] = np.column_stack([samples.q, samples.opening])
            _number(buffer, samples.stamps_ns)
    if streams.ee_poses is not None and recording.ee_pose is not None:
        streams.rows[streams.ee_poses.name] = recording.ee_pose.T_base_tool
        _number(streams.ee_poses, recording.ee_pose.stamps_ns)
    return streams


def _number(buffer: StreamBuffer[int], stamps_ns: np.ndarray) -> None:
    # One after the other: a list of all of them would be as large as what it is to save.
    buffer.extend((int(stamp_ns), row) for row, stamp_ns in enumerate(stamps_ns))


def _write_shard(bag: Bag, target: Path, sha256: str, settings: Settings, say: Say) -> None:
    contract, recorded = settings.contract, settings.recorded
    recording = read_recording(bag, contract.cameras)
    if recording.episode.reason == DISCARDED:
        raise BagError(f"bag {bag.path} was {DISCARDED} who recorded it; it is left out")
    drops = DropList(contract.rate_hz, recording.dropped)
    streams = streams_of(recording, settings.max_age)
    segments = segments_from_streams(streams, contract, drops, settings.label, recorded)
    uses = last_uses(segments)
    wanted = {
        camera: sorted(row for name, row in uses if name == camera) for camera in contract.cameras
    }
    # Each camera by itself: of a bag written topic after topic the others' would pile up.
    pictures = {
        camera: _pictures(bag, camera, recording.images[camera], rows)
        for camera, rows in wanted.items()
    }
    size = contract.image.shape[0]
    shown = PicturePass(pictures, uses, size, f"bag {bag.path}")
    episode, cameras = recording.episode, cameras_of(recording.cameras, size)
    lost = recording.lost
    del recording, streams
    say("frames", sum(map(len, segments)))
    with ShardWriter(target, contract, vector_axes(settings.label, recorded)) as writer:
        _write_frames(writer, segments, shown, (episode, cameras), drops, say)
        options = settings.options
        names = bag_label(bag.path), sha256
        makers = made_by(settings.code)
        writer.finish(*names, options["source"], options, drops.runs(), lost, makers)


def _pictures(
    bag: Bag, camera: str, index: ImageIndex, rows: list[int]
) -> Iterator[tuple[int, Picture]]:
    places = {camera: index.places[rows]}
    return ((rows[number], data) for _, number, data in bag.images_at(places))


def cameras_of(facts: dict[str, CameraFacts], size: int) -> dict[str, Camera]:
    """Return what is known of the cameras, intrinsics for pictures of side `size` [px]."""
    cameras = {}
    for name, known in facts.items():
        K = None
        if known.K is not None and known.size is not None:
            K = scaled_intrinsics(known.K, known.size, size).tolist()
        T = None if known.T_base_camera is None else known.T_base_camera.tolist()
        cameras[name] = Camera(K, T)
    return cameras


def _write_frames(
    writer: ShardWriter,
    segments: list[Segment],
    shown: PicturePass,
    episode: tuple[EpisodeFacts, dict[str, Camera]],
    drops: DropList,
    say: Say,
) -> None:
    """Write the segments, each cut where a picture cannot be read."""
    frame = 0
    facts, cameras = episode
    for segment in segments:
        open_since = None
        for at in range(len(segment)):
            places = [(camera, rows[at]) for camera, rows in segment.images.items()]
            pictures = shown.of_frame(frame, places)
            frame += 1
            if frame % SAY_EVERY == 0:
                say("done", SAY_EVERY)
            tick_ns = int(segment.ticks_ns[at])
            if pictures is None:
                drops.add("unreadable image", tick_ns)
                _end(writer, open_since, drops)
                open_since = None
                continue
            if open_since is None:
                writer.begin_episode(facts.task, facts.kind, facts.success, facts.reason, cameras)
                open_since = tick_ns
            writer.add(_frame(segment, at, pictures))
        _end(writer, open_since, drops)
    say("done", frame % SAY_EVERY)


def _frame(segment: Segment, at: int, pictures: list) -> Frame:
    return Frame(
        int(segment.ticks_ns[at]),
        {camera: jpeg for camera, (jpeg, _) in zip(segment.images, pictures, strict=True)},
        {camera: picture for camera, (_, picture) in zip(segment.images, pictures, strict=True)},
        {name: values[at] for name, values in segment.vectors.items()},
        float(segment.image_age_ns[at] / 1e6),
    )


def _end(writer: ShardWriter, open_since: int | None, drops: DropList) -> None:
    """End the open episode, if there is one."""
    if open_since is not None and (count := writer.end_episode()):
        drops.add("too short a piece", open_since, count=count)
