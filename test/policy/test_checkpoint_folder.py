"""A checkpoint's folder is swapped so that there is always one."""

import errno
import os
import shutil
import stat
from contextlib import nullcontext
from pathlib import Path

import pytest

from vla_ros.core.errors import CheckpointError
from vla_ros.policy import checkpoint_folder
from vla_ros.policy.checkpoint_folder import replace_folder, tidy_folder

# Beyond what Linux gives a process.
GONE = 2**22 + 1


def ours(path):
    return (path / "number").exists()


def write(path, number):
    replace_folder(path, lambda folder: (folder / "number").write_text(str(number)) and None, ours)


def number(path):
    return (path / "number").read_text()


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(params=["exchange", "two renames"])
def path(request, tmp_path, monkeypatch):
    """Return where a folder is to be, on a file system that can swap two and on one that cannot."""
    if request.param == "two renames":
        monkeypatch.setattr(checkpoint_folder, "_exchange", lambda one, other: False)
    return tmp_path / "ckpt"


def test_the_new_folder_takes_the_place_of_the_old_one(path):
    for count in range(3):
        write(path, count)
        assert number(path) == str(count)
        assert names(path.parent) == ["ckpt"]


def test_a_link_stays_and_the_folder_that_it_shows_is_replaced(path, tmp_path):
    (tmp_path / "big" / "ckpt").mkdir(parents=True)
    path.symlink_to(tmp_path / "big" / "ckpt")
    (tmp_path / "big" / f".ckpt.{GONE}.tmp").mkdir()
    for count in range(3):
        tidy_folder(path)
        write(path, count)
        assert (tmp_path / "big" / "ckpt" / "number").read_text() == str(count)
        assert path.is_symlink()
        assert (names(tmp_path), names(tmp_path / "big")) == (["big", "ckpt"], ["ckpt"])


def test_ctrl_c_between_two_renames_puts_the_old_folder_back(tmp_path, monkeypatch):
    write(tmp_path / "ckpt", 1)
    monkeypatch.setattr(checkpoint_folder, "_exchange", lambda one, other: False)
    real = Path.rename

    def rename(self, target):
        if self.name.endswith(".tmp"):
            raise KeyboardInterrupt
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "ckpt", 2)
    assert number(tmp_path / "ckpt") == "1"
    assert names(tmp_path) == ["ckpt"]


def test_where_two_folders_can_be_swapped_the_place_is_never_empty(tmp_path, monkeypatch):
    for name in "ab":
        (tmp_path / name).mkdir()
    if not checkpoint_folder._exchange(tmp_path / "a", tmp_path / "b"):
        pytest.skip("this file system does not swap two folders")
    write(tmp_path / "ckpt", 1)
    monkeypatch.setattr(Path, "rename", lambda *_: pytest.fail("moved away"))
    write(tmp_path / "ckpt", 2)
    assert number(tmp_path / "ckpt") == "2"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "free the disk or choose another folder"),
        (errno.EACCES, "allow writing there or choose another folder"),
        (errno.EXDEV, "choose another folder"),
    ],
)
def test_a_swap_that_the_disk_refuses_leaves_the_old_folder(code, remedy, tmp_path, monkeypatch):
    write(tmp_path / "ckpt", 1)

    def refuse(*_):
        raise OSError(code, "refused")

    monkeypatch.setattr(checkpoint_folder, "_exchange", refuse)
    with pytest.raises(CheckpointError, match=rf"refused\); {remedy}$"):
        write(tmp_path / "ckpt", 2)
    assert number(tmp_path / "ckpt") == "1"
    assert names(tmp_path) == ["ckpt"]


@pytest.mark.parametrize(
    ("code", "kind", "is_fatal"),
    [
        (errno.EINVAL, stat.S_ISDIR, False),
        (errno.EINVAL, stat.S_ISREG, True),
        (errno.EIO, stat.S_ISDIR, True),
    ],
)
def test_a_file_system_that_syncs_files_alone_will_do(code, kind, is_fatal, tmp_path, monkeypatch):
    def fsync(descriptor):
        if kind(os.fstat(descriptor).st_mode):
            raise OSError(code, "not here")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(CheckpointError, match="not here") if is_fatal else nullcontext():
        write(tmp_path / "ckpt", 1)
    assert (tmp_path / "ckpt").exists() != is_fatal


def test_what_a_killed_writer_left_is_put_back_or_removed(tmp_path):
    path = tmp_path / "ckpt"
    write(path, 1)
    shutil.copytree(path, tmp_path / f".ckpt.{GONE}.tmp")
    shutil.copytree(path, tmp_path / f".ckpt.{os.getppid()}.tmp")
    (tmp_path / ".ckpt.notes.tmp").mkdir()
    path.rename(tmp_path / f".ckpt.{GONE}.old")
    tidy_folder(path)
    assert number(path) == "1"
    # That of a process which lives may be in use.
    assert names(tmp_path) == [f".ckpt.{os.getppid()}.tmp", ".ckpt.notes.tmp", "ckpt"]


def test_an_old_folder_does_not_replace_a_newer_one(tmp_path):
    path = tmp_path / "ckpt"
    write(path, 1)
    path.rename(tmp_path / f".ckpt.{GONE}.old")
    write(path, 2)
    tidy_folder(path)
    assert number(path) == "2"
    assert names(tmp_path) == ["ckpt"]
    tidy_folder(tmp_path / "nowhere" / "ckpt")
    assert names(tmp_path) == ["ckpt"]
