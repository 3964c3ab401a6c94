"""What conversion keeps between runs is whole, of the bags as they are, or not used."""

import pytest

from training.convert import convert
from training.datasets.frames import MaxAge
from vla_ros.core.contract import tap_contract
from vla_ros.core.errors import DatasetError

CONTRACT = tap_contract(image_size=16)


def test_a_flipped_byte_in_a_shard_is_made_good_or_refused_and_never_assembled(bag_writer, tmp_path):
    paths = [bag_writer.moving_episode(f"play-{i}", 3, seed=i) for i in range(2)]
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    data = tmp_path / "d/data/chunk-000/file-000.parquet"
    before = data.read_bytes()
    for frames in (tmp_path / "d/.shards").glob("*/frames.parquet"):
        content = bytearray(frames.read_bytes())
        content[300] ^= 1
        frames.write_bytes(content)
    with pytest.raises(DatasetError, match=r"is damaged: frames.parquet is not what was written"):
        convert(paths[:1], tmp_path / "d", CONTRACT, MaxAge())
    convert(paths, tmp_path / "d", CONTRACT, MaxAge())
    assert data.read_bytes() == before
