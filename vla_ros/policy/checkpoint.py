"""A checkpoint of any backbone and method: a folder ready for a model hub, nothing unpickled in it.

model.safetensors   weights            normalizer.json     action quantiles, of TAP
config.json         method, sizes      action_tokens.json  of TAP's FAST head
contract.json       sees and does      backbone/           what `backbone_description` says
run.json            provenance         README.md, LICENSE  model card, licence

A Qwen-VL that came from the hub with a revision, and was not tuned whole, is kept as that name:
the weights file has what the run learned. Written to a temporary name and renamed, so a reader
sees the old one or the new one.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vla_ros.core.contract import Contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.backbone_description import (
    HubSource,
    kept_names,
    read_backbone,
    write_backbone,
)
from vla_ros.policy.checkpoint_folder import (
    FileContent,
    replace_folder,
    require_folder,
    require_replaceable_by,
    write_files,
)
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.model_card import LICENCE_TEXT, model_card
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tap_config import TapConfig

FORMAT = "vla_ros policy 1"
WEIGHTS, CONFIG, CONTRACT, RUN = "model.safetensors", "config.json", "contract.json", "run.json"
NORMALIZER, ACTION_TOKENS = "normalizer.json", "action_tokens.json"
CARD, LICENCE = "README.md", "LICENSE"
REQUIRED = (WEIGHTS, CONFIG, CONTRACT, RUN)


@dataclass(frozen=True)
class Checkpoint:
    """A policy with all that a robot needs.

    Attributes:
        policy: TAP's or APT's.
        contract: what it sees and does.
        run: provenance, plain JSON.
        normalizer: of TAP's actions; None for APT, whose chunks are metres.
        source: where a Qwen-VL backbone came from; None: its weights are all in the folder.
    """

    policy: TapPolicy | AptPolicy
    contract: Contract
    run: dict
    normalizer: Normalizer | None = None
    source: HubSource | None = None

    def __post_init__(self):
        if isinstance(self.policy, TapPolicy) and self.normalizer is None:
            raise CheckpointError(
                "a TAP checkpoint needs the normaliser of its actions; give the one of training"
            )

    @property
    def method(self) -> str:
        """Return "tap" or "apt"."""
        return "tap" if isinstance(self.policy, TapPolicy) else "apt"


def save_checkpoint(
    checkpoint: Checkpoint,
    path: Path,
    extra_files: Mapping[str, FileContent] | None = None,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write `checkpoint` as folder `path`, replacing one that is there.

    Args:
        checkpoint: what to write.
        path: the folder; its parent is made.
        extra_files: further files for the folder by name, such as metrics: bytes, or what writes
            the file at the path that it is given.
        weights: to write instead of the policy's own, by their names: averaged ones (EMA).

    Raises:
        CheckpointError: `path` is something else than a checkpoint, or the disk refuses.
    """
    policy = checkpoint.policy
    names = kept_names(policy, checkpoint.source)
    state = {**policy.state_dict(), **(weights or {})}
    kept = {name: state[name].detach().cpu().contiguous() for name in names}

    def write(folder: Path) -> None:
        save_file(kept, folder / WEIGHTS, metadata={"format": "pt"})
        described = write_backbone(policy.vlm, checkpoint.source, folder)
        head = {"format": FORMAT, "method": checkpoint.method, "backbone": described}
        _write_json(folder / CONFIG, {**head, "policy": policy.config.to_dict()})
        _write_json(folder / CONTRACT, checkpoint.contract.to_dict())
        _write_json(folder / RUN, checkpoint.run)
        if checkpoint.normalizer is not None:
            _write_json(folder / NORMALIZER, checkpoint.normalizer.to_dict())
        if isinstance(policy, TapPolicy) and policy.tokenizer is not None:
            (folder / ACTION_TOKENS).write_text(policy.tokenizer.to_json(), encoding="utf-8")
        card = model_card(checkpoint.method, described, checkpoint.contract, checkpoint.run)
        (folder / CARD).write_text(card, encoding="utf-8")
        (folder / LICENCE).write_text(LICENCE_TEXT, encoding="utf-8")
        write_files(folder, extra_files or {})

    replace_folder(Path(path), write, is_checkpoint)


def is_checkpoint(path: Path) -> bool:
    """Return whether `path` is a folder that `save_checkpoint` wrote, damaged or not."""
    try:
        return json.loads((Path(path) / CONFIG).read_text())["format"] == FORMAT
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_replaceable(path: Path) -> None:
    """Raise CheckpointError if `path` exists and is no checkpoint that may be replaced."""
    require_replaceable_by(Path(path), is_checkpoint)


def load_checkpoint(
    path: Path,
    expected: Contract | None = None,
    device: str | torch.device = "cpu",
    backbone: Mapping[str, Any] | None = None,
) -> Checkpoint:
    """Return the checkpoint at folder `path`, strictly: every weight, no other; in eval mode.

    Args:
        path: the folder.
        expected: the contract it must have, None to take what it has.
        device: where to put the policy.
        backbone: `QwenOptions` to use instead of those that it was trained with, as far as they
            change no number of it (`RUN_TIME`); the others are passed over.

    Raises:
        CheckpointError: a file is missing, damaged, of another program or of another version.
        ContractError: the contract is another one; names what differs.
    """
    path = Path(path)
    require_folder(path)
    for name in REQUIRED:
        if not (path / name).is_file():
            raise CheckpointError(
                f"checkpoint {path} has no {name}; give a complete folder that training wrote"
            )
    config = _read_json(path / CONFIG)
    if set(config) != {"format", "method", "backbone", "policy"} or config["format"] != FORMAT:
        raise CheckpointError(
            f"{path / CONFIG} is not that of a {FORMAT!r}, it says {config.get('format')!r}; "
            "give the folder that training of this version wrote"
        )
    try:
        contract = Contract.from_dict(_read_json(path / CONTRACT))
    except ContractError as error:
        raise CheckpointError(f"{path / CONTRACT}: {error}") from None
    if expected is not None:
        expected.require_match(contract, f"checkpoint {path}")
    run = _read_json(path / RUN)
    weights = _read_weights(path / WEIGHTS)
    vlm, source = read_backbone(config["backbone"], path, device, backbone or {})
    normalizer = None
    if config["method"] == "tap":
        normalizer = Normalizer.from_dict(_read_json(path / NORMALIZER))
        policy = TapPolicy(vlm, TapConfig.from_dict(config["policy"]), _read_tokens(path))
    elif config["method"] == "apt":
        policy = AptPolicy(vlm, AptConfig.from_dict(config["policy"]))
    else:
        raise CheckpointError(
            f"{path / CONFIG} is of method {config['method']!r}, known are tap and apt; "
            "take a version that knows it"
        )
    _fill(policy, source, weights, path)
    return Checkpoint(policy.to(device).eval(), contract, run, normalizer, source)


def _fill(
    policy: TapPolicy | AptPolicy,
    source: HubSource | None,
    weights: dict[str, Tensor],
    path: Path,
) -> None:
    own, names = policy.state_dict(), kept_names(policy, source)
    wrong = sorted(set(names) ^ set(weights)) or sorted(
        name for name in names if own[name].shape != weights[name].shape
    )
    if wrong:
        raise CheckpointError(
            f"{path / WEIGHTS} does not fit {CONFIG}: {len(wrong)} tensors differ, the first is "
            f"{wrong[0]}; take weights and config from one run"
        )
    broken = [n for n, w in weights.items() if w.is_floating_point() and not w.isfinite().all()]
    if broken:
        raise CheckpointError(
            f"{path / WEIGHTS} holds numbers that are not finite, in {broken[0]} first; "
            "take another checkpoint of the run"
        )
    policy.load_state_dict(weights, strict=False)


def _read_weights(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged or not a safetensors file ({error}); "
            "copy the checkpoint again or train again"
        ) from None


def _read_tokens(path: Path) -> FastTokenizer | None:
    file = path / ACTION_TOKENS
    if not file.is_file():
        return None  # the FAST head asks for it, the MLP head has none
    try:
        return FastTokenizer.from_json(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(f"{file} cannot be read ({error}); copy it again") from None


def _write_json(path: Path, document: dict) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _read_json(path: Path) -> dict:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"checkpoint {path.parent} has no {path.name}; give a complete folder that training "
            "wrote"
        ) from None
    except (ValueError, OSError, RecursionError) as error:
        raise CheckpointError(
            f"{path} is not readable JSON ({error}); copy the checkpoint again or train again"
        ) from None
    if not isinstance(data, dict):
        raise CheckpointError(
            f"{path} must hold a JSON object, got {type(data).__name__}; copy the checkpoint again"
        )
    return data
