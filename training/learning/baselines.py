"""What a policy has to beat: predictors that learn nothing.

Legend: N frames of training, M frames that are tested, P pixels, A numbers of a label.
"""

import cv2
import numpy as np

from vla_ros.core.errors import DatasetError

# Side of the pictures that neighbours are found by [px].
NEIGHBOUR_SIDE = 16
_BLOCK = 256


def picture_features(pictures: np.ndarray) -> np.ndarray:
    """Return (N, P) float32 of pictures (N, T, S, S, 3) uint8 RGB: all T, scaled down by area.

    Pixels, not a network's features: before a camera that stands still they say where arm and
    objects are, and they are the same for every policy that is compared.
    """
    side = (NEIGHBOUR_SIDE, NEIGHBOUR_SIDE)
    rows = [
        np.concatenate([cv2.resize(p, side, interpolation=cv2.INTER_AREA).ravel() for p in views])
        for views in pictures
    ]
    return np.array(rows, np.float32) / 255


def nearest(
    known: np.ndarray,
    tested: np.ndarray,
    known_tasks: np.ndarray,
    tested_tasks: np.ndarray,
    is_barred: np.ndarray | None = None,
) -> np.ndarray:
    """Return the row (M,) of `known` whose features are nearest (Euclid) to each of `tested`.

    Among rows of the same instruction where there are some, else among all.

    Args:
        known: (N, P) features of training.
        tested: (M, P).
        known_tasks, tested_tasks: instructions (N,) and (M,).
        is_barred: (M, N) bool, rows that may not be taken; None: all may.

    Raises:
        DatasetError: a tested row may take none.
    """
    numbers = {task: number for number, task in enumerate(dict.fromkeys(known_tasks.tolist()))}
    known_tasks = np.array([numbers[task] for task in known_tasks])
    tested_tasks = np.array([numbers.get(task, -1) for task in tested_tasks])[:, None]
    found = np.empty(len(tested), np.int64)
    squares = np.square(known).sum(1)
    for first in range(0, len(tested), _BLOCK):
        rows = slice(first, first + _BLOCK)
        distance = squares - 2 * tested[rows] @ known.T  # and what all of a row have in common
        if is_barred is not None:
            distance[is_barred[rows]] = np.inf
        other = known_tasks != tested_tasks[rows]
        has_own = np.any(np.isfinite(np.where(other, np.inf, distance)), axis=1)
        distance[other & has_own[:, None]] = np.inf
        found[rows] = distance.argmin(1)
        if not np.isfinite(distance[np.arange(len(distance)), found[rows]]).all():
            raise DatasetError(
                "no frame of training to compare with; give --reference a dataset of training "
                "with more than one recording"
            )
    return found


def repeat_last(
    start: np.ndarray, end: np.ndarray, actions: np.ndarray, at_rest: np.ndarray
) -> np.ndarray:
    """Return for each frame the action that led to it: (N, ...) as `actions`.

    Args:
        start, end: (N,) ticks between which each action is, numbered so that no two episodes
            share one.
        actions: (N, ...).
        at_rest: (N, ...) what to take where no action led there: at an episode's start.
    """
    order = np.argsort(end, kind="stable")
    place = np.minimum(np.searchsorted(end[order], start), len(end) - 1)
    before = order[place]
    is_known = end[before] == start
    shape = (-1, *[1] * (actions.ndim - 1))
    return np.where(is_known.reshape(shape), actions[before], at_rest)
