from dataclasses import replace
from types import SimpleNamespace

import pytest

from training.learning.dataset import Episode
from training.learning.splits import split_episodes, stage_1_episodes, stage_2_episodes
from vla_ros.core.errors import DatasetError


def episode(first, end, bag="a", kind="play", success=None):
    return Episode(first, end, bag, kind, "", success)


def names(episodes):
    return [f"{e.kind} {e.success}" for e in episodes]


@pytest.fixture
def dataset():
    """Return a dataset with every kind of episode and every outcome."""
    kinds, outcomes = ("play", "policy", "demo"), (None, True, False)
    episodes = [
        episode(5 * i, 5 * i + 5, kind=kind, success=success)
        for i, (kind, success) in enumerate((k, s) for k in kinds for s in outcomes)
    ]
    return SimpleNamespace(path="data", episodes=episodes)


def test_stage_1_takes_play_roll_outs_and_failed_demonstrations(dataset):
    assert names(stage_1_episodes(dataset)) == [
        *("play None", "play True", "play False"),
        *("policy None", "policy True", "policy False"),
        "demo False",
    ]


def test_stage_2_takes_demonstrations_that_were_judged_a_success(dataset):
    assert names(stage_2_episodes(dataset)) == ["demo True"]


def test_kinds_replace_the_rule_but_stage_2_takes_successes_only(dataset):
    assert names(stage_1_episodes(dataset, ["demo"])) == ["demo None", "demo True", "demo False"]
    assert names(stage_2_episodes(dataset, ["demo", "policy"])) == ["policy True", "demo True"]


def test_refuses_kinds_that_are_not_there_and_says_what_is(dataset):
    dataset.episodes = dataset.episodes[:3]
    with pytest.raises(DatasetError, match=r"no usable episode \(policy\); it has 3 of kind play"):
        stage_1_episodes(dataset, ["policy"])
    with pytest.raises(DatasetError, match="demonstrations that were judged a success"):
        stage_2_episodes(dataset)


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
    whole = episode(0, 20)
    expected = [replace(whole, end=18)], [replace(whole, first=18)]
    assert split_episodes([whole], 0.1, 0) == expected


def test_refuses_a_lone_episode_too_short_to_cut():
    with pytest.raises(DatasetError, match="the only episode has 3 frames"):
        split_episodes([episode(0, 3)], 0.1, 0)
