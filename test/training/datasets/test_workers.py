"""Bags that cannot be converted: what is a failure, and what a refusal for good."""

from training.datasets.bag_shard import Settings
from training.datasets.frames import MaxAge
from training.datasets.workers import convert_one
from vla_ros.core.contract import tap_contract

SETTINGS = Settings(tap_contract(image_size=16), MaxAge())


def test_a_bag_that_vanished_or_may_not_be_read_is_a_failure_and_no_refusal(tmp_path):
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(tmp_path / "gone", folder, SETTINGS, lambda *_: None)
    assert done.key is None
    assert not done.is_disk
    assert "gone cannot be read (No such file or directory)" in done.failure
    assert not list(folder.iterdir())


def test_a_bag_without_a_file_is_refused_for_good(bag_writer, tmp_path):
    empty = tmp_path / "session/empty"
    empty.mkdir(parents=True)
    (empty / "metadata.yaml").write_text("rosbag2_bagfile_information: {}\n")
    folder = tmp_path / "shards"
    folder.mkdir()
    done = convert_one(empty, folder, SETTINGS, lambda *_: None)
    assert (folder / f"{done.key}.refused.json").exists()
