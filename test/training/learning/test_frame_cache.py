"""The cache of decoded frames: whole or absent, one builder at a time, with real processes."""

import fcntl
import os
import resource
import signal
import time
from contextlib import contextmanager

import numpy as np
import pytest

from training.learning.frame_cache import CACHE_VERSION, cached_frames
from vla_ros.core.errors import DatasetError

SHAPE = (5, 4, 4, 3)


def pictures(count=5):
    return (np.full((4, 4, 3), i, np.uint8) for i in range(count))


def never():
    raise AssertionError("decoded again")


def names(folder):
    return sorted(path.name for path in (folder / "cache").iterdir())


@pytest.fixture
def start(fork):
    """Return what builds a cache of slow pictures elsewhere and tells how many it made itself."""

    def start(folder, delay_s):
        made = []

        def slow():
            for picture in pictures():
                print("made")
                made.append(picture)
                time.sleep(delay_s)
                yield picture

        def build():
            array = cached_frames(folder, "front-4", "a" * 64, SHAPE, slow)
            assert array[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
            print("total", len(made))

        return fork(build)

    return start


@contextmanager
def file_size_limit(size):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_frames_are_made_once_and_read_from_then_on(tmp_path):
    first = cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, pictures)
    assert first[:, 3, 3, 2].tolist() == [0, 1, 2, 3, 4]
    again = cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, never)
    assert (again == first).all()
    assert not again.flags.writeable
    stem = f"front-4-v{CACHE_VERSION}"
    assert names(tmp_path) == [f"{stem}-{'a' * 16}.npy", f"{stem}.lock"]


def test_other_content_takes_the_place_of_what_is_out_of_date(tmp_path):
    for name in ("front-4", "front-40"):
        cached_frames(tmp_path, name, "a" * 64, SHAPE, pictures)
    old = cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, never)
    cached_frames(tmp_path, "front-4", "b" * 64, (2, 4, 4, 3), lambda: pictures(2))
    kept = [name for name in names(tmp_path) if name.endswith(".npy")]
    assert [name.split("-v")[0] for name in kept] == ["front-4", "front-40"]
    assert kept[0].endswith(f"{'b' * 16}.npy")
    assert old[4, 0, 0, 0] == 4  # a run that reads the old one goes on


@pytest.mark.parametrize("count", [4, 6])
def test_refuses_another_number_of_pictures_than_frames(count, tmp_path):
    with pytest.raises(DatasetError, match=rf"has {count} pictures .* says 5 frames"):
        cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, lambda: pictures(count))
    assert not [name for name in names(tmp_path) if not name.endswith(".lock")]


def test_a_full_disk_is_one_sentence_before_anything_is_decoded(tmp_path):
    with file_size_limit(10_000), pytest.raises(DatasetError) as caught:
        cached_frames(tmp_path, "front-64", "a" * 64, (5, 64, 64, 3), never)
    assert "cannot hold the 6.14e-05 GB of decoded pictures (File too large)" in str(caught.value)
    assert names(tmp_path) == [f"front-64-v{CACHE_VERSION}.lock"]


def test_a_folder_that_takes_no_files_is_one_sentence(tmp_path):
    (tmp_path / "cache").write_text("")
    with pytest.raises(DatasetError, match=r"cannot hold the .* free space or give access"):
        cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, pictures)


def test_a_cut_off_cache_is_named(tmp_path):
    cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, pictures)
    (path,) = (tmp_path / "cache").glob("*.npy")
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DatasetError, match=r"npy is damaged .* remove it and run again"):
        cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, never)


def test_two_processes_that_want_it_at_once_build_it_once(tmp_path, start):
    both = [start(tmp_path, 0.05) for _ in range(2)]
    answers = [process.end() for process in both]
    assert [code for code, _ in answers] == [0, 0], answers
    assert sorted(int(said.split()[-1]) for _, said in answers) == [0, 5]
    assert len(list((tmp_path / "cache").glob("*.npy"))) == 1


def test_a_builder_that_is_killed_leaves_nothing_in_the_way(tmp_path, start):
    process = start(tmp_path, 60)
    assert process.said.readline() == "made\n"  # its file is open now, and one picture is in it
    os.kill(process.pid, signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL
    stem = f"front-4-v{CACHE_VERSION}"
    assert names(tmp_path) == [f".{stem}.tmp", f"{stem}.lock"]
    cached_frames(tmp_path, "front-4", "a" * 64, SHAPE, pictures)
    assert names(tmp_path) == [f"{stem}-{'a' * 16}.npy", f"{stem}.lock"]


def test_who_waits_says_so(tmp_path, start):
    (tmp_path / "cache").mkdir()
    path = tmp_path / "cache" / f"front-4-v{CACHE_VERSION}.lock"
    lock = os.open(path, os.O_WRONLY | os.O_CREAT)
    fcntl.flock(lock, fcntl.LOCK_EX)
    process = start(tmp_path, 0)
    assert "another process decodes front-4" in process.said.readline()
    assert not list((tmp_path / "cache").glob("*.npy"))
    # Not by closing it: the other process has inherited the file, and with it the lock.
    fcntl.flock(lock, fcntl.LOCK_UN)
    os.close(lock)
    code, said = process.end()
    assert code == 0
    assert "total 5" in said
