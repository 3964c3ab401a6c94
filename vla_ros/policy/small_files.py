"""A small backbone alone as a folder: config.json (tokenizer included) and model.safetensors.

It is written to a temporary name and renamed, so a reader sees the old one or the new one.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint_folder import (
    FileContent,
    replace_folder,
    require_replaceable_by,
    write_files,
)
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm

KIND = "small_vlm"
CONFIG, WEIGHTS = "config.json", "model.safetensors"


def is_backbone(folder: Path) -> bool:
    """Return whether `folder` is one that `save_small_vlm` wrote, damaged or not."""
    try:
        return json.loads((folder / CONFIG).read_text())["kind"] == KIND
    except (OSError, ValueError, KeyError, TypeError):
        return False


def require_backbone_or_nothing(folder: Path) -> None:
    """Raise CheckpointError if `folder` exists and is no backbone that may be replaced."""
    require_replaceable_by(folder, is_backbone)


def save_small_vlm(
    model: SmallVlm,
    folder: Path,
    extra_files: Mapping[str, FileContent],
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the backbone as `folder`, replacing one that is there, with further files by name.

    Args:
        model: with its configuration.
        folder: to write.
        extra_files: by name.
        weights: to write instead of the model's own, by their names: averaged ones (EMA).

    Raises:
        CheckpointError: `folder` is something else, or the disk refuses.
    """

    def write(temporary: Path) -> None:
        state = {**model.state_dict(), **(weights or {})}
        kept = {name: value.detach().contiguous() for name, value in state.items()}
        save_file(kept, temporary / WEIGHTS)
        config = {"kind": KIND, **model.config.to_dict()}
        (temporary / CONFIG).write_text(json.dumps(config, indent=2) + "\n")
        write_files(temporary, extra_files)

    replace_folder(Path(folder), write, is_backbone)


def load_small_vlm(folder: Path) -> SmallVlm:
    """Return the backbone in `folder`, strictly: every weight, no other.

    Raises:
        CheckpointError: a file is missing, damaged or of another kind of model.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text())
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} has no readable {CONFIG} and {WEIGHTS} ({error}); "
            "give a folder that training.pretrain_vlm wrote"
        ) from None
    if not isinstance(config, dict) or config.pop("kind", None) != KIND:
        raise CheckpointError(
            f"{folder / CONFIG} is not of a {KIND}; give a folder that training.pretrain_vlm wrote"
        )
    model = SmallVlm(SmallVlmConfig.from_dict(config))
    own = {name: value.shape for name, value in model.state_dict().items()}
    found = {name: value.shape for name, value in weights.items()}
    if own != found:
        wrong = sorted(set(own.items()) ^ set(found.items()))[0][0]
        raise CheckpointError(
            f"{folder / WEIGHTS} does not fit {CONFIG}, the first difference is {wrong}; "
            "take both from one run"
        )
    model.load_state_dict(weights)
    return model.eval()
