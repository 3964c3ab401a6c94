"""Which episodes a checkpoint is measured on, and which it was trained on, by its own run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.learning.apt_data import model_contract
from training.learning.checks import check_compatible
from training.learning.dataset import Dataset, Episode, open_dataset
from training.learning.splits import split_episodes, stage_1_episodes, stage_2_episodes
from vla_ros.core.errors import CheckpointError, DatasetError
from vla_ros.policy.checkpoint import Checkpoint

Split = Literal["held-out", "all"]


@dataclass(frozen=True)
class Part:
    """Episodes of one dataset.

    Attributes:
        dataset: opened with the cameras that the policy sees.
        trained: episodes that the run learned from; baselines learn from them too.
        tested: episodes to measure on.
        is_known: whether the run learned from this dataset.
    """

    dataset: Dataset
    trained: list[Episode]
    tested: list[Episode]
    is_known: bool


def parts_of(
    checkpoint: Checkpoint,
    data: list[Path],
    references: list[Path],
    split: Split = "held-out",
    kinds: list[str] | None = None,
) -> list[Part]:
    """Return what to measure on and what baselines learn from.

    A dataset that the run learned from is split as it was then. Another one is new to the policy:
    all of its episodes are held out, and as a reference all of them are training.

    Args:
        checkpoint: to measure.
        data: datasets to measure on.
        references: datasets that baselines learn from, beside the trained episodes of `data`.
        split: what to test of a dataset that the run learned from.
        kinds: episodes to take; None: those that the run took.

    Raises:
        VlaError: a dataset cannot be read, does not fit, was changed after training, or has no
            usable episode.
    """
    run = checkpoint.run
    try:
        trained_on = {row["sha256"]: row["name"] for row in run["data"]}
        fraction, seed = float(run["config"]["val_fraction"]), int(run["seed"])
        kinds, stage = kinds or run["kinds"], run["stage"]
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"the checkpoint does not tell which data it was trained on ({error}); give one that "
            "a stage script of this version wrote"
        ) from None
    choose = stage_1_episodes if stage == 1 else stage_2_episodes
    parts: list[Part] = []
    for path in [*data, *references]:
        dataset = open_dataset(path, checkpoint.policy.vlm.image_size, checkpoint.contract.cameras)
        check_fit(dataset, checkpoint)
        if dataset.sha256 in [part.dataset.sha256 for part in parts]:
            continue
        is_known = dataset.sha256 in trained_on
        if not is_known and path.resolve().name in trained_on.values():
            raise DatasetError(
                f"{path} is named like a dataset that the checkpoint was trained on and holds "
                "something else, so its held-out episodes are unknown; give that dataset, or "
                "rename this one if it is new"
            )
        episodes = choose(dataset, kinds)
        if is_known:
            trained, tested = split_episodes(episodes, fraction, seed)
        else:
            trained, tested = ([], episodes) if path in data else (episodes, [])
        if path not in data:
            tested = []
        elif split == "all":
            tested = episodes
        parts.append(Part(dataset, trained, tested, is_known))
    if not any(part.trained for part in parts):
        raise DatasetError(
            f"none of {', '.join(map(str, data))} was trained on, and baselines need data of "
            "training; give one as --reference"
        )
    return parts


def check_fit(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Raise ContractError or DatasetError unless the policy's labels can be had of the dataset."""
    if checkpoint.method == "tap":
        check_compatible(dataset, checkpoint.contract)
        return
    # A chunk is made of poses, whatever label the dataset was converted with.
    horizon = checkpoint.contract.action.shape[0]
    own = model_contract(dataset, horizon)
    checkpoint.contract.require_match(own, f"dataset {dataset.path}")
    check_compatible(dataset, dataset.contract)
