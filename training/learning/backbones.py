"""Where a stage's backbone comes from: nowhere, pretraining on captions, or a Qwen-VL."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch

from training.provenance import file_sha256
from vla_ros.policy.backbone_description import HubSource
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_files import WEIGHTS, is_backbone, load_small_vlm
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.vlm import VisionLanguageModel


class Backbone(NamedTuple):
    """A backbone with its origin.

    Attributes:
        vlm: the model, on its device.
        source: of a Qwen-VL; None for the small model.
        is_fresh: whether its weights are random: a frozen part would stay so.
        facts: provenance, plain JSON.
    """

    vlm: VisionLanguageModel
    source: HubSource | None
    is_fresh: bool
    facts: dict


def make_backbone(
    name: str | None,
    small: SmallVlmConfig,
    qwen: Mapping[str, Any],
    device: str | torch.device = "cpu",
) -> Backbone:
    """Return the backbone that `--backbone` names.

    Args:
        name: None or "none": the small model from random weights, by torch's seed; a folder that
            training.pretrain_vlm wrote; or a Qwen-VL as a folder, as a name of the hub, or as
            NAME@COMMIT. Checkpoints on the last leave weights that did not train to the hub.
        small: sizes of one from random weights.
        qwen: `QwenOptions` of a Qwen-VL: frozen, LoRA or full, precision, size of the pictures.
        device: where to put it.

    Raises:
        CheckpointError: there is no such backbone, or it is damaged.
    """
    if name is None or name == "none":
        facts = {"kind": "small", "name": None}
        return Backbone(SmallVlm(small).to(device), None, True, facts)
    folder = Path(name)
    if is_backbone(folder):
        vlm = load_small_vlm(folder).to(device)
        facts = {"kind": "small", "name": folder.name, "sha256": file_sha256(folder / WEIGHTS)}
        return Backbone(vlm, None, False, facts)
    # transformers takes seconds to import; who trains the small model does not wait for it.
    from vla_ros.policy.qwen_loading import load_backbone
    from vla_ros.policy.qwen_tuning import QwenOptions

    place, _, revision = (name, "", "") if folder.is_dir() else name.partition("@")
    options = QwenOptions(**qwen)
    vlm = load_backbone(place, options, device, revision=revision or None)
    source = HubSource(place, revision or None, options.to_dict())
    facts = {"kind": "qwen", "name": folder.name if folder.is_dir() else name, **qwen}
    return Backbone(vlm, source, False, facts)
