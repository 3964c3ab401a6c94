"""Pictures decoded once: a camera's frames at model size as one memory-mapped array on disk.

DATASET/cache/<camera>-<size>-v<version>-<key>.npy holds (N, S, S, 3) uint8; the key is the hash of
the files that the pictures came from, so another content is another file. It appears under its name
in one piece. Of several processes that want it, one builds it and the others wait.
"""

import fcntl
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from training.datasets.video import read_video
from vla_ros.core.errors import DatasetError
from vla_ros.policy.pictures import decode_jpeg, resize_for_model

FOLDER = "cache"
# Raise it when the same files would give other pixels: another decoder, another resizing.
CACHE_VERSION = 1
# Frames in memory at a time while decoding.
DECODE_BATCH = 64


def cached_frames(
    dataset: Path,
    name: str,
    key: str,
    shape: tuple[int, int, int, int],
    frames: Callable[[], Iterator[np.ndarray]],
) -> np.ndarray:
    """Return the frames (N, S, S, 3) uint8, memory-mapped and read-only; built if need be.

    Args:
        dataset: folder that the cache lies in.
        name: camera and size; a cache of the same name and another key is out of date.
        key: hash of what the pictures come from.
        shape: (N, S, S, 3).
        frames: gives the N pictures (S, S, 3) uint8 in order; called only to build.

    Raises:
        DatasetError: the disk is full or refuses, the cache is damaged, or there are not N frames.
    """
    folder = dataset / FOLDER
    stem = f"{name}-v{CACHE_VERSION}"
    path = folder / f"{stem}-{key[:16]}.npy"
    try:
        if not path.exists():
            folder.mkdir(exist_ok=True)
            with _alone(folder / f"{stem}.lock", name):
                if not path.exists():  # else another process has built it meanwhile
                    _build(path, stem, shape, frames)
        array = np.load(path, mmap_mode="r")
    except OSError as error:
        size_gb = np.prod(shape, dtype=np.int64) / 1e9
        raise DatasetError(
            f"{folder} cannot hold the {size_gb:.3g} GB of decoded pictures "
            f"({error.strerror or error}); free space or give access, then run again"
        ) from None
    except ValueError as error:
        raise DatasetError(f"{path} is damaged ({error}); remove it and run again") from None
    if array.shape != shape or array.dtype != np.uint8:
        raise DatasetError(
            f"{path} holds {array.dtype} of shape {array.shape}, and uint8 of shape {shape} is "
            "expected; remove it and run again"
        )
    return np.asarray(array)  # a plain array on the same memory map: gathers are faster


@contextmanager
def _alone(path: Path, name: str) -> Iterator[None]:
    """Hold the lock file `path`, which the system frees when a process dies, however it dies."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"another process decodes {name} in {path.parent}; waiting", file=sys.stderr)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(
    path: Path,
    stem: str,
    shape: tuple[int, int, int, int],
    frames: Callable[[], Iterator[np.ndarray]],
) -> None:
    """Write the array to `path` in one piece, then remove those that are out of date."""
    temporary = path.with_name(f".{stem}.tmp")  # of a killed process, if it is there
    count = 0
    try:
        with (
            temporary.open("wb") as file,
            tqdm(total=shape[0], desc=f"decode {stem}", unit="frame", disable=None) as bar,
        ):
            header = {"descr": "|u1", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            file.flush()
            # A full disk says so now, not after an hour. Written, not mapped: a mapped file of
            # which no more fits on the disk kills the process.
            os.posix_fallocate(file.fileno(), 0, file.tell() + int(np.prod(shape, dtype=np.int64)))
            for picture in frames():
                file.write(np.ascontiguousarray(picture).data)
                count += 1
                bar.update()
            file.flush()
            os.fsync(file.fileno())
        if count != shape[0]:
            raise DatasetError(
                f"{path.parent.parent} has {count} pictures of {stem}, and its metadata says "
                f"{shape[0]} frames; convert the bags again"
            )
        temporary.rename(path)
    finally:
        temporary.unlink(missing_ok=True)
    for old in path.parent.iterdir():
        if old.name.startswith(f"{stem}-") and old != path:
            old.unlink()


def jpeg_frames(files: list[Path], column: str, size: int, model_size: int) -> Iterator[np.ndarray]:
    """Yield the pictures in a column of parquet files at model size, decoded by several threads.

    Raises:
        DatasetError: a file cannot be read.
        ContractError: a picture cannot be decoded; names frame and file.
    """

    def decode(data: pa.StructScalar, where: str) -> np.ndarray:
        return resize_for_model(decode_jpeg(data["bytes"].as_py(), where), size, model_size)

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file in files:
            first = 0
            try:
                with pq.ParquetFile(file) as reader:
                    for batch in reader.iter_batches(DECODE_BATCH, columns=[column]):
                        where = [f"row {first + i} of {file}" for i in range(len(batch))]
                        yield from pool.map(decode, batch.column(0), where)
                        first += len(batch)
            except pa.ArrowException as error:
                raise DatasetError(
                    f"{file} cannot be read ({error}); convert the bags again"
                ) from None


def video_frames(files: list[Path], size: int, model_size: int) -> Iterator[np.ndarray]:
    """Yield the pictures of video files, one file after the other, at model size.

    Raises:
        DatasetError: a file cannot be read.
    """
    for file in files:
        for _, picture in read_video(file):
            yield resize_for_model(picture, size, model_size)
