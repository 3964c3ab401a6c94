"""Statistics of a dataset's columns as LeRobot names them.

Vectors: exact, from the whole column. Pictures: from histograms of their pixels (integers, so the
order of adding does not matter), of a grid of about 112 x 112 pixels a picture.
"""

import cv2
import numpy as np

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
SAMPLED_SIDE_PX = 112
LEVELS = 256


def histogram_of(picture: np.ndarray) -> np.ndarray:
    """Return (3, 256) int64: how often each value is in each channel of (H, W, 3) uint8."""
    step = max(1, round(picture.shape[0] / SAMPLED_SIDE_PX))
    # Every step-th pixel; several times faster than a copy of picture[::step, ::step].
    size = tuple(-(-side // step) for side in picture.shape[1::-1])
    sample = cv2.resize(picture, size, interpolation=cv2.INTER_NEAREST)
    counts = [cv2.calcHist([sample], [c], None, [LEVELS], [0, LEVELS])[:, 0] for c in range(3)]
    return np.stack(counts).astype(np.int64)


def sparse_histogram(histogram: np.ndarray) -> list[list[list[int]]]:
    """Return [values, counts] of each channel of a histogram, for JSON."""
    return [[np.flatnonzero(row).tolist(), row[np.flatnonzero(row)].tolist()] for row in histogram]


def dense_histogram(sparse: list[list[list[int]]]) -> np.ndarray:
    """Return the (3, 256) int64 histogram of `sparse_histogram`'s result."""
    histogram = np.zeros((3, LEVELS), np.int64)
    for row, (values, counts) in zip(histogram, sparse, strict=True):
        row[values] = counts
    return histogram


def vector_stats(values: np.ndarray) -> dict[str, np.ndarray]:
    """Return LeRobot's statistics of (N, k) or (N,) values, one number an axis; count is [N].

    Needs memory for a few copies of one axis, not of all.
    """
    values = np.asarray(values)
    values = values.reshape(len(values), -1)
    axes = [_axis_stats(values[:, axis].astype(np.float64)) for axis in range(values.shape[1])]
    stats = {name: np.array([axis[name] for axis in axes]) for name in axes[0]}
    order = ("min", "max", "mean", "std")
    ends = {name: stats.pop(name) for name in order}
    return {**ends, "count": np.array([len(values)]), **stats}


def _axis_stats(values: np.ndarray) -> dict[str, float]:
    """Return the statistics of (N,) float64 values, whose order is lost."""
    stats = {
        "min": values.min(),
        "max": values.max(),
        "mean": values.mean(),
        "std": values.std(),
    }
    quantiles = np.quantile(values, list(QUANTILES.values()), overwrite_input=True)
    return {**stats, **dict(zip(QUANTILES, quantiles, strict=True))}


def image_stats(histogram: np.ndarray, num_frames: int) -> dict[str, np.ndarray]:
    """Return LeRobot's statistics (3, 1, 1) of pictures in [0, 1]; count is the frames."""
    levels = np.arange(LEVELS)
    count = histogram.sum(1)
    mean = (histogram * levels).sum(1) / count
    variance = (histogram * levels**2).sum(1) / count - mean**2
    cumulated = histogram.cumsum(1)
    stats = {
        "min": np.array([np.flatnonzero(row)[0] for row in histogram]),
        "max": np.array([np.flatnonzero(row)[-1] for row in histogram]),
        "mean": mean,
        "std": np.sqrt(np.maximum(variance, 0)),
        # The smallest level that has at least that share of the pixels at or below it.
        **{
            name: np.array([np.searchsorted(row, share * row[-1]) for row in cumulated])
            for name, share in QUANTILES.items()
        },
    }
    scaled = {name: (value / (LEVELS - 1)).reshape(3, 1, 1) for name, value in stats.items()}
    return {**scaled, "count": np.array([num_frames])}
