"""A Qwen-VL's folder: what has to lie in it, fetching it, and writing one.

It holds what the hub holds: config.json, tokenizer.json with a chat template,
preprocessor_config.json and safetensors. Weights that would have to be unpickled are refused, and
code that lies beside a model is never run.
"""

import copy
import json
from pathlib import Path

from safetensors.torch import save_file
from transformers import (
    PreTrainedModel,
    Qwen2_5_VLForConditionalGeneration,
    Qwen3VLForConditionalGeneration,
)

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.qwen_tuning import plain_weights
from vla_ros.policy.qwen_vlm import QwenVlm

FAMILIES: dict[str, type[PreTrainedModel]] = {
    "qwen2_5_vl": Qwen2_5_VLForConditionalGeneration,
    "qwen3_vl": Qwen3VLForConditionalGeneration,
}
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
# What a download may bring; no weights but safetensors, no code.
FILES = ("*.json", "*.safetensors", "*.jinja", "merges.txt")


def check_folder(folder: Path, with_weights: bool = True) -> str:
    """Return a folder's model type; raises CheckpointError unless it can be read safely."""
    try:
        family = json.loads((folder / "config.json").read_text())["model_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder} has no readable config.json with a model_type ({first_line(error)}); "
            "give the folder of a Qwen2.5-VL or Qwen3-VL model"
        ) from None
    if family not in FAMILIES:
        raise CheckpointError(
            f"{folder} is a model of type {family!r}, not one of {', '.join(FAMILIES)}; "
            "give the folder of a Qwen2.5-VL or Qwen3-VL model"
        )
    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"{folder} has no tokenizer.json; copy the model's folder whole")
    if with_weights:
        _check_weights(folder)
    return family


def _check_weights(folder: Path) -> None:
    whole, index = folder / "model.safetensors", folder / "model.safetensors.index.json"
    if whole.is_file():
        return
    if not index.is_file():
        pickles = sorted(path.name for path in folder.iterdir() if path.suffix in PICKLES)
        if pickles:
            raise CheckpointError(
                f"{folder} holds its weights as {pickles[0]}, a pickle that could run any code and "
                "is never read; take the safetensors version of the model"
            )
        raise CheckpointError(f"{folder} has no model.safetensors; copy the model's folder whole")
    try:
        names = set(json.loads(index.read_text())["weight_map"].values())
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{index} cannot be read ({first_line(error)}); copy the model's folder whole"
        ) from None
    for name in sorted(names):
        if Path(name).name != name or Path(name).suffix != ".safetensors":
            raise CheckpointError(
                f"{index} points to {name}, which is not a safetensors file beside it and is never "
                "read; take the safetensors version of the model"
            )
        if not (folder / name).is_file():
            raise CheckpointError(f"{folder} lacks {name}; copy the model's folder whole")


def download(name: str, revision: str | None) -> Path:
    """Return the folder of a hub's model, fetched where it is not in the cache already."""
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=list(FILES)))
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{name!r} is no folder and cannot be had from the hub ({first_line(error)}); "
            "check the name and the connection, or give a folder"
        ) from None


def save_description(backbone: QwenVlm, folder: Path) -> None:
    """Write all of a folder but the weights: config, tokenizer, image processor."""
    config = copy.deepcopy(backbone.config)
    config.get_text_config().vocab_size = backbone.vocabulary.size
    config.save_pretrained(folder)
    backbone.turn.tokenizer.save_pretrained(folder)
    backbone.processor.save_pretrained(folder)


def save_backbone(backbone: QwenVlm, folder: Path) -> None:
    """Write a folder that `load_backbone` and transformers read; adapters become part of it."""
    save_description(backbone, folder)
    save_file(plain_weights(backbone), folder / "model.safetensors", metadata={"format": "pt"})


def first_line(error: Exception) -> str:
    """Return the first line of an error's words, for a sentence of our own."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".;")
