"""A LeRobot dataset as training data.

`python -m training.lerobot_import DATASET --map FILE --out OUT`: DATASET is a folder in the layout
v2.0, v2.1 or v3.0, pictures as images or video. FILE says what its columns mean (docs/data.md). OUT
is a dataset as training.convert writes it. Nothing is guessed: a frame whose motion the dataset
does not tell is dropped and counted, and cuts its episode in two; an episode that cannot be read is
left out and named. Run again after a stop: it goes on where it was.
"""

import argparse
import hashlib
import json
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.datasets.assembly import IMAGES, assemble
from training.datasets.frames import DropList
from training.datasets.labels import LABELS, label_contract
from training.datasets.shard_folder import Refusal, is_done, opened, read_shards, write_refusal
from training.datasets.shard_writer import Frame, ShardWriter
from training.datasets.video import CODECS, DEFAULT_CODEC
from training.lerobot.map import Mapping
from training.lerobot.map_file import load_mapping
from training.lerobot.motion import Motion, frame_vectors, motion_of, require_label, vector_axes
from training.lerobot.source import LerobotSource, SourceEpisode
from training.provenance import code_version
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, DatasetError, VlaError
from vla_ros.core.resample import NS_PER_S
from vla_ros.policy.pictures import dataset_jpeg

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

    @property
    def options(self) -> dict:
        """Plain JSON: all of this but the contract."""
        return {
            "dataset_sha256": self.dataset_sha256,
            "map": self.mapping.to_dict(),
            "label": self.label,
            "stride": self.stride,
            "import_version": IMPORT_VERSION,
        }


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's settings."""
    parser = argparse.ArgumentParser(
        prog="training.lerobot_import",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("dataset", type=Path, help="folder that holds meta/info.json")
    add("--map", type=Path, required=True, help="YAML file that says what the columns mean")
    add("--out", type=Path, required=True, help="dataset folder to make")
    add("--image-size", type=int, default=128, help="side of the pictures [px]")
    add("--rate", type=float, help="frames a second; the dataset's own, or a part of it [Hz]")
    add("--label", choices=LABELS, default="reached", help="motion that `action` is")
    add("--images", choices=IMAGES, default="jpeg", help="how pictures are kept")
    add("--codec", choices=CODECS, default=DEFAULT_CODEC, help="of --images video")
    return parser.parse_args(argv)


def settings_of(
    source: LerobotSource, map_file: Path, label: str, image_size: int, rate_hz: float | None
) -> ImportSettings:
    """Return what shapes the frames of an import.

    Raises:
        ContractError: the map is wrong, or does not tell the label's motion.
        DatasetError: the rate is no part of the dataset's.
    """
    mapping = load_mapping(map_file, source.features)
    require_label(mapping, label)
    rate_hz = source.fps if rate_hz is None else rate_hz
    stride = round(source.fps / rate_hz) if rate_hz > 0 else 0
    if stride < 1 or abs(stride * rate_hz - source.fps) > 1e-6:
        raise DatasetError(
            f"{source.path} has {source.fps:g} frames a second, of which {rate_hz:g} are no whole "
            "part; choose another --rate, for frames are left out and never made up"
        )
    contract = label_contract(
        label,
        tuple(mapping.cameras),
        image_size,
        rate_hz,
        mapping.robot_model,
        len(mapping.state.joints.axes),
    )
    return ImportSettings(contract, mapping, label, stride, source.sha256())


def import_dataset(
    source: LerobotSource,
    out: Path,
    settings: ImportSettings,
    images: str = "jpeg",
    codec: str = DEFAULT_CODEC,
) -> dict:
    """Write the dataset `out` of all episodes and return its info.json.

    Raises:
        VlaError: `out` cannot be written to or is of another contract or other options, or no
            episode yields a frame.
    """
    pictures = {"images": images, **({"codec": codec} if images == "video" else {})}
    options = {**settings.options, **pictures}
    try:
        with opened(Path(out), settings.contract, options) as folder:
            for episode in tqdm(source.episodes, desc="import", unit="episode", disable=None):
                import_episode(source, episode, folder, settings)
            shards, refusals = read_shards(folder)
            dropped: Counter = Counter()
            for shard in shards:
                for run in shard.facts.dropped:
                    dropped[run.reason] += run.count
            if refusals and not shards:
                raise DatasetError(
                    f"none of {len(refusals)} episodes can be used; {refusals[0].reason}"
                )
            provenance = {
                "bags": [
                    {
                        "bag": shard.facts.label,
                        "sha256": shard.facts.source_sha256,
                        "frames": shard.facts.num_frames,
                    }
                    for shard in shards
                ],
                "skipped_bags": [
                    {"bag": refusal.label, "reason": refusal.reason} for refusal in refusals
                ],
                "dropped": dict(sorted(dropped.items())),
                "options": options,
                "code_version": code_version(),
            }
            return assemble(Path(out), settings.contract, shards, provenance, images, codec)
    except OSError as error:
        raise DatasetError(
            f"{out} cannot be written ({error.strerror or error}); what was imported is kept: "
            "free space or give access, then run the same command again"
        ) from None


def import_episode(
    source: LerobotSource, episode: SourceEpisode, folder: Path, settings: ImportSettings
) -> str:
    """Make sure that `folder` holds the episode's shard, or its refusal, and return the key."""
    label = f"{source.path.resolve().name}/episode-{episode.index:06d}"
    sha256 = _sha256([settings.dataset_sha256, episode.index])
    key = _sha256([sha256, settings.contract.to_dict(), settings.options])[:32]
    if is_done(folder, key):
        return key
    try:
        _write_shard(source, episode, folder / key, (label, sha256), settings)
    except (DatasetError, ContractError) as error:
        write_refusal(folder, key, Refusal(label, sha256, str(error)))
    return key


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
    with ShardWriter(target, contract, vector_axes(mapping, settings.label)) as writer:
        for run in runs:
            task = mapping.task or episode.task
            writer.begin_episode(task, mapping.kind, mapping.success, "imported")
            for row, vectors in run:
                where = f"frame {row} of {names[0]}"
                jpegs, pictures = _pictures(mapping, next(shown), contract, where)
                writer.add(Frame(_tick_ns(row, settings), jpegs, pictures, vectors, 0.0))
            if count := writer.end_episode():
                drops.add("too short a piece", _tick_ns(run[0][0], settings), count=count)
        options = settings.options
        writer.finish(*names, options["map"], options, drops.runs())


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


def main(argv: list[str] | None = None) -> int:
    """Import as the command line says; an error is one sentence on stderr and exit code 1."""
    args = parse_arguments(argv)
    try:
        source = LerobotSource(args.dataset)
        settings = settings_of(source, args.map, args.label, args.image_size, args.rate)
        info = import_dataset(source, args.out, settings, args.images, args.codec)
    except VlaError as error:
        print(f"training.lerobot_import: {error}", file=sys.stderr)
        return 1
    provenance = info["vla_ros"]["provenance"]
    for row in provenance["skipped_bags"]:
        print(f"left out: {row['bag']}: {row['reason']}", file=sys.stderr)
    dropped = ", ".join(f"{count} {reason}" for reason, count in provenance["dropped"].items())
    print(
        f"{args.out}: {info['total_episodes']} episodes, {info['total_frames']} frames at "
        f"{info['fps']} Hz, {info['total_tasks']} tasks; "
        f"{len(provenance['skipped_bags'])} episodes left out; dropped: {dropped or 'nothing'}"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
