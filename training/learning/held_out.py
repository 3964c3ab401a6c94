"""Which episodes a checkpoint is measured on, and which it was trained on, by its own run."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from training.learning.apt_data import model_contract
from training.learning.checks import check_compatible
from training.learning.dataset import Dataset, Episode, open_dataset
from training.learning.splits import stage_1_episodes, stage_2_episodes
from training.learning.tap_datasets import check_fits_tap
from training.learning.trained_on import TrainedOn
from vla_ros.core.errors import CheckpointError, DatasetError
from vla_ros.policy.checkpoint import Checkpoint

Split = Literal["held-out", "all"]


@dataclass(frozen=True)
class Part:
    """Episodes of one dataset, and parts of some.

    Attributes:
        dataset: opened with the cameras that the policy sees.
        trained: that the run learned from; baselines learn from them too.
        tested: to measure on.
        left_out: that an earlier stage learned from: neither the one nor the other.
        is_known: whether the run or an earlier stage learned from a recording of these.
    """

    dataset: Dataset
    trained: list[Episode]
    tested: list[Episode]
    left_out: list[Episode]
    is_known: bool


def parts_of(
    checkpoint: Checkpoint,
    data: list[Path],
    references: list[Path],
    split: Split = "held-out",
    kinds: list[str] | None = None,
) -> list[Part]:
    """Return what to measure on and what baselines learn from.

    What the run learned from is told recording by recording, in whatever dataset it is; so is what
    the stages before it learned from. All else is new to the policy: it is held out, and as a
    reference it is training. What is in two of the folders counts in the first.

    Args:
        checkpoint: to measure.
        data: datasets to measure on.
        references: datasets that baselines learn from, beside the trained episodes of `data`.
        split: whether to test what is held out, or all.
        kinds: episodes to take; None: those that the run took.

    Raises:
        VlaError: the checkpoint does not tell what it was trained on; a dataset cannot be read,
            does not fit or has no usable episode; there is no training for baselines.
    """
    run = checkpoint.run
    by_run = TrainedOn.by(run, with_earlier=False)
    by_all = TrainedOn.by(run)
    if "stage" not in run or "kinds" not in run:
        raise CheckpointError(
            "the checkpoint does not tell its stage and kinds of episodes; give one that a stage "
            "script of this version wrote"
        )
    choose = stage_1_episodes if run["stage"] == 1 else stage_2_episodes
    done: set[str] = set()
    parts: list[Part] = []
    for number, path in enumerate([*data, *references]):
        dataset = open_dataset(path, checkpoint.policy.vlm.image_size, checkpoint.contract.cameras)
        check_fit(dataset, checkpoint)
        chosen = choose(dataset, kinds or run["kinds"])
        recordings = {episode.recording for episode in chosen}
        is_known = not recordings.isdisjoint(by_all.until_ns)
        chosen = [episode for episode in chosen if episode.recording not in done]
        done |= recordings
        if number >= len(data):
            parts.append(Part(dataset, chosen, [], [], is_known))
            continue
        trained, others = by_run.parts(dataset, chosen)
        left_out, unseen = by_all.parts(dataset, others)
        tested = chosen if split == "all" else unseen
        parts.append(Part(dataset, trained, tested, left_out, is_known))
    if not any(part.trained for part in parts):
        raise DatasetError(
            f"none of {', '.join(map(str, data))} was trained on, and baselines need data of "
            "training; give one as --reference"
        )
    return parts


def check_fit(dataset: Dataset, checkpoint: Checkpoint) -> None:
    """Raise ContractError or DatasetError unless the policy's labels can be had of the dataset."""
    if checkpoint.method == "tap":
        stage, label = checkpoint.policy.config.stage, label_of(checkpoint)
        check_fits_tap(dataset, checkpoint.contract, stage, label)
        return
    # A chunk is made of poses, whatever label the dataset was converted with.
    horizon = checkpoint.contract.action.shape[0]
    own = model_contract(dataset, horizon)
    checkpoint.contract.require_match(own, f"dataset {dataset.path}")
    check_compatible(dataset, dataset.contract)


def label_of(checkpoint: Checkpoint) -> str | None:
    """Return the motion that the policy learned to do; None where it does not tell, or poses do."""
    if checkpoint.method != "tap" or checkpoint.run["stage"] == 1:
        return None
    labels = {row.get("label") for row in checkpoint.run.get("data", [])}
    return labels.pop() if len(labels) == 1 else None
