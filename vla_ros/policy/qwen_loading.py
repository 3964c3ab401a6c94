"""Qwen-VL from a hub name or a folder, frozen, adapted or whole.

    load_backbone("Qwen/Qwen3-VL-2B-Instruct", QwenOptions(tuning="lora", dtype="bfloat16"), "cuda")

What may lie in a folder and what is refused: `qwen_folder.py`. How it is used: `QwenOptions`.
"""

import json
import logging
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.utils.import_utils import is_flash_attn_2_available

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.qwen_folder import FAMILIES, check_folder, download, first_line
from vla_ros.policy.qwen_prompt import ChatTurn, Pictures
from vla_ros.policy.qwen_tuning import QwenOptions, tune
from vla_ros.policy.qwen_vlm import QwenVlm

logger = logging.getLogger(__name__)

# 8 x 8 tokens a picture: 224 px (TAP, authors' code), 256 px (APT, authors' code).
IMAGE_SIZES = {"qwen2_5_vl": 224, "qwen3_vl": 256}


def load_backbone(
    source: str | Path,
    options: QwenOptions | None = None,
    device: str | torch.device = "cpu",
    with_weights: bool = True,
    revision: str | None = None,
) -> QwenVlm:
    """Return the backbone of a folder or of a hub name such as "Qwen/Qwen3-VL-2B-Instruct".

    Args:
        source: an existing folder, read as it is without network, or a name of the hub.
        options: how to use it; frozen in float32 by default.
        device: where to put it.
        with_weights: False: random weights, to be filled by a checkpoint's own.
        revision: commit of the hub's repository, for a run that can be repeated.

    Raises CheckpointError where the folder is not one of the two families, or not whole.
    """
    options = options or QwenOptions()
    folder = Path(source) if Path(source).is_dir() else download(str(source), revision)
    family = check_folder(folder, with_weights)
    local = {"local_files_only": True, "trust_remote_code": False}
    dtype = getattr(torch, options.dtype)
    try:
        config = AutoConfig.from_pretrained(folder, **local)
        tokenizer = AutoTokenizer.from_pretrained(folder, **local)
        processor = AutoImageProcessor.from_pretrained(folder, **local)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"{folder} does not hold config, tokenizer and image processor of a Qwen-VL "
            f"({first_line(error)}); copy the model's folder whole"
        ) from None
    if getattr(config.get_text_config(), "sliding_window", None) is not None:
        raise CheckpointError(
            f"the model of {folder} uses sliding windows, which are not supported; take another"
        )
    how = {"dtype": dtype, "attn_implementation": _attention(options, torch.device(device))}
    if with_weights:
        model = _read_weights(FAMILIES[family], folder, config, how)
    else:
        model = AutoModelForImageTextToText.from_config(config, **how)
    turn, pictures = _inputs(config, tokenizer, processor, options, folder)
    backbone = QwenVlm(model, turn, pictures, processor)
    tune(backbone, options)
    return backbone.to(device)


def _read_weights(cls: type[PreTrainedModel], folder: Path, config, how: dict) -> PreTrainedModel:
    try:
        loaded: Any = cls.from_pretrained(
            folder,
            config=config,
            **how,
            local_files_only=True,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise CheckpointError(
            f"the weights of {folder} are damaged or of another model ({first_line(error)}); "
            "copy the model's folder whole"
        ) from None
    model, report = loaded  # a pair where its report is asked for
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"the weights of {folder} lack {len(missing)} tensors, {missing[0]} the first; "
            "copy the model's folder whole"
        )
    return model


def _inputs(
    config, tokenizer, processor, options: QwenOptions, folder: Path
) -> tuple[ChatTurn, Pictures]:
    vision = config.vision_config
    if tokenizer.chat_template is None:
        template = folder / "chat_template.json"  # where older folders keep it
        if not template.is_file():
            raise CheckpointError(
                f"the tokenizer of {folder} has no chat template; copy the model's folder whole"
            )
        tokenizer.chat_template = json.loads(template.read_text())["chat_template"]
    pictures = Pictures(
        image_size=options.image_size or IMAGE_SIZES[config.model_type],
        patch_size=vision.patch_size,
        merge_size=vision.spatial_merge_size,
        temporal_size=vision.temporal_patch_size,
        mean=tuple(processor.image_mean),
        std=tuple(processor.image_std),
    )
    return ChatTurn(tokenizer, config.image_token_id, pictures.cells**2), pictures


def _attention(options: QwenOptions, device: torch.device) -> str:
    fits = device.type == "cuda" and options.dtype == "bfloat16" and is_flash_attn_2_available()
    chosen = options.attention or ("flash_attention_2" if fits else "sdpa")
    logger.info("attention of the backbone: %s", chosen)
    return chosen
