"""Linear read-out: how well places can be had from frozen features by ridge regression."""

import numpy as np
import torch

from training.learning.caption_data import Captions
from training.learning.precision import autocast
from vla_ros.policy.small_vlm import SmallVlm

RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_BATCH = 64
_MIN_FRAMES = 20


@torch.inference_mode()
def picture_features(
    model: SmallVlm, data: Captions, indices: np.ndarray, bf16: bool
) -> np.ndarray:
    """Return (N, F) float32: the picture's tokens after the last layer, without text."""
    rows = []
    for first in range(0, len(indices), _BATCH):
        images = data.pictures(indices[first : first + _BATCH])
        with autocast("cpu", bf16):
            out = model(images, None, layers=(model.num_layers - 1,))
        rows.append(out.layers[0][:, out.is_image[0]].flatten(1).float().numpy())
    return np.concatenate(rows)


def ridge_error_m(
    features: np.ndarray, places_m: np.ndarray, tested: np.ndarray, test_m: np.ndarray
) -> float:
    """Return the mean distance [m] between read-out and true places of the tested frames.

    The last fifth of the fitted frames chooses the ridge; the tested ones have no say.

    Args:
        features, places_m: (N, F) and (N, 3) to fit on.
        tested, test_m: (M, F) and (M, 3) to measure on.
    """
    split = len(features) - len(features) // 5
    errors = [
        _error(_fitted(features[:split], places_m[:split], r)(features[split:]), places_m[split:])
        for r in RIDGES
    ]
    best = RIDGES[int(np.argmin(errors))]
    return _error(_fitted(features, places_m, best)(tested), test_m)


def _fitted(features: np.ndarray, places: np.ndarray, ridge: float):
    """Return the function features -> places; dual form, as there are more features than frames."""
    mean, scale = features.mean(0), features.std(0) + 1e-6
    x = ((features - mean) / scale).astype(np.float64)
    middle = places.mean(0)
    gram = x @ x.T
    weights = np.linalg.solve(
        gram + ridge * np.trace(gram) / len(x) * np.eye(len(x)), places - middle
    )
    linear = x.T @ weights
    return lambda tested: ((tested - mean) / scale) @ linear + middle


def _error(guess: np.ndarray, true: np.ndarray) -> float:
    return float(np.linalg.norm(guess - true, axis=1).mean())


def evaluate_readout(models: dict[str, SmallVlm], data: Captions, frames: int, bf16: bool) -> dict:
    """Return {what: {"constant": cm, name of each model: cm}} for the gripper and each object.

    Fitted on `frames` trained frames, measured on up to as many held-out ones; an object counts
    where it shows.
    """
    fitted, tested = data.trained[:frames], data.held_out[:frames]
    features = {
        name: [picture_features(model, data, part, bf16) for part in (fitted, tested)]
        for name, model in models.items()
    }
    places = [_places(data, part) for part in (fitted, tested)]
    result = {}
    for what in sorted(set(places[0]) & set(places[1])):
        (rows, true), (test_rows, test_true) = (part[what] for part in places)
        if len(rows) < _MIN_FRAMES or not len(test_rows):
            continue
        constant = np.broadcast_to(true.mean(0), test_true.shape)
        result[what] = {"constant": 100 * _error(constant, test_true)}
        for name, (fit, test) in features.items():
            error = ridge_error_m(fit[rows], true, test[test_rows], test_true)
            result[what][name] = 100 * error
    return result


def _places(data: Captions, indices: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return {what: (rows into `indices`, places (n, 3) [m])}."""
    found: dict[str, tuple[list[int], list]] = {}
    for row, index in enumerate(indices):
        for what, place in data.places_m(index).items():
            rows, places = found.setdefault(what, ([], []))
            rows.append(row)
            places.append(place)
    return {what: (np.array(rows), np.array(places)) for what, (rows, places) in found.items()}
