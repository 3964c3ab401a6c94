from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.learning.dataset import Episode
from training.learning.splits import _place, split_episodes, stage_1_episodes, stage_2_episodes
from vla_ros.core.errors import DatasetError

SECOND_NS = 1_000_000_000


def episode(number, recording=None, kind="play", success=None, length=5):
    """Return the episode of frames 5 n to 5 n + 5, of a recording of its own."""
    recording = f"recording {number}" if recording is None else recording
    first = 5 * number
    return Episode(first, first + length, "a", kind, "", success, recording=recording)


def dataset_of(episodes):
    contract = SimpleNamespace(rate_hz=5.0)
    return SimpleNamespace(path="data", episodes=episodes, contract=contract)


def names(episodes):
    return [f"{e.kind} {e.success}" for e in episodes]


@pytest.fixture
def dataset():
    """Return a dataset with every kind of episode and every outcome."""
    cases = [
        (kind, success) for kind in ("play", "policy", "demo") for success in (None, True, False)
    ]
    return dataset_of([episode(i, None, *case) for i, case in enumerate(cases)])


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


def test_a_fraction_of_the_recordings_is_held_out_and_each_is_whole():
    # Two pieces each.
    data = dataset_of([episode(i, f"recording {i // 2}") for i in range(800)])
    trained, held_out, _ = split_episodes(data, data.episodes, 0.2)
    assert 0.15 < len(held_out) / 800 < 0.25
    assert not {e.recording for e in trained} & {e.recording for e in held_out}
    assert sorted([*trained, *held_out], key=lambda e: e.first) == data.episodes


def test_no_stage_holds_out_what_another_trains_on_whatever_kinds_it_takes():
    # Twenty demonstrations of which every fifth failed, and fifteen plays.
    demos = [episode(i, None, "demo", i % 5 > 0) for i in range(20)]
    data = dataset_of([*demos, *(episode(i) for i in range(20, 35))])
    taken = [
        stage_1_episodes(data, ["play", "demo"]),
        stage_1_episodes(data),
        stage_1_episodes(data, ["demo"]),
        stage_2_episodes(data),
    ]
    splits = [split_episodes(data, episodes, 0.2) for episodes in taken]
    for one in splits:
        assert one.trained
        assert one.held_out
        for other in splits:
            assert not {e.first for e in one.held_out} & {e.first for e in other.trained}


def test_fellows_decide_whether_they_are_taken_or_not():
    data = dataset_of([episode(0), episode(1)])
    trained, held_out, _ = split_episodes(data, data.episodes, 0.2)
    assert (len(trained), len(held_out)) == (1, 1)
    assert split_episodes(data, trained, 0.2) == (trained, [], 0)
    assert split_episodes(data, held_out, 0.2) == ([], held_out, 0)


def split_of(numbers):
    """Return which of plays by number are trained on, and which are held out."""
    episodes = [episode(number) for number in sorted(numbers)]
    trained, held_out, _ = split_episodes(dataset_of(episodes), episodes, 0.2)
    return {e.first // 5 for e in trained}, {e.first // 5 for e in held_out}


ORDER = sorted(range(200), key=lambda number: _place(f"recording {number}"))
BELOW = {number for number in ORDER if _place(f"recording {number}") < 0.2}
ALL = [*ORDER[:20], *ORDER[100:120]]


def most(count):
    """Return how many of so many recordings may be held out: a fifth, rounded up."""
    return -(-count // 5)


@pytest.mark.parametrize("count", [3, 5, 6, 11])
def test_of_few_recordings_no_chance_holds_out_more_than_a_fifth(count):
    few = set(ORDER[:count])
    assert few <= BELOW
    assert split_of(few) == (set(ORDER[most(count) : count]), set(ORDER[: most(count)]))


@settings(max_examples=25, deadline=None)
@given(st.sets(st.sampled_from(ALL), min_size=2), st.sets(st.sampled_from(ALL)))
def test_recordings_that_come_later_move_none_to_the_held_out_but_of_too_many(early, late):
    trained, held_out = split_of(early)
    assert trained
    assert held_out
    assert len(held_out) <= most(len(early))
    assert held_out <= BELOW or len(held_out) == 1
    moved = trained & split_of(early | late)[1]
    if len(early & BELOW) <= most(len(early)):
        assert not moved
    assert moved <= BELOW
    assert len(moved) <= most(len(early | late)) - most(len(early))


def test_a_recording_without_a_fellow_is_cut_in_time():
    whole = Episode(10, 30, "a", "play", "", None, recording="x", start_ns=3 * SECOND_NS)
    fellows = [episode(i, None, "demo", True) for i in range(6, 9)]
    data = dataset_of([whole, *fellows])
    (trained,), (held_out,), _ = split_episodes(data, [whole], 0.2)
    assert (trained.first, trained.end, trained.start_ns) == (10, 26, 3 * SECOND_NS)
    # 16 frames of 0.2 s later.
    assert (held_out.first, held_out.end, held_out.start_ns) == (26, 30, 6_200_000_000)


def test_a_recording_without_a_fellow_that_is_too_short_is_trained_on():
    data = dataset_of([episode(0, length=3)])
    assert split_episodes(data, data.episodes, 0.2) == (data.episodes, [], 0)
