"""How sure a success rate is, and the difference of two that were measured on the same layouts.

Outcomes are tables (S, T) of 0 and 1: S training seeds, T trials, where trial t has the same layout
in every row and for every method. Trials of one layout are alike, and so are those of one seed, so
neither S x T nor T alone is the number that counts. `over_seeds` takes both as drawn at random and
crossed (two-way analysis of variance without replication): the variance of the mean is
(MS_seeds + MS_trials - MS_rest) / (S T), its degrees of freedom are Satterthwaite's (1946).

Wilson (1927) for one rate, Newcombe (1998, method 10) for the difference of two paired ones, and
McNemar's test in its exact form need a single seed.
"""

import math
from statistics import NormalDist
from typing import NamedTuple

import numpy as np

from vla_ros.core.errors import VlaError

LEVEL = 0.95
# Beyond so many degrees of freedom Student's t is the normal distribution.
_MOST_FREEDOM = 1e4
_GRID = 20_001


class Rate(NamedTuple):
    """A mean with the ends of its 95 % interval."""

    mean: float
    low: float
    high: float


def normal_quantile(level: float = LEVEL) -> float:
    """Return z such that a standard normal number is within +-z with probability `level`."""
    return NormalDist().inv_cdf((1.0 + level) / 2.0)


def student_quantile(freedom: float, level: float = LEVEL) -> float:
    """Return t such that Student's t is within +-t with probability `level`.

    With t = sqrt(freedom) tan(angle), its density is cos(angle)^(freedom - 1).
    """
    freedom = min(freedom, _MOST_FREEDOM)
    # The density of many degrees of freedom is narrow: 12 standard deviations hold it all.
    most = min(math.pi / 2, 12.0 / math.sqrt(freedom))
    angles = np.linspace(0.0, most, _GRID)
    density = np.abs(np.cos(angles)) ** (freedom - 1.0)
    below = np.concatenate([[0.0], np.cumsum(density[1:] + density[:-1])])
    angle = float(np.interp(level, below / below[-1], angles))
    return math.sqrt(freedom) * math.tan(angle)


def wilson(successes: float, trials: int, level: float = LEVEL) -> Rate:
    """Return a success rate and its Wilson score interval.

    Raises:
        VlaError: there is no trial, or more successes than trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise VlaError(
            f"a success rate needs one trial or more and no more successes, got {successes} of "
            f"{trials}; roll out first"
        )
    z, rate = normal_quantile(level), successes / trials
    scale = 1.0 + z**2 / trials
    centre = (rate + z**2 / (2 * trials)) / scale
    half = z / scale * math.sqrt(rate * (1 - rate) / trials + (z / (2 * trials)) ** 2)
    return Rate(rate, max(0.0, centre - half), min(1.0, centre + half))


class Paired(NamedTuple):
    """Two methods on the same trials: the difference of their rates, and whether it is chance.

    Attributes:
        difference: rate of the first minus that of the second, with Newcombe's interval.
        only_first, only_second: trials that one of them alone did.
        p_value: of McNemar's exact test, two-sided.
    """

    difference: Rate
    only_first: int
    only_second: int
    p_value: float


def paired(first: np.ndarray, second: np.ndarray) -> Paired:
    """Compare the outcomes (T,) of two methods on the same trials, of one seed each.

    Raises:
        VlaError: not equally many trials, or none.
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.shape != second.shape or first.ndim != 1 or not len(first):
        raise VlaError(
            f"a paired test needs the same trials of both, got {first.shape} and {second.shape} "
            "outcomes; roll both out on the same cells"
        )
    b, c = int(np.sum(first & ~second)), int(np.sum(~first & second))
    return Paired(_newcombe(first, second), b, c, mcnemar_exact(b, c))


def mcnemar_exact(only_first: int, only_second: int) -> float:
    """Return how probable it is that the trials one of two did alone part as unevenly by chance."""
    n, least = only_first + only_second, min(only_first, only_second)
    if n == 0:
        return 1.0
    return min(1.0, 2.0 * sum(math.comb(n, k) for k in range(least + 1)) / 2**n)


def _newcombe(first: np.ndarray, second: np.ndarray) -> Rate:
    n = len(first)
    a, b = int(np.sum(first & second)), int(np.sum(first & ~second))
    c, d = int(np.sum(~first & second)), int(np.sum(~first & ~second))
    one, other = wilson(a + b, n), wilson(a + c, n)
    product = (a + b) * (c + d) * (a + c) * (b + d)
    apart = a * d - b * c
    if apart > 0:  # the correction for continuity of method 10
        apart = max(apart - n / 2, 0.0)
    phi = apart / math.sqrt(product) if product else 0.0
    difference = one.mean - other.mean
    down, up = one.mean - one.low, other.high - other.mean
    low = difference - math.sqrt(max(down**2 - 2 * phi * down * up + up**2, 0.0))
    up, down = one.high - one.mean, other.mean - other.low
    high = difference + math.sqrt(max(up**2 - 2 * phi * up * down + down**2, 0.0))
    return Rate(difference, low, high)


def over_seeds(values: np.ndarray) -> Rate:
    """Return the mean of a table (S, T) with an interval that honours seeds and trials.

    Args:
        values: two seeds or more, two trials or more: outcomes, or differences of outcomes of two
            methods, or their means over cells.

    Raises:
        VlaError: fewer of them: one seed says nothing of other seeds.
    """
    values = np.asarray(values, np.float64)
    if values.ndim != 2 or min(values.shape) < 2:
        raise VlaError(
            f"an interval over seeds needs 2 seeds and 2 trials or more, got a table "
            f"{values.shape}; train more seeds, or take wilson for one"
        )
    seeds, trials = values.shape
    mean = float(values.mean())
    rows, columns = values.mean(1), values.mean(0)
    rest = values - rows[:, None] - columns + mean
    freedoms = seeds - 1, trials - 1, (seeds - 1) * (trials - 1)
    of_seeds = trials * float(np.sum((rows - mean) ** 2)) / freedoms[0]
    of_trials = seeds * float(np.sum((columns - mean) ** 2)) / freedoms[1]
    of_rest = float(np.sum(rest**2)) / freedoms[2]
    # Sampling may make the sum smaller than what is there if seeds and layouts do not matter.
    whole = max(of_seeds + of_trials - of_rest, of_rest)
    if whole <= 0.0:
        return Rate(mean, mean, mean)
    parts = zip((of_seeds, of_trials, of_rest), freedoms, strict=True)
    freedom = whole**2 / sum(square**2 / free for square, free in parts)
    half = student_quantile(max(freedom, 1.0)) * math.sqrt(whole / (seeds * trials))
    return Rate(mean, mean - half, mean + half)


def rate_over_seeds(outcomes: np.ndarray) -> Rate:
    """Return the success rate of a table (S, T) of 0 and 1 with its interval in [0, 1].

    With one seed it is Wilson's, which knows nothing of other seeds. With more it is that of
    `over_seeds`, and never narrower than Wilson's of S x T independent trials: where all outcomes
    are equal, nothing is left to tell their spread from.

    Raises:
        VlaError: there is no trial.
    """
    outcomes = np.asarray(outcomes, np.float64)
    least = wilson(float(outcomes.sum()), outcomes.size)
    if min(outcomes.shape) < 2:
        return least
    found = over_seeds(outcomes)
    low, high = min(least.low, found.low), max(least.high, found.high)
    return Rate(found.mean, max(0.0, low), min(1.0, high))


def difference_over_seeds(first: np.ndarray, second: np.ndarray) -> Rate:
    """Return how much higher the rate of the first is: tables (S, T), or (C, S, T) over C cells.

    With one seed and one cell it is Newcombe's interval, else that of `over_seeds`; of several
    cells with one seed, that of the trials alone.

    Raises:
        VlaError: they are not of the same shape, or have no trial.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape or first.ndim not in (2, 3) or not first.size:
        raise VlaError(
            f"a difference needs the same seeds, trials and cells of both, got {first.shape} and "
            f"{second.shape}; roll both out on the same cells"
        )
    if first.ndim == 2 and len(first) == 1:
        return paired(first[0], second[0]).difference
    apart = first - second
    apart = apart.mean(0) if apart.ndim == 3 else apart
    if len(apart) > 1 and apart.shape[1] > 1:
        return over_seeds(apart)
    mean, trials = float(apart.mean()), apart.shape[1]
    if trials < 2:
        return Rate(mean, -1.0, 1.0)
    half = student_quantile(trials - 1) * float(apart[0].std(ddof=1)) / math.sqrt(trials)
    return Rate(mean, mean - half, mean + half)
