"""How sure a mean error is: intervals by resampling recordings, not frames.

Frames of one recording are alike, so hundreds of them may know no more than one. Recordings are
drawn with replacement, as many as there are, and the mean over the frames of those drawn is taken;
the 2.5 % and 97.5 % quantiles of many such means bound the interval (Efron 1979, percentile form).
With fewer than some ten recordings the percentile form is known to be too narrow.
"""

from typing import Literal, NamedTuple

import numpy as np

from vla_ros.core.errors import DatasetError

RESAMPLES = 2000
LEVEL = 0.95

Verdict = Literal["better", "worse", "overlap"]


class Interval(NamedTuple):
    """Means (D,) with their intervals; NaN bounds where a single recording has numbers."""

    mean: np.ndarray
    low: np.ndarray
    high: np.ndarray


def mean_interval(
    values: np.ndarray, recordings: np.ndarray, seed: int = 0, resamples: int = RESAMPLES
) -> Interval:
    """Return the mean of each column and its 95 % interval; the same seed gives the same numbers.

    Args:
        values: (N, D), a row a frame; NaN counts nowhere.
        recordings: (N,) which recording a frame is of, any integers.
        seed: of the draws. Equal recordings and seed give equal draws, so that intervals of two
            contenders are of the same recordings.
        resamples: how many draws.

    Raises:
        DatasetError: a column has no number.
    """
    names, place = np.unique(recordings, return_inverse=True)
    is_there = ~np.isnan(values)
    sums, counts = (np.zeros((len(names), values.shape[1])) for _ in range(2))
    np.add.at(sums, place, np.where(is_there, values, 0.0))
    np.add.at(counts, place, is_there)
    total = counts.sum(0)
    if not len(names) or np.any(total == 0):
        raise DatasetError("no frame to measure an error on; give more or longer recordings")
    drawn = np.random.default_rng(seed).multinomial(
        len(names), np.full(len(names), 1 / len(names)), size=resamples
    )
    with np.errstate(invalid="ignore"):
        means = (drawn @ sums) / (drawn @ counts)
    low, high = np.nanquantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    is_single = (counts > 0).sum(0) < 2
    low[is_single] = high[is_single] = np.nan
    return Interval(sums.sum(0) / total, low, high)


def verdict(ours: Interval, theirs: Interval, column: int) -> Verdict:
    """Return whether our error is "better" (smaller), "worse", or the intervals "overlap".

    Without an interval there is no telling: "overlap".
    """
    if ours.high[column] < theirs.low[column]:
        return "better"
    return "worse" if ours.low[column] > theirs.high[column] else "overlap"
