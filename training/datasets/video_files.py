"""The video files of a dataset: an episode's video is encoded once, into its shard, then copied."""

import os
from collections.abc import Iterator
from dataclasses import replace
from itertools import groupby
from pathlib import Path

import numpy as np

from training.datasets import lerobot_layout as layout
from training.datasets.shard import Shard, image_key
from training.datasets.video import join_videos, write_video
from vla_ros.policy.pictures import decode_jpeg


def episode_video(shard: Shard, camera: str, number: int, codec: str) -> Path:
    """Return where a shard keeps the video of its episode `number`."""
    return shard.path / "videos" / codec / camera / f"{number:06d}.mp4"


def encode_shard(shard: Shard, codec: str, fps: int) -> None:
    """Encode the episodes of a shard that are not encoded yet; safe to be killed and repeated.

    Worker processes may call this for their shards before the assembly does.
    """
    for camera in shard.facts.cameras:
        pictures = None
        for number, episode in enumerate(shard.facts.episodes):
            path = episode_video(shard, camera, number, codec)
            if path.exists():
                pictures = None
                continue
            # Row groups are read in order; after an episode that is there already, from its own.
            pictures = pictures or _pictures(shard, camera, episode.first)
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
            write_video(temporary, _take(pictures, len(episode)), codec, fps)
            temporary.rename(path)


def _take(pictures: Iterator[np.ndarray], count: int) -> Iterator[np.ndarray]:
    for _ in range(count):
        yield next(pictures)


def _pictures(shard: Shard, camera: str, first: int) -> Iterator[np.ndarray]:
    """Yield the decoded pictures from frame `first` on, which begins a row group."""
    for index, data in enumerate(shard.jpegs(camera, first), first):
        yield decode_jpeg(data, f"{camera} of frame {index} in shard {shard.path}")


def write_videos(
    folder: Path, shards: list[Shard], placed: list[layout.Placed], codec: str, fps: int
) -> list[layout.Placed]:
    """Write each camera's video files into `folder` and return the episodes with their places.

    An episode lies in one file as a whole; a file holds at most VIDEO_FILE_MB, unless one episode
    alone is larger.
    """
    for shard in shards:
        encode_shard(shard, codec, fps)
    for camera in shards[0].facts.cameras:
        parts = [
            episode_video(shard, camera, number, codec)
            for shard in shards
            for number in range(len(shard.facts.episodes))
        ]
        files = _files([part.stat().st_size for part in parts])
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
            join_videos(path, [part for _, part in group], fps)
        placed = [
            replace(episode, videos={**episode.videos, camera: video})
            for episode, video in zip(placed, videos, strict=True)
        ]
    return placed


def _files(sizes: list[int]) -> list[int]:
    """Return the number of the file for each part of so many bytes."""
    numbers, number, used = [], 0, 0
    for size in sizes:
        if used and used + size > layout.VIDEO_FILE_MB * 1_000_000:
            number, used = number + 1, 0
        numbers.append(number)
        used += size
    return numbers
