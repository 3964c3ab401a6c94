import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.learning.sampling import Mixture, Sampler
from training.learning.windows import Samples
from vla_ros.core.errors import DatasetError


class Numbered:
    """A source of samples whose state is a number: `first` of the first one, and so on."""

    def __init__(self, count, first=0):
        self.count, self.first = count, first

    def __len__(self):
        return self.count

    def batch(self, indices, with_pictures=True):
        assert (indices >= 0).all()
        assert (indices < self.count).all()
        numbers = self.first + indices
        pictures = (
            np.zeros((len(indices), 1, 2, 2, 3), np.uint8) + numbers[:, None, None, None, None]
        )
        return Samples(
            numbers[:, None],
            {"front": pictures},
            np.repeat(numbers[:, None], 7, axis=1),
            numbers[:, None, None],
            np.ones((len(indices), 1), bool),
            numbers.astype(object),
        )


def taken(sampler, num_steps):
    return np.concatenate([sampler.indices(step) for step in range(num_steps)])


def test_every_epoch_takes_every_sample_once():
    first = taken(Sampler([10], 4, seed=0), 5)
    assert sorted(first[:10]) == sorted(first[10:]) == list(range(10))
    assert first[:10].tolist() != first[10:].tolist()


def test_a_batch_larger_than_the_data_wraps_around():
    chosen = Sampler([3], 7, seed=0).indices(0)
    assert sorted(np.bincount(chosen).tolist()) == [2, 2, 3]


def test_a_step_takes_the_same_whatever_was_asked_for_before():
    sampler = Sampler([10, 30], 4, seed=1, weights=[1, 1])
    expected = [sampler.indices(step) for step in range(25)]
    for step in (24, 3, 17):
        assert (Sampler([10, 30], 4, 1, [1, 1]).indices(step) == expected[step]).all()
        assert (sampler.indices(step) == expected[step]).all()


def test_another_seed_takes_another_order():
    orders = {tuple(taken(Sampler([20], 4, seed), 5)) for seed in range(5)}
    assert len(orders) == 5


@given(
    st.lists(st.integers(1, 9), min_size=1, max_size=3),
    st.integers(1, 4),
    st.integers(1, 4),
    st.integers(0, 9),
)
def test_ranks_share_what_one_process_would_take_and_no_sample_twice(counts, world, batch, step):
    whole = Sampler(counts, batch * world, seed=5).indices(step)
    ranks = [
        Sampler(counts, batch, 5, rank=r, world_size=world).indices(step) for r in range(world)
    ]
    assert (np.stack(ranks, axis=1).reshape(-1) == whole).all()
    if batch * world * (step + 1) <= sum(counts):
        assert len(set(np.concatenate(ranks).tolist())) == batch * world


def test_datasets_have_their_share_and_each_sample_its_turn():
    # Weights 3 to 1 of 10 and 30 samples: an epoch of 40 is 30 of the first and 10 of the second.
    sampler = Sampler([10, 30], 8, seed=0, weights=[3, 1])
    chosen = taken(sampler, 15).reshape(3, 40)
    for epoch in chosen:
        assert (epoch < 10).sum() == 30
        assert np.bincount(epoch[epoch < 10]).tolist() == [3] * 10
    # Three epochs take the 30 of the second dataset once each.
    assert sorted(chosen[chosen >= 10].tolist()) == list(range(10, 40))
    assert len(set((chosen[0] < 10).tolist())) == 2  # not one dataset after the other
    assert (chosen[0, :30] < 10).sum() < 30


def test_a_mixture_gathers_in_the_order_asked_for():
    mixture = Mixture([Numbered(3), Numbered(4, first=100)])
    assert len(mixture) == 7
    samples = mixture.batch(np.array([5, 0, 3, 2, 6]))
    assert samples.tasks.tolist() == [102, 0, 100, 2, 103]
    for array in (samples.frames, samples.states, samples.actions, samples.pictures["front"]):
        assert array.reshape(5, -1)[:, 0].tolist() == [102, 0, 100, 2, 103]


def test_a_mixture_takes_sizes_for_weights_where_none_are_given():
    assert Mixture([Numbered(1), Numbered(3)]).weights == [0.25, 0.75]
    assert Mixture([Numbered(1), Numbered(3)], [2, 2]).weights == [0.5, 0.5]


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, float("nan")], [1, -1]])
def test_refuses_weights_that_are_none(weights):
    with pytest.raises(DatasetError, match="one positive number for each of 2 datasets"):
        Mixture([Numbered(1), Numbered(3)], weights)


def test_refuses_a_part_without_samples():
    with pytest.raises(DatasetError, match=r"must have samples, got \[3, 0\]"):
        Mixture([Numbered(3), Numbered(0)])


@pytest.mark.parametrize(("rank", "world", "batch"), [(2, 2, 1), (-1, 2, 1), (0, 0, 1), (0, 1, 0)])
def test_refuses_a_rank_outside_its_world(rank, world, batch):
    with pytest.raises(DatasetError, match="rank must be from 0"):
        Sampler([3], batch, 0, rank=rank, world_size=world)
