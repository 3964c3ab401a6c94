"""Conversion on a Ray cluster; a real local one where Ray is installed."""

import hashlib
import sys

import pytest

from training.convert import convert
from training.datasets.frames import MaxAge
from training.recordings.bags import find_bags
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError

CONTRACT = tap_contract(image_size=16)


def hashes(folder):
    return {
        path.relative_to(folder).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_without_ray_it_says_so_in_one_sentence(bag_writer, tmp_path, monkeypatch):
    bag_writer.moving_episode("play-0", 4)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DatasetError, match=r"--ray needs Ray, which is not installed; pip install"):
        convert(
            find_bags([bag_writer.folder]), tmp_path / "d", CONTRACT, MaxAge(), ray_address="auto"
        )


@pytest.mark.slow
def test_a_cluster_gives_the_bytes_of_one_process(bag_writer, tmp_path):
    pytest.importorskip("ray")
    for index in range(2):
        bag_writer.moving_episode(f"play-{index}", 5, seed=index)
    bags = find_bags([bag_writer.folder])
    convert(bags, tmp_path / "here", CONTRACT, MaxAge())
    convert(bags, tmp_path / "there", CONTRACT, MaxAge(), ray_address="local")
    assert hashes(tmp_path / "there") == hashes(tmp_path / "here")
