"""Before training: do dataset, statistics and model mean the same?"""

import json
from dataclasses import replace

import numpy as np

from training.datasets.dataset_stats import vector_stats
from training.datasets.labels import ACTION, STATE
from training.datasets.lerobot_layout import STATS_FILE
from training.learning.dataset import Dataset
from vla_ros.core.contract import Contract, Field
from vla_ros.core.errors import ContractError, DatasetError
from vla_ros.policy.normalize import Normalizer

# Fast demonstrations move some times as far as slow play; millimetres are a thousand metres, and
# degrees 57 radians.
MAX_SCALE = 20.0
COMPARED = ("min", "max", "mean", "std", "q01", "q99")


def check_compatible(
    dataset: Dataset, contract: Contract, normalizer: Normalizer | None = None
) -> None:
    """Check that a model of `contract` can learn from the dataset.

    Args:
        dataset: opened with the model's cameras, or more.
        contract: of the model; all but the cameras must be the dataset's.
        normalizer: the model's own action scale, where it brings one.

    Raises:
        ContractError: another contract, or a camera that is not there.
        DatasetError: values that are not finite or out of bounds, motion that never changes,
            stats.json of other values, or a normaliser of another scale.
    """
    absent = [name for name in contract.cameras if name not in dataset.contract.cameras]
    if absent:
        raise ContractError(
            f"the model sees camera {', '.join(absent)}, and {dataset.path} was opened with "
            f"{', '.join(dataset.contract.cameras)}; convert the bags with that camera"
        )
    seen = replace(dataset.contract, cameras=contract.cameras)
    contract.require_match(seen, f"dataset {dataset.path}")
    _check_values(dataset, contract.action, dataset.actions)
    _check_values(dataset, contract.state, dataset.states)
    _check_motion(dataset)
    _check_stored_statistics(dataset)
    if normalizer is not None:
        _check_scale(dataset, normalizer)


def _check_values(dataset: Dataset, field: Field, values: np.ndarray) -> None:
    inside = np.isfinite(values) & (values >= field.low) & (values <= field.high)
    if not np.all(inside):
        frame, axis = np.argwhere(~inside)[0]
        low, high = (np.broadcast_to(b, values.shape[1:])[axis] for b in (field.low, field.high))
        raise DatasetError(
            f"{field.name} of {dataset.path} must lie in [{low:g}, {high:g}] in dimension {axis}, "
            f"got {values[frame, axis]} at frame {frame}; check units and order of the joints, "
            "then convert again"
        )


def _check_motion(dataset: Dataset) -> None:
    """The gripper may rest for a whole dataset; a tool or an arm that does, has not moved."""
    still = np.flatnonzero(np.ptp(dataset.actions[:, :-1], axis=0) == 0)
    if len(still):
        raise DatasetError(
            f"{ACTION} of {dataset.path} is the same in all {len(dataset)} frames in dimension "
            f"{', '.join(map(str, still))}, so nothing is to be learnt of it; check the recordings"
        )


def _check_stored_statistics(dataset: Dataset) -> None:
    path = dataset.path / STATS_FILE
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        for name in (ACTION, STATE):
            for key, value in vector_stats(dataset.vectors[name]).items():
                if key in COMPARED and not np.allclose(stored[name][key], value, 1e-4, 1e-6):
                    raise DatasetError(
                        f"{path} says {key} of {name} is {stored[name][key]}, and the frames say "
                        f"{value.round(6).tolist()}; convert the bags again"
                    )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(
            f"{path} is missing or damaged ({type(error).__name__}: {error}); convert the bags "
            "again"
        ) from None


def _check_scale(dataset: Dataset, normalizer: Normalizer) -> None:
    found = Normalizer.fit(dataset.actions)
    ratio = (found.high - found.low) / (normalizer.high - normalizer.low)
    apart = (found.low > normalizer.high) | (found.high < normalizer.low)
    wrong = np.flatnonzero(apart | (ratio > MAX_SCALE) | (ratio < 1 / MAX_SCALE))
    if len(wrong):
        axis = int(wrong[0])
        raise DatasetError(
            f"{ACTION} of {dataset.path} spans [{found.low[axis]:.4g}, {found.high[axis]:.4g}] in "
            f"dimension {axis}, and the model's scale is [{normalizer.low[axis]:.4g}, "
            f"{normalizer.high[axis]:.4g}]; check the units, or train without that checkpoint"
        )
