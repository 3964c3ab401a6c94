"""A checkpoint is a folder that says all a robot needs; nothing in it is unpickled.

model.safetensors  weights          normalizer.json  action quantiles
config.json        model sizes      contract.json    what the policy sees and does
run.json           provenance: stage, recipe, seed, data, code version

It is written to a temporary name and renamed, so a reader sees the old one or the new one.
"""

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from vla_ros.core.contract import Contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapConfig, TapPolicy

WEIGHTS = "model.safetensors"
JSON_FILES = ("config.json", "normalizer.json", "contract.json", "run.json")


@dataclass(frozen=True)
class Checkpoint:
    """A loaded checkpoint; `run` is its provenance as read."""

    policy: TapPolicy
    normalizer: Normalizer
    contract: Contract
    run: dict


def save_checkpoint(checkpoint: Checkpoint, path: Path, extra_files: dict[str, bytes]) -> None:
    """Write `checkpoint` as folder `path`, replacing one that is there in a single rename.

    Args:
        checkpoint: what to write.
        path: the folder; its parent is made.
        extra_files: further files for the folder by name, such as metrics.

    Raises:
        CheckpointError: `path` is something else than a checkpoint, or the disk refuses.
    """
    path = Path(path)
    require_replaceable(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    retired = path.with_name(f".{path.name}.{os.getpid()}.old")
    documents = (
        checkpoint.policy.config.to_dict(),
        checkpoint.normalizer.to_dict(),
        checkpoint.contract.to_dict(),
        checkpoint.run,
    )
    try:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
        weights = {k: v.detach().contiguous() for k, v in checkpoint.policy.state_dict().items()}
        save_file(weights, temporary / WEIGHTS)
        for name, document in zip(JSON_FILES, documents, strict=True):
            (temporary / name).write_text(json.dumps(document, indent=2) + "\n")
        for name, data in extra_files.items():
            (temporary / name).write_bytes(data)
        if path.exists():
            path.rename(retired)
        temporary.rename(path)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(temporary, ignore_errors=True)
        if retired.exists() and not path.exists():
            retired.rename(path)
        raise CheckpointError(
            f"checkpoint {path} cannot be written ({error}); free the disk or choose another folder"
        ) from None
    shutil.rmtree(retired, ignore_errors=True)


def require_replaceable(path: Path) -> None:
    """Raise CheckpointError if `path` exists and is no checkpoint that may be replaced."""
    if path.exists() and (not path.is_dir() or (any(path.iterdir()) and not is_checkpoint(path))):
        raise CheckpointError(
            f"{path} exists and is not a checkpoint, so it is not replaced; choose another folder"
        )


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` is a folder with weights in it."""
    return (Path(path) / WEIGHTS).is_file()


def load_checkpoint(path: Path, expected: Contract | None = None) -> Checkpoint:
    """Return the checkpoint at folder `path`, strictly: every weight, no other.

    Args:
        path: the folder.
        expected: the contract it must have, None to take what it has.

    Raises:
        CheckpointError: a file is missing, damaged or of another version.
        ContractError: the contract is another one; names what differs.
    """
    path = Path(path)
    if not path.is_dir():
        raise CheckpointError(
            f"checkpoint folder {path} does not exist; give the folder that training wrote"
        )
    for name in (WEIGHTS, *JSON_FILES):
        if not (path / name).is_file():
            raise CheckpointError(
                f"checkpoint {path} has no {name}; give a complete folder that training wrote"
            )
    config, normalizer, contract, run = (_read_json(path / name) for name in JSON_FILES)
    try:
        found = Contract.from_dict(contract)
    except ContractError as error:
        raise CheckpointError(f"{path / 'contract.json'}: {error}") from None
    if expected is not None:
        expected.require_match(found, f"checkpoint {path}")
    policy = TapPolicy(TapConfig.from_dict(config))
    _load_weights(policy, path / WEIGHTS)
    policy.eval()
    return Checkpoint(policy, Normalizer.from_dict(normalizer), found, run)


def _read_json(path: Path) -> dict:
    try:
        data = json.loads(path.read_text())
    except (ValueError, OSError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({error}); copy the checkpoint again or train again"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(
            f"{path} must hold a JSON object, got {type(data).__name__}; copy the checkpoint again"
        )
    return data


def _load_weights(policy: TapPolicy, path: Path) -> None:
    try:
        weights = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); "
            "copy the checkpoint again or train again"
        ) from None
    own = policy.state_dict()
    wrong = sorted(set(own) ^ set(weights)) or sorted(
        name for name in own if own[name].shape != weights[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path} does not fit config.json: {len(wrong)} tensors differ, the first is "
            f"{wrong[0]}; take weights and config from one run"
        )
    policy.load_state_dict(weights)
