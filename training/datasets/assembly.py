"""Shards to a dataset folder in the LeRobot v3.0 layout.

The folder is a function of the shards, their order and the arguments: assembled in one go, after a
kill, or with one shard more than before, it has the same bytes. It is built beside, and swapped in
with meta/info.json last, so that no reader takes a half-made folder for a dataset.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from training.datasets import dataset_folder, video
from training.datasets import lerobot_layout as layout
from training.datasets.data_files import write_data
from training.datasets.dataset_stats import dense_histogram, image_stats, vector_stats
from training.datasets.files import write_text
from training.datasets.shard import Shard, image_key
from training.datasets.video_files import write_videos
from training.provenance import combined_sha256, file_sha256
from vla_ros.core.contract import Contract
from vla_ros.core.errors import DatasetError

IMAGES = ("jpeg", "video")


def assemble(
    out: Path,
    contract: Contract,
    shards: list[Shard],
    provenance: dict,
    images: str = "jpeg",
    codec: str = video.DEFAULT_CODEC,
    workers: int = 1,
) -> dict:
    """Write the dataset `out` of the shards, in their order, and return its info.json.

    Args:
        out: folder to make or to bring up to date; what else is in it stays.
        contract: of every shard.
        shards: with different labels; those without frames are allowed.
        provenance: goes into info.json as it is, with "data_sha256" added; plain JSON. Its
            "options" must be those of the dataset that is in `out`.
        images: "jpeg", the bytes of the shards in the data files, or "video", mp4 files.
        codec: of videos, a key of `video.CODECS`.
        workers: processes that encode videos.

    Raises:
        DatasetError: no frame, a shard or a dataset in `out` of another contract or other options,
            a rate that is no whole number of Hz, a damaged shard, or an unknown codec.
    """
    out = Path(out)
    fps = layout.whole_fps(contract)
    if images not in IMAGES:
        raise DatasetError(f"pictures must be {' or '.join(IMAGES)}, got {images!r}; choose one")
    if images == "video":
        video.require_codec(codec)
    dataset_folder.refuse_other_dataset(out, contract, provenance.get("options"))
    shards = _checked_shards(out, contract, shards)
    built = dataset_folder.begin(out)
    tasks = list(dict.fromkeys(e.task for shard in shards for e in shard.facts.episodes))
    cameras = list(contract.cameras) if images == "jpeg" else []
    placed = write_data(built, shards, cameras, tasks, fps)
    stream = None
    if images == "video":
        placed = write_videos(built, shards, placed, codec, fps, workers)
        stream = video.stream_info(contract.image.shape[0], codec, fps)
    _write_meta(built, shards, placed, tasks, fps)
    vectors = shards[0].facts.vectors
    info = layout.info(
        contract,
        layout.features(contract, vectors, stream),
        placed,
        len(tasks),
        _signed(built, provenance),
    )
    dataset_folder.swap_in(out, _json(info))
    return info


def _checked_shards(out: Path, contract: Contract, shards: list[Shard]) -> list[Shard]:
    """Return the shards that have frames."""
    labels = Counter(shard.facts.label for shard in shards)
    twice = [label for label, count in labels.items() if count > 1]
    if twice:
        raise DatasetError(
            f"{', '.join(twice[:3])} would be in {out} more than once; give each recording once"
        )
    full = [shard for shard in shards if shard.facts.num_frames]
    if not full:
        raise DatasetError(
            f"no frame to write to {out} from {len(shards)} recordings; "
            "check their topics and stamps"
        )
    expected = (contract.cameras, contract.image.shape[0], contract.rate_hz, full[0].facts.vectors)
    for shard in full:
        facts = shard.facts
        got = (tuple(facts.cameras), facts.image_size, facts.rate_hz, facts.vectors)
        if got != expected:
            raise DatasetError(
                f"shard {shard.path} of {facts.label} has cameras, size [px], rate [Hz] and "
                f"vectors {got}, and {out} gets {expected}; remove that folder and convert again"
            )
    return full


def _write_meta(
    built: Path, shards: list[Shard], placed: list[layout.Placed], tasks: list[str], fps: int
) -> None:
    rows = [layout.episode_row(episode) for episode in placed]
    for number, start in enumerate(range(0, len(rows), layout.EPISODES_PER_FILE)):
        path = built / layout.EPISODES_PATH.format(**layout.chunk_and_file(number))
        path.parent.mkdir(parents=True, exist_ok=True)
        part = rows[start : start + layout.EPISODES_PER_FILE]
        pq.write_table(layout.episodes_table(part), path)
    pq.write_table(layout.tasks_table(tasks), built / layout.TASKS_FILE)
    stats = {
        column: {key: value.tolist() for key, value in values.items()}
        for column, values in _stats(shards, placed, tasks, fps).items()
    }
    write_text(built / layout.STATS_FILE, _json(stats))


def _stats(
    shards: list[Shard], placed: list[layout.Placed], tasks: list[str], fps: int
) -> dict[str, dict[str, np.ndarray]]:
    """Return the statistics of the whole dataset, one column in memory at a time."""
    num_frames = sum(shard.facts.num_frames for shard in shards)
    stats: dict = {}
    for camera in shards[0].facts.cameras:
        histograms = [dense_histogram(p.episode.histograms[camera]) for p in placed]
        stats[image_key(camera)] = image_stats(np.sum(histograms, axis=0), num_frames)
    for name in shards[0].facts.vectors:
        stats[name] = vector_stats(np.concatenate([shard.column(name) for shard in shards]))
    for number, name in enumerate(layout.SCALARS):
        parts = [
            layout.scalar_columns(
                np.arange(len(p.episode)), fps, p.index, p.first, tasks.index(p.episode.task)
            )[number]
            for p in placed
        ]
        stats[name] = vector_stats(np.concatenate(parts))
    return stats


def _signed(built: Path, provenance: dict) -> dict:
    """Return the content of info.json's "vla_ros" besides the contract."""
    files = sorted(p.relative_to(built).as_posix() for p in built.rglob("*") if p.is_file())
    hashes = {name: file_sha256(built / name) for name in files}
    data = {name: value for name, value in hashes.items() if not name.startswith("meta/")}
    return {
        "provenance": {**provenance, "data_sha256": combined_sha256(data)},
        "files": hashes,
    }


def _json(content: dict) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"
