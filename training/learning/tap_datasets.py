"""Datasets that are fit for one TAP model."""

from dataclasses import replace
from pathlib import Path

from training.learning.checks import check_compatible
from training.learning.dataset import Dataset, open_dataset
from vla_ros.core.contract import Contract, tap_contract
from vla_ros.core.errors import DatasetError
from vla_ros.policy.checkpoint import Checkpoint
from vla_ros.policy.normalize import Normalizer

# Labels that are TAP's action.
DISPLACEMENTS = ("reached", "commanded")


def open_for_tap(
    paths: list[Path],
    image_size: int,
    stage: int,
    start: Checkpoint | None = None,
    keep_scale: bool = False,
) -> list[Dataset]:
    """Return the datasets opened with the one camera that TAP sees, all fit for one model.

    Args:
        paths: folders, one or more.
        image_size: of the model [px].
        stage: 1 or 2, see `check_fits_tap`.
        start: checkpoint that the model starts from; None for one from scratch, which takes the
            first dataset's main camera.
        keep_scale: whether the checkpoint's action scale is kept.

    Raises:
        ContractError, DatasetError: a dataset cannot be read or does not fit, see
            `check_fits_tap`, or is given twice.
    """
    contract = None if start is None else start.contract
    scale = start.normalizer if start is not None and keep_scale else None
    datasets: list[Dataset] = []
    for path in paths:
        dataset = open_dataset(path, image_size, contract and contract.cameras)
        contract = contract or tap_model_contract(dataset)
        label = datasets[0].label if datasets else dataset.label
        check_fits_tap(dataset, contract, stage, label, scale)
        if dataset.sha256 in [other.sha256 for other in datasets]:
            raise DatasetError(f"{path} is given twice; give each dataset once")
        datasets.append(dataset)
    return datasets


def check_fits_tap(
    dataset: Dataset,
    contract: Contract,
    stage: int,
    label: str | None = None,
    normalizer: Normalizer | None = None,
) -> None:
    """Check that a TAP model can learn from the dataset, opened with the model's camera.

    Stage 1 is labelled by the measured poses, whatever motion the dataset's `action` is. Stage 2
    learns `action`, which has to be a displacement, and the same one in all of its datasets.

    Args:
        dataset, contract: of the data and of the model.
        stage: 1 or 2.
        label: that Stage 2 learns; None where that is not known.
        normalizer: the model's own action scale, where it is kept.

    Raises:
        ContractError, DatasetError: see `check_compatible`, or the label is another one.
    """
    if stage == 1:
        contract.require_match(tap_model_contract(dataset), f"dataset {dataset.path}")
        check_compatible(dataset, dataset.contract)
        return
    wanted = label if label in DISPLACEMENTS else DISPLACEMENTS[0]
    if dataset.label not in DISPLACEMENTS or dataset.label != (label or dataset.label):
        raise DatasetError(
            f"{dataset.path} was converted with --label {dataset.label}, which is another motion "
            f"than what Stage 2 learns; convert it again with --label {wanted}"
        )
    check_compatible(dataset, contract, normalizer)


def tap_model_contract(dataset: Dataset) -> Contract:
    """Return what a TAP model trained from scratch on the dataset sees and does.

    Arm, rate and size are the dataset's; main camera and motion are TAP's.
    """
    contract = dataset.contract
    tap = tap_contract(contract.camera)
    return replace(
        contract,
        cameras=(contract.camera,),
        action_space=tap.action_space,
        action=tap.action,
        name=tap.name if contract.robot_model == tap.robot_model else contract.name,
    )
