"""The video files of a dataset: an episode's video is encoded once, into its shard, then copied."""

import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np

from training.datasets import lerobot_layout as layout
from training.datasets.files import sync_file, sync_folder
from training.datasets.shard import Shard, image_key, open_shard
from training.datasets.side_by_side import Say, side_by_side
from training.datasets.video import count_pictures, join_videos, write_video
from vla_ros.core.errors import DatasetError, VlaError
from vla_ros.policy.pictures import decode_jpeg


def episode_video(shard: Shard, camera: str, number: int, codec: str) -> Path:
    """Return where a shard keeps the video of its episode `number`."""
    return shard.path / "videos" / codec / camera / f"{number:06d}.mp4"


def encode_shard(shard: Shard, codec: str, fps: int) -> None:
    """Encode the episodes of a shard that are not encoded yet; safe to be killed and repeated."""
    for camera in shard.facts.cameras:
        pictures = None
        for number, episode in enumerate(shard.facts.episodes):
            path = episode_video(shard, camera, number, codec)
            # A file that a power cut or a bad copy has left short would shift all that follow.
            if path.exists() and count_pictures(path) == len(episode):
                pictures = None
                continue
            # Row groups are read in order; after an episode that is there already, from its own.
            pictures = pictures or _pictures(shard, camera, episode.first)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            write_video(temporary, _take(pictures, len(episode)), codec, fps)
            sync_file(temporary)
            temporary.rename(path)
            sync_folder(path.parent)


def _take(pictures: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    for _ in range(count):
        yield next(pictures)


def _pictures(shard: Shard, camera: str, first: int) -> Iterator[np.ndarray]:
    """Yield the decoded pictures from frame `first` on, which begins a row group."""
    for index, data in enumerate(shard.jpegs(camera, first), first):
        yield decode_jpeg(data, f"{camera} of frame {index} in shard {shard.path}")


def _encode_all(shards: list[Shard], codec: str, fps: int, workers: int) -> None:
    if workers <= 1 or len(shards) <= 1:
        for shard in shards:
            encode_shard(shard, codec, fps)
        return
    job = partial(_encode_elsewhere, codec=codec, fps=fps)
    paths = [shard.path for shard in shards]
    for path, failure in side_by_side(paths, job, workers, lambda *_: None):
        if failure is not None:
            raise DatasetError(f"the video of shard {path} cannot be encoded: {failure}")


def _encode_elsewhere(path: Path, codec: str, fps: int, say: Say) -> str | None:
    """Encode the shard at `path` in a process of its own; return what kept it from that."""
    try:
        encode_shard(open_shard(path), codec, fps)
    except (VlaError, OSError) as error:
        return f"{error}"
    return None


def write_videos(
    folder: Path,
    shards: list[Shard],
    placed: list[layout.Placed],
    codec: str,
    fps: int,
    workers: int = 1,
) -> list[layout.Placed]:
    """Write each camera's video files into `folder` and return the episodes with their places.

    An episode lies in one file as a whole; a file holds at most VIDEO_FILE_MB and VIDEO_FILE_S,
    unless one episode alone is larger. What is not encoded yet is so by `workers` processes.
    """
    _encode_all(shards, codec, fps, workers)
    seconds = [len(episode.episode) / fps for episode in placed]
    for camera in shards[0].facts.cameras:
        parts = [
            episode_video(shard, camera, number, codec)
            for shard in shards
            for number in range(len(shard.facts.episodes))
        ]
        files = _files([part.stat().st_size for part in parts], seconds)
        first, videos = 0, []
        for number, (episode, file) in enumerate(zip(placed, files, strict=True)):
            first = 0 if number and file != files[number - 1] else first
            end = first + len(episode.episode)
            videos.append(layout.VideoPart(file, first / fps, end / fps))
            first = end
        for file, group in groupby(zip(files, parts, strict=True), key=lambda pair: pair[0]):
            path = folder / layout.VIDEO_PATH.format(
                video_key=image_key(camera), **layout.chunk_and_file(file)
            )
            path.parent.mkdir(parents=True, exist_ok=True)
            count = join_videos(path, [part for _, part in group], fps)
            expected = sum(len(e.episode) for e, f in zip(placed, files, strict=True) if f == file)
            if count != expected:
                raise DatasetError(
                    f"the videos of {camera} in {shards[0].path.parent} have {count} pictures for "
                    f"{expected} frames; remove their folders `videos` and convert again"
                )
        placed = [
            replace(episode, videos={**episode.videos, camera: video})
            for episode, video in zip(placed, videos, strict=True)
        ]
    return placed


def _files(sizes: list[int], seconds: list[float]) -> list[int]:
    """Return the number of the file for each part of so many bytes and seconds."""
    numbers, number, used, used_s = [], 0, 0, 0.0
    for size, length_s in zip(sizes, seconds, strict=True):
        is_full = used + size > layout.VIDEO_FILE_MB * 1_000_000
        if used and (is_full or used_s + length_s > layout.VIDEO_FILE_S):
            number, used, used_s = number + 1, 0, 0.0
        numbers.append(number)
        used += size
        used_s += length_s
    return numbers
