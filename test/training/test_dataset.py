import json
import shutil

import numpy as np
import pytest

from training.dataset import (
    Episode,
    frame_indices,
    next_frame_pairs,
    open_dataset,
    pairs_within,
    select_episodes,
    split_episodes,
    task_of_frame,
)
from vla_ros.core.actions import ee_delta
from vla_ros.core.errors import DatasetError
from vla_ros.core.rotations import matrix_from_rotvec, transform


@pytest.fixture
def dataset(dataset_path):
    return open_dataset(dataset_path, 32)


def episode(first, end, bag="a", kind="play", success=None):
    return Episode(first, end, bag, kind, "", success)


def test_a_dataset_is_read_back(dataset):
    assert dataset.images.shape == (48, 32, 32, 3)
    assert dataset.actions.shape == (48, 7)
    assert [(e.first, e.end, e.kind) for e in dataset.episodes[:4]] == [
        (0, 8, "play"), (8, 16, "play"), (16, 24, "play"), (24, 32, "demo"),
    ]  # fmt: skip
    assert task_of_frame(dataset)[[0, 30]].tolist() == ["", "Put the carrot on the plate"]


def test_pictures_are_decoded_once_and_kept(dataset, dataset_path):
    (cache,) = (dataset_path / "cache").iterdir()
    changed = cache.stat().st_mtime_ns
    again = open_dataset(dataset_path, 32)
    assert cache.stat().st_mtime_ns == changed
    assert (again.images == dataset.images).all()


def test_each_model_size_has_its_own_cache(dataset, dataset_path):
    assert open_dataset(dataset_path, 16).images.shape == (48, 16, 16, 3)
    assert len(list((dataset_path / "cache").iterdir())) == 2


def test_next_frame_pairs_stay_inside_episodes(dataset):
    pairs = next_frame_pairs(dataset, dataset.episodes[:2])
    assert pairs.first.tolist() == [*range(7), *range(8, 15)]
    assert (pairs.second == pairs.first + 1).all()
    assert (pairs.actions == dataset.actions[pairs.first]).all()


def test_pairs_within_go_both_ways_with_the_displacement_between_the_poses(dataset):
    wide = np.full(6, 10.0)
    pairs = pairs_within(dataset, dataset.episodes[:1], 2, -wide, wide)
    found = {(i, j): a for i, j, a in zip(pairs.first, pairs.second, pairs.actions, strict=True)}
    # From each of 8 frames to those at most 2 away, but not to frame 0, whose gripper command is
    # unknown: 2 * (7 + 6) = 26 ordered pairs, less (1, 0) and (2, 0).
    assert len(found) == 24
    assert not [pair for pair in found if pair[1] == 0 or pair[0] == pair[1]]
    np.testing.assert_allclose(found[3, 4], dataset.actions[3], atol=1e-5)
    T = [transform(matrix_from_rotvec(p[3:]), p[:3]) for p in dataset.ee_poses[:8].astype(float)]
    np.testing.assert_allclose(found[5, 3][:6], ee_delta(T[5], T[3], 0)[:6], atol=1e-6)
    assert found[5, 3][6] == dataset.actions[2, 6]


def test_pairs_that_move_further_than_single_steps_are_left_out(dataset):
    bound = np.abs(dataset.actions[:7, :6]).max(0)
    pairs = pairs_within(dataset, dataset.episodes[:1], 4, -bound, bound)
    assert 0 < len(pairs) < 7 * 8
    assert (np.abs(pairs.actions[:, :6]) <= bound).all()


def test_selection_by_kind_and_success(dataset):
    assert len(select_episodes(dataset, ["play"], only_solved=False)) == 3
    assert len(select_episodes(dataset, ["demo"], only_solved=False)) == 3
    assert len(select_episodes(dataset, ["demo"], only_solved=True)) == 2


def test_an_episode_that_nobody_judged_is_no_success(dataset):
    with pytest.raises(DatasetError, match="no usable episode of kind play"):
        select_episodes(dataset, ["play"], only_solved=True)


def test_held_out_bags_are_whole_and_chosen_by_the_seed():
    episodes = [episode(i * 5, i * 5 + 5, bag=f"bag {i // 2}") for i in range(20)]
    trained, held_out = split_episodes(episodes, 0.2, seed=3)
    assert len(held_out) == 4
    assert not {e.bag for e in trained} & {e.bag for e in held_out}
    assert sorted([*trained, *held_out], key=lambda e: e.first) == episodes
    assert split_episodes(episodes, 0.2, seed=3) == (trained, held_out)
    assert any(split_episodes(episodes, 0.2, seed=s)[1] != held_out for s in range(5))


def test_pieces_of_a_single_bag_are_split_by_episode():
    trained, held_out = split_episodes([episode(0, 5), episode(5, 10)], 0.1, 0)
    assert len(trained) == len(held_out) == 1


def test_a_lone_episode_is_cut_in_time():
    trained, held_out = split_episodes([episode(0, 20)], 0.1, 0)
    assert frame_indices(trained).tolist() == list(range(18))
    assert frame_indices(held_out).tolist() == [18, 19]


def test_refuses_a_lone_episode_too_short_to_cut():
    with pytest.raises(DatasetError, match="the only episode has 3 frames"):
        split_episodes([episode(0, 3)], 0.1, 0)


def test_refuses_kinds_that_are_not_there_and_says_what_is(dataset):
    with pytest.raises(DatasetError, match="no usable episode of kind policy; it has 6 of kind"):
        select_episodes(dataset, ["policy"], only_solved=False)


def test_refuses_a_folder_that_is_no_dataset(tmp_path):
    with pytest.raises(DatasetError, match="is not a complete dataset: .*info.json is missing"):
        open_dataset(tmp_path, 32)


def test_refuses_a_dataset_without_our_contract(dataset_path):
    path = dataset_path / "meta/info.json"
    info = json.loads(path.read_text())
    del info["vla_ros"]["contract"]
    path.write_text(json.dumps(info))
    with pytest.raises(DatasetError, match="no contract of this version"):
        open_dataset(dataset_path, 32)


def test_refuses_another_layout(dataset_path):
    path = dataset_path / "meta/info.json"
    path.write_text(path.read_text().replace('"v3.0"', '"v2.1"'))
    with pytest.raises(DatasetError, match=r"layout v2.1, got 48 frames, and layout v3.0 is read"):
        open_dataset(dataset_path, 32)


def test_refuses_data_that_changed_after_conversion(dataset_path):
    info = dataset_path / "meta/info.json"
    content = json.loads(info.read_text())
    content["vla_ros"]["provenance"]["data_sha256"] = "0" * 64
    info.write_text(json.dumps(content))
    with pytest.raises(DatasetError, match="was changed after conversion"):
        open_dataset(dataset_path, 32)


def test_refuses_cut_off_data(dataset_path, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(dataset_path, copy)
    file = copy / "data/chunk-000/file-000.parquet"
    file.write_bytes(file.read_bytes()[:300])
    with pytest.raises(DatasetError, match="copy is damaged"):
        open_dataset(copy, 32)
