"""How much of a Qwen-VL trains: nothing, adapters or everything; and its weights as one model."""

from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.qwen_vlm import QwenVlm

TUNINGS = ("frozen", "lora", "full")
# Where transformers keeps the parts, and so the names in a folder's safetensors.
PREFIXES = {"vision": "model.visual.", "language": "model.language_model."}


@dataclass(frozen=True)
class QwenOptions:
    """How a backbone is used; `save_description` writes it, `load_backbone` takes it.

    Attributes:
        image_size: side of the pictures [px]; None: 8 x 8 tokens a picture.
        tuning: "frozen" (nothing but action tokens trains), "lora" (adapters and these) or "full".
        lora_rank, lora_alpha: of the adapters on every linear projection of vision tower and
            language layers (APT, authors' code: 16 and 16).
        dtype: "float32" or "bfloat16" of the weights. Full tuning in bfloat16 keeps norms, patch,
            position and token embeddings in float32 (APT, authors' code). The other weights take
            updates below 1/256 of themselves only by chance of rounding, which a rate of 1e-5
            gives often; float32 with the caller's autocast does not lose them, for twice the
            memory. Adapters and action tokens are float32 always.
        attention: "sdpa", "flash_attention_2" or "eager"; None: FlashAttention where it is
            installed, can be used and weights are bfloat16 on a GPU, else sdpa.
        gradient_checkpointing: recompute layers in the backward pass instead of keeping them.
    """

    image_size: int | None = None
    tuning: str = "frozen"
    lora_rank: int = 16
    lora_alpha: int = 16
    dtype: str = "float32"
    attention: str | None = None
    gradient_checkpointing: bool = False

    def __post_init__(self):
        for name, valid in (
            ("tuning", TUNINGS),
            ("dtype", ("float32", "bfloat16")),
            ("attention", (None, "sdpa", "flash_attention_2", "eager")),
        ):
            if getattr(self, name) not in valid:
                raise CheckpointError(
                    f"a backbone's {name} is one of {', '.join(map(str, valid))}, "
                    f"not {getattr(self, name)!r}; correct the recipe"
                )

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)


def tune(backbone: QwenVlm, options: QwenOptions) -> None:
    """Freeze, adapt or prepare for full training, in place; once."""
    backbone.requires_grad_(options.tuning == "full")
    if options.tuning == "lora":
        for part in (backbone.language, backbone.vision):
            _add_adapters(part, options)
    elif options.tuning == "full" and options.dtype == "bfloat16":
        _keep_in_float32(backbone)
        backbone.mixed_precision = True
    backbone.vocabulary.train_actions()
    if options.gradient_checkpointing:
        layers: list[Any] = [
            module
            for module in backbone.modules()
            if isinstance(module, GradientCheckpointingLayer)
        ]
        for layer in layers:
            # What transformers' own switch sets; that one also looks for the embedding's place.
            layer.gradient_checkpointing = True
            layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)


def plain_weights(backbone: QwenVlm) -> dict[str, Tensor]:
    """Return the weights by the names of transformers, adapters merged and action rows appended."""
    weights = {
        prefix + name: tensor
        for part, prefix in PREFIXES.items()
        for name, tensor in _merged(getattr(backbone, part)).items()
    }
    weights["model.language_model.embed_tokens.weight"] = backbone.vocabulary.whole_embedding()
    output = backbone.vocabulary.whole_output()
    if output is not None:
        weights["lm_head.weight"] = output
    return {name: tensor.detach().cpu().contiguous() for name, tensor in weights.items()}


def _add_adapters(part: nn.Module, options: QwenOptions) -> None:
    """Put a low-rank adapter beside every linear projection; nothing else trains."""
    try:
        from peft import (  # pyright: ignore[reportMissingImports]
            LoraConfig,
            inject_adapter_in_model,
        )
    except ImportError:
        raise CheckpointError(
            "tuning a backbone by LoRA needs peft; install it by `pip install '.[peft]'`"
        ) from None
    names = [name for name, module in part.named_modules() if isinstance(module, nn.Linear)]
    inject_adapter_in_model(
        LoraConfig(r=options.lora_rank, lora_alpha=options.lora_alpha, target_modules=names), part
    )
    for name, parameter in part.named_parameters():
        parameter.requires_grad_("lora_" in name)
        if "lora_" in name:
            parameter.data = parameter.data.float()


def _keep_in_float32(backbone: QwenVlm) -> None:
    for name, module in backbone.named_modules():
        is_norm = type(module).__name__.endswith("Norm")
        if is_norm or isinstance(module, nn.Embedding) or name.endswith("patch_embed"):
            module.float()
    backbone.vocabulary.embedding.data = backbone.vocabulary.embedding.data.float()


def _merged(part: nn.Module) -> dict[str, Tensor]:
    """Return a part's weights, adapters added in float32 to what they adapt."""
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in part.state_dict().items()
        if "lora_" not in name
    }
    module: Any
    for name, module in part.named_modules():
        if hasattr(module, "get_delta_weight"):
            key = f"{name}.weight"
            delta = module.get_delta_weight("default")
            weights[key] = (weights[key].float() + delta.float()).to(weights[key].dtype)
    return weights
