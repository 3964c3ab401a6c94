"""A backbone as plain files in a checkpoint, and which weights lie beside them."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_vlm import SmallVlm
from vla_ros.policy.vlm import VisionLanguageModel

FOLDER = "backbone"
TOKENIZER = "tokenizer.json"
# Weights of a Qwen-VL that no tuning but "full" changes have none of these in their names.
LEARNED = ("lora_", "vocabulary.actions", "vocabulary.action_outputs")
# Options of a Qwen-VL that change how it computes, not what: each run has its own.
RUN_TIME = ("attention", "gradient_checkpointing")


@dataclass(frozen=True)
class HubSource:
    """How a Qwen-VL was loaded.

    Attributes:
        name: of the hub, such as "Qwen/Qwen3-VL-2B-Instruct", or a folder.
        revision: commit of the hub's repository; None: all weights lie in the checkpoint.
        options: `QwenOptions.to_dict()`.
    """

    name: str
    revision: str | None
    options: dict

    @property
    def is_reference(self) -> bool:
        """Return whether weights that did not train are left to the hub."""
        return self.revision is not None and self.options["tuning"] != "full"


def kept_names(policy: nn.Module, source: HubSource | None) -> list[str]:
    """Return the names of the weights that a checkpoint of `policy` holds, in order."""
    names = list(policy.state_dict())
    if source is None or not source.is_reference:
        return names
    return [n for n in names if not n.startswith("vlm.") or any(part in n for part in LEARNED)]


def write_backbone(vlm: VisionLanguageModel, source: HubSource | None, folder: Path) -> dict:
    """Write FOLDER within `folder`; return what else there is to say, plain JSON.

    Raises:
        CheckpointError: a Qwen-VL without `source`.
    """
    place = folder / FOLDER
    place.mkdir()
    if isinstance(vlm, SmallVlm):
        sizes = vlm.config.to_dict()
        (place / TOKENIZER).write_text(sizes.pop("tokenizer"), encoding="utf-8")
        return {"kind": "small", "config": sizes}
    if source is None:
        raise CheckpointError(
            f"a checkpoint of {type(vlm).__name__} needs to know where the backbone came from; "
            "give its HubSource"
        )
    from vla_ros.policy.qwen_folder import save_description

    vlm_of_hub: Any = vlm
    save_description(vlm_of_hub, place)
    return {"kind": "qwen", "num_action_tokens": vlm.num_action_tokens, **asdict(source)}


def read_backbone(
    described: Any, folder: Path, device: str | torch.device, options: Mapping[str, Any]
) -> tuple[VisionLanguageModel, HubSource | None]:
    """Return the backbone that `write_backbone` described, weights yet to be filled in.

    Those of `options` that are of RUN_TIME replace the ones that it was described with.

    Raises:
        CheckpointError: it is of another version, or cannot be had.
    """
    kind = described.get("kind") if isinstance(described, dict) else None
    if kind == "small" and set(described) == {"kind", "config"}:
        return _read_small(described["config"], folder / FOLDER / TOKENIZER), None
    if kind == "qwen" and set(described) == {
        *("kind", "num_action_tokens", "name", "revision", "options")
    }:
        own = {name: options[name] for name in RUN_TIME if name in options}
        return _read_qwen(described, folder / FOLDER, device, own)
    raise CheckpointError(
        f"backbone of {folder} is of kind {kind!r} or has other keys than this version knows; "
        "take the version that wrote it"
    )


def _read_small(config: Any, tokenizer: Path) -> SmallVlm:
    try:
        text = tokenizer.read_text(encoding="utf-8")
        sizes = {**config, "tokenizer": text}
        return SmallVlm(SmallVlmConfig.from_dict(sizes))
    except (OSError, UnicodeDecodeError) as error:
        raise CheckpointError(
            f"{tokenizer} is missing or damaged ({error}); copy the checkpoint again"
        ) from None
    except (TypeError, ValueError, AssertionError, RuntimeError) as error:
        raise CheckpointError(
            f"backbone of {tokenizer.parent.parent} has impossible sizes ({error}); "
            "copy the checkpoint again"
        ) from None


def _read_qwen(
    described: dict, folder: Path, device: str | torch.device, own: dict[str, Any]
) -> tuple[VisionLanguageModel, HubSource]:
    # transformers takes seconds to import; robots with the small backbone do not wait for it.
    from vla_ros.policy.qwen_loading import load_backbone
    from vla_ros.policy.qwen_tuning import QwenOptions

    try:
        used = {**described["options"], **own}
        source = HubSource(described["name"], described["revision"], used)
        options, count = QwenOptions(**source.options), int(described["num_action_tokens"])
    except (TypeError, ValueError) as error:
        raise CheckpointError(
            f"backbone of {folder.parent} has other options than this version knows ({error}); "
            "take the version that wrote it"
        ) from None
    if source.is_reference:
        vlm = load_backbone(source.name, options, device, revision=source.revision)
        if count and not vlm.num_action_tokens:
            vlm.add_action_tokens(count)
    else:
        vlm = load_backbone(folder, options, device, with_weights=False)
    return vlm, source
