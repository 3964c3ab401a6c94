"""Which samples a step takes: a pure function of seed, step and rank; and several datasets as one.

No state, so a run that is resumed, or has its batches made elsewhere, sees the same samples.
"""

from collections.abc import Sequence
from dataclasses import fields, replace
from functools import lru_cache
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from vla_ros.core.errors import DatasetError

S_co = TypeVar("S_co", covariant=True)


class Source(Protocol[S_co]):
    """What `Windows`, `Pairs` and `Chunks` have in common."""

    def __len__(self) -> int: ...

    def batch(self, indices: np.ndarray, with_pictures: bool = True) -> S_co: ...


class Mixture(Generic[S_co]):
    """Samples of several datasets, numbered one dataset after the other.

    Attributes:
        counts: samples of each.
        weights: share of each in the batches, their sum 1.
    """

    def __init__(self, parts: Sequence[Source[S_co]], weights: Sequence[float] | None = None):
        """Mix `parts` in proportion to `weights`; by their sizes if not given.

        Raises:
            DatasetError: a part is empty, or the weights are not one positive number a part.
        """
        self.parts = list(parts)
        self.counts = [len(part) for part in parts]
        if not self.parts or 0 in self.counts:
            raise DatasetError(
                f"datasets to mix must have samples, got {self.counts}; leave out those that have "
                "none"
            )
        given = np.asarray(self.counts if weights is None else weights, dtype=np.float64)
        if given.shape != (len(parts),) or not np.all(np.isfinite(given) & (given > 0)):
            raise DatasetError(
                f"weights must be one positive number for each of {len(parts)} datasets, got "
                f"{given.tolist()}; correct --weights"
            )
        self.weights: list[float] = (given / given.sum()).tolist()
        self._starts = np.concatenate([[0], np.cumsum(self.counts)])

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batch(self, indices: np.ndarray, with_pictures: bool = True) -> S_co:
        """Return the samples `indices` (B,), in that order; without pictures none is read."""
        if len(self.parts) == 1:
            return self.parts[0].batch(indices, with_pictures)
        part = np.searchsorted(self._starts, indices, side="right") - 1
        order = np.argsort(part, kind="stable")
        back = np.argsort(order)
        chosen = [order[part[order] == number] for number in np.unique(part)]
        batches = [
            self.parts[number].batch(indices[rows] - self._starts[number], with_pictures)
            for number, rows in zip(np.unique(part), chosen, strict=True)
        ]
        return _joined(batches, back)


def _joined(batches: list[Any], order: np.ndarray) -> Any:
    """Return samples side by side: every field is an array, or arrays by name, a sample a row."""

    def join(parts: list) -> Any:
        if isinstance(parts[0], dict):
            return {name: join([part[name] for part in parts]) for name in parts[0]}
        return np.concatenate(parts)[order]

    names = [field.name for field in fields(batches[0])]
    joined = {name: join([getattr(batch, name) for batch in batches]) for name in names}
    return replace(batches[0], **joined)


class Sampler:
    """Numbers of the samples that a rank takes at a step.

    All ranks together take world_size x batch_size samples a step, no position of the order twice;
    the same whole is dealt out whatever the world's size. An epoch has as many samples as the
    datasets together. In it each dataset has its share, shuffled anew, and goes on where it
    was in the epoch before: over time all samples of a dataset are taken equally often.
    """

    def __init__(
        self,
        counts: Sequence[int],
        batch_size: int,
        seed: int,
        weights: Sequence[float] | None = None,
        rank: int = 0,
        world_size: int = 1,
    ):
        """Take from datasets of `counts` samples with `weights` (see `Mixture`).

        Args:
            batch_size: samples of one rank at a step.
            seed: of the order.
            rank: this process among world_size, from 0.
        """
        if not 0 <= rank < world_size or batch_size < 1:
            raise DatasetError(
                f"rank must be from 0 to {world_size - 1} and a batch of at least 1, got rank "
                f"{rank} and batch {batch_size}; correct the launch of this process"
            )
        self._counts = np.asarray(counts, np.int64)
        shares = np.asarray(counts if weights is None else weights, np.float64)
        self._epoch_size = int(self._counts.sum())
        ends = np.rint(np.cumsum(shares) / shares.sum() * self._epoch_size).astype(np.int64)
        self._ends = ends
        self._shares = np.diff(ends, prepend=0)
        self._starts = np.cumsum(self._counts) - self._counts
        self._batch_size, self._seed = batch_size, seed
        self._rank, self._world_size = rank, world_size
        # Batches straddle two epochs at most often, each with an order a dataset and one of all.
        self._order = lru_cache(maxsize=2 * len(self._counts) + 4)(self._new_order)

    def indices(self, step: int) -> np.ndarray:
        """Return which samples (B,) int64 the rank takes at `step` (from 0)."""
        whole = self._batch_size * self._world_size
        positions = np.arange(step * whole + self._rank, (step + 1) * whole, self._world_size)
        chosen = np.empty(len(positions), np.int64)
        epochs = positions // self._epoch_size
        for epoch in np.unique(epochs):
            rows = np.flatnonzero(epochs == epoch)
            places = self._order(-1, int(epoch))[positions[rows] % self._epoch_size]
            chosen[rows] = self._samples(places, int(epoch))
        return chosen

    def _samples(self, places: np.ndarray, epoch: int) -> np.ndarray:
        """Return the samples at places of an unshuffled epoch, datasets one after the other."""
        samples = np.empty(len(places), np.int64)
        sources = np.searchsorted(self._ends, places, side="right")
        for source in np.unique(sources):
            rows = np.flatnonzero(sources == source)
            share, count = self._shares[source], self._counts[source]
            turns = epoch * share + places[rows] - (self._ends[source] - share)
            for turn in np.unique(turns // count):
                now = rows[turns // count == turn]
                at = turns[turns // count == turn] % count
                order = self._order(int(source), int(turn))
                samples[now] = self._starts[source] + order[at]
        return samples

    def _new_order(self, source: int, turn: int) -> np.ndarray:
        """Return a dataset's order at its turn-th time, or, for source -1, that of an epoch."""
        count = self._epoch_size if source < 0 else int(self._counts[source])
        return np.random.default_rng([self._seed, 1, source + 1, turn]).permutation(count)
