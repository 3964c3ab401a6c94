"""One episode of a LeRobot dataset to one shard."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from training.datasets.dataset_provenance import made_by
from training.datasets.drop_list import DropList
from training.datasets.files import may_pass
from training.datasets.shard import Camera
from training.datasets.shard_folder import Refusal, is_done, write_refusal
from training.datasets.shard_writer import Frame, ShardWriter
from training.datasets.side_by_side import side_by_side
from training.lerobot.map import Mapping
from training.lerobot.motion import Motion, frame_vectors, motion_of, vector_axes
from training.lerobot.source import LerobotSource, SourceEpisode
from training.provenance import code_version
from vla_ros.core.cameras import scaled_intrinsics
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.core.resample import NS_PER_S
from vla_ros.policy.pictures import dataset_jpeg
from vla_ros.policy.vla_eval_cameras import eye_from

# Raise it when the same dataset and map would give other frames.
IMPORT_VERSION = 1
# A row's own time may be off by this share of a frame.
TIME_TOLERANCE = 0.1


@dataclass(frozen=True)
class ImportSettings:
    """What shapes the frames: `stride` rows of the dataset are one frame of the contract."""

    contract: Contract
    mapping: Mapping
    label: str
    stride: int
    dataset_sha256: str
    code: str = field(default_factory=code_version)

    @property
    def options(self) -> dict:
        """Plain JSON: all of this but the contract and the code's version."""
        return {
            "dataset_sha256": self.dataset_sha256,
            "map": self.mapping.to_dict(),
            "label": self.label,
            "stride": self.stride,
            "import_version": IMPORT_VERSION,
        }


def import_episode(
    source: LerobotSource, episode: SourceEpisode, folder: Path, settings: ImportSettings
) -> str:
    """Make sure that `folder` holds the episode's shard, or its refusal, and return the key.

    Raises:
        DatasetError: a file cannot be read now for a reason that does not lie in it.
    """
    label = f"{source.path.resolve().name}/episode-{episode.index:06d}"
    sha256 = _sha256([settings.dataset_sha256, episode.index])
    key = _sha256([sha256, settings.contract.to_dict(), settings.options])[:32]
    if is_done(folder, key):
        return key
    try:
        _write_shard(source, episode, folder / key, (label, sha256), settings)
    except (DatasetError, ContractError) as error:
        if may_pass(error.__cause__):
            raise DatasetError(
                f"{label} cannot be read now ({error.__cause__}); give access to {source.path}, "
                "then run the same command again"
            ) from None
        write_refusal(folder, key, Refusal(label, sha256, str(error)))
    return key


def import_side_by_side(
    source: LerobotSource, folder: Path, settings: ImportSettings, workers: int
) -> Iterator[SourceEpisode]:
    """Import all episodes, `workers` at a time, and yield each once it is done.

    One worker is this process itself. The shards are the same to the byte, whoever makes them.

    Raises:
        DatasetError: as `import_episode`, or a worker died.
        OSError: the disk refuses.
    """
    if workers <= 1 or len(source.episodes) <= 1:
        for episode in source.episodes:
            import_episode(source, episode, folder, settings)
            yield episode
        return
    job = partial(_import_elsewhere, source=source, folder=folder, settings=settings)
    for episode, found in side_by_side(source.episodes, job, workers, lambda *_: None):
        if isinstance(found, str):
            raise DatasetError(
                f"episode {episode.index} of {source.path} was not imported: {found}; run the same "
                "command again"
            )
        if found is not None:
            raise found
        yield episode


def _import_elsewhere(
    episode: SourceEpisode,
    source: LerobotSource,
    folder: Path,
    settings: ImportSettings,
    say: Callable,
) -> Exception | None:
    """Import an episode in a process of its own; return what kept it from that."""
    cv2.setNumThreads(1)  # the others have the other processors
    try:
        import_episode(source, episode, folder, settings)
    except (DatasetError, OSError) as error:
        return error
    return None


def _sha256(content: list) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _write_shard(
    source: LerobotSource,
    episode: SourceEpisode,
    target: Path,
    names: tuple[str, str],
    settings: ImportSettings,
) -> None:
    mapping, contract = settings.mapping, settings.contract
    motion = _motion(source, episode, mapping)
    drops = DropList(contract.rate_hz)
    runs = _runs(motion, episode, settings, drops)
    rows = np.array([row for run in runs for row, _ in run], np.int64)
    shown = zip(*(source.pictures(episode, c, rows) for c in mapping.cameras.values()), strict=True)
    cameras = _cameras(mapping, contract.image.shape[0])
    with ShardWriter(target, contract, vector_axes(mapping, settings.label)) as writer:
        for run in runs:
            task = mapping.task or episode.task
            writer.begin_episode(task, mapping.kind, mapping.success, "imported", cameras)
            for row, vectors in run:
                where = f"frame {row} of {names[0]}"
                jpegs, pictures = _pictures(mapping, next(shown), contract, where)
                writer.add(Frame(_tick_ns(row, settings), jpegs, pictures, vectors, 0.0))
            if count := writer.end_episode():
                drops.add("too short a piece", _tick_ns(run[0][0], settings), count=count)
        options = settings.options
        makers = made_by(settings.code)
        writer.finish(*names, options["map"], options, drops.runs(), (), makers)


def _cameras(mapping: Mapping, side: int) -> dict[str, Camera]:
    """Return what is known of the cameras, intrinsics for pictures of side `side` [px]."""
    eyes = {name: eye_from(row) for name, row in mapping.calibrations.items()}
    return {
        name: Camera(scaled_intrinsics(eye.K, eye.size, side).tolist(), eye.T_base_camera.tolist())
        for name, eye in eyes.items()
    }


def _motion(source: LerobotSource, episode: SourceEpisode, mapping: Mapping) -> Motion:
    parts = (mapping.state, mapping.pose, mapping.action)
    columns = list(dict.fromkeys(part.column for part in parts if part is not None))
    table = source.table(episode, [*columns, "timestamp"])
    off = np.abs(table.column("timestamp").to_numpy() * source.fps - np.arange(episode.length))
    if not np.all(off <= TIME_TOLERANCE):
        row = int(np.argmax(~(off <= TIME_TOLERANCE)))
        raise DatasetError(
            f"frame {row} of episode {episode.index} of {source.path} is not at {row} / "
            f"{source.fps:g} s; leave that episode out"
        )
    rows = {name: np.array(table.column(name).to_pylist(), np.float64) for name in columns}
    return motion_of(mapping, rows)


def _tick_ns(row: int, settings: ImportSettings) -> int:
    return round(row / settings.stride / settings.contract.rate_hz * NS_PER_S)


def _runs(
    motion: Motion, episode: SourceEpisode, settings: ImportSettings, drops: DropList
) -> list[list[tuple[int, dict[str, np.ndarray]]]]:
    """Return runs of (row, vectors) of consecutive frames; what is dropped is noted."""
    contract, stride = settings.contract, settings.stride
    is_told = motion.is_told
    runs: list[list[tuple[int, dict[str, np.ndarray]]]] = [[]]
    for row in range(0, episode.length, stride):
        reason = "" if is_told[max(0, row - 1) : row + stride + 1].all() else "not finite"
        vectors = None if reason else frame_vectors(motion, row, stride, settings.label)
        if vectors is None:
            reason = reason or "no next frame or command"
        else:
            try:
                contract.state.validate(vectors["observation.state"])
                contract.action.validate(vectors["action"])
            except ContractError:
                reason = "outside the contract"
        if vectors is not None and not reason:
            runs[-1].append((row, vectors))
            continue
        drops.add(reason, _tick_ns(row, settings))
        if runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _pictures(
    mapping: Mapping, shown: tuple, contract: Contract, where: str
) -> tuple[dict[str, bytes], dict[str, np.ndarray]]:
    jpegs, pictures = {}, {}
    for camera, picture in zip(mapping.cameras, shown, strict=True):
        size = contract.image.shape[0]
        jpegs[camera], pictures[camera] = dataset_jpeg(picture, size, f"{camera} of {where}")
    return jpegs, pictures
