"""What the recorder says of its disk, without a graph."""

import errno
from pathlib import Path

import pytest

pytest.importorskip("rclpy")

from vla_ros.core.disk_budget import DiskBudget
from vla_ros.nodes.diagnostics import ERROR, OK
from vla_ros.nodes.disk import SessionDisk, folder_bytes


class Said:
    """A `Diagnostics` that keeps what it is told."""

    def set(self, name, level, message, values=None):
        self.status = name, level, message


def refuse(*_, **__):
    raise OSError(errno.EIO, "Input/output error")


def test_a_disk_that_does_not_answer_is_one_sentence_everywhere(tmp_path, monkeypatch):
    disk, said = SessionDisk(tmp_path / "s", DiskBudget(0)), Said()
    disk.publish(said)
    assert said.status[:2] == ("disk", OK)
    monkeypatch.setattr("shutil.disk_usage", refuse)
    sentence = str(disk.fault())
    assert sentence.startswith(f"the disk of {tmp_path / 's'} cannot be asked for its free space")
    assert "(Input/output error)" in sentence
    assert disk.outlook() == sentence
    disk.publish(said)
    assert said.status == ("disk", ERROR, sentence)


def test_files_that_cannot_be_looked_at_count_nothing(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"four")
    assert folder_bytes(tmp_path) == 4
    assert folder_bytes(Path("/nowhere")) == 0
    monkeypatch.setattr("os.stat", refuse)
    assert folder_bytes(tmp_path) == 0
