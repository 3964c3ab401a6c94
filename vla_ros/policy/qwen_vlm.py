"""Qwen2.5-VL and Qwen3-VL behind the interface of `vlm.py`.

`qwen_loading.load_backbone` makes these from a hub name or a folder. The pieces are transformers'
own; the loop over the layers is written out here, so that features of single layers can be kept,
embeddings be seen and a cache be read twice.

Padding stands between pictures and instruction, not before both: pictures then have the same
columns whatever the texts are. Attention masks it and positions skip it, so to the model it is the
left padding of the authors' TAP code.

Legend: B batch, V images of one sample, H head tokens (template and pictures), L prompt tokens,
S suffix tokens, T tokens of one pass, D width.
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache, PretrainedConfig, PreTrainedModel
from transformers.masking_utils import create_causal_mask

from vla_ros.policy.qwen_prompt import ChatTurn, Pictures, pad_left
from vla_ros.policy.qwen_vocabulary import QwenVocabulary
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput


@dataclass(frozen=True, eq=False)
class QwenCache:
    """What `decode` goes on from: keys and values, mask (B, L) bool, next position (B,) int64."""

    keys: DynamicCache
    mask: Tensor
    position: Tensor


@dataclass(frozen=True, eq=False)
class _Prompt:
    """A prompt's embeddings (B, L, D), mask (B, L), positions (3, B, L), and of its pictures:
    their columns (V M M,) and what DeepStack adds there after each of the first layers.
    """

    embeddings: Tensor
    mask: Tensor
    positions: Tensor
    columns: Tensor
    deepstack: list[Tensor]


class QwenVlm(VisionLanguageModel):
    """One model of the family.

    `VlmOutput.layers[i]` is what layer i hands to the next one, of the last layer what its final
    norm makes of it. Qwen3-VL's DeepStack adds features of earlier vision layers to image tokens
    after each of the first language layers: `layers` holds them, `embeddings` does not; there
    image tokens are the merged output of the vision tower only.

    Attributes:
        config: the model's own, as in its folder's config.json.
        turn: prompts and tokenizer.
        pictures: how pictures become patches.
        vocabulary: embedding and output; its rows of action tokens train in every mode.
        vision, language: transformers' vision tower, and its text model without embedding.
        mixed_precision: whether passes run under bfloat16 autocast; for weights of two precisions.
    """

    def __init__(self, model: PreTrainedModel, turn: ChatTurn, pictures: Pictures, processor: Any):
        super().__init__()
        self.config: PretrainedConfig = model.config
        self.turn, self.pictures, self.processor = turn, pictures, processor
        inner = model.get_submodule("model")
        self.vision: Any = inner.get_submodule("visual")
        self.language: Any = inner.get_submodule("language_model")
        # A tied output is the embedding: one name for one tensor, as safetensors wants it.
        tied = model.config.tie_word_embeddings
        self.vocabulary = QwenVocabulary(
            self.language.embed_tokens,
            None if tied else model.get_output_embeddings(),
            turn.tokenizer,
        )
        self.language.embed_tokens = None
        self.mixed_precision = False
        text = model.config.get_text_config()
        self.width, self.num_layers = text.hidden_size, text.num_hidden_layers
        self.image_size = pictures.image_size
        self.end_token = turn.tokenizer.convert_tokens_to_ids("<|im_end|>")
        self.first_action_token = self.vocabulary.first_action
        self.num_action_tokens = self.vocabulary.num_actions

    @property
    def device(self) -> torch.device:
        """Return where the parameters are."""
        return self.vocabulary.embedding.device

    @property
    def shards(self) -> list[nn.Module]:
        """Return the layers of both towers."""
        return [*self.vision.blocks, *self.language.layers]

    def forward(
        self,
        images: Tensor,
        text: Sequence[str] | None,
        suffix: Tensor | None = None,
        layers: Sequence[int] = (),
        with_cache: bool = False,
    ) -> VlmOutput:
        """Read a prompt, and a suffix by teacher forcing; see `VisionLanguageModel`."""
        assert images.ndim == 5, images.shape
        assert text is None or len(text) == len(images)
        assert suffix is None or not with_cache
        with self._autocast():
            prompt = self._prompt(images, text)
            length = prompt.mask.shape[1]
            x, mask, positions = prompt.embeddings, prompt.mask, prompt.positions
            after = positions[0, :, -1:] + 1  # (B, 1)
            if suffix is not None:
                steps = after + torch.arange(suffix.shape[1], device=after.device)
                x = torch.cat([x, self.vocabulary.embed(suffix).to(x.dtype)], dim=1)
                mask = torch.cat([mask, torch.ones_like(suffix, dtype=torch.bool)], dim=1)
                positions = torch.cat([positions, steps.expand(3, -1, -1)], dim=2)
            keys = DynamicCache(config=self.language.config) if with_cache else None
            x, kept = self._run(x, mask, positions, keys, prompt, layers)
            logits = self.vocabulary.logits(x[:, length - 1 :])
        is_image, view, patch_xy = self._places(prompt, images.shape[1])
        return VlmOutput(
            embeddings=prompt.embeddings,
            layers=tuple(kept[layer][:, :length] for layer in layers),
            mask=prompt.mask,
            is_image=is_image,
            view=view,
            patch_xy=patch_xy,
            last=x[:, length - 1],
            logits=logits,
            cache=None if keys is None else QwenCache(keys, prompt.mask, after[:, 0]),
        )

    def decode(self, tokens: Tensor, cache: object) -> tuple[Tensor, object]:
        """Go on from a cache by tokens (B, T); the cache that was given stays as it is."""
        assert isinstance(cache, QwenCache)
        keys = copy.copy(cache.keys)
        keys.layers = [copy.copy(layer) for layer in cache.keys.layers]  # they grow by new tensors
        count = tokens.shape[1]
        mask = torch.cat([cache.mask, torch.ones_like(tokens, dtype=torch.bool)], dim=1)
        steps = cache.position[:, None] + torch.arange(count, device=tokens.device)
        with self._autocast():
            x = self.vocabulary.embed(tokens)
            x, _ = self._run(x, mask, steps.expand(3, -1, -1), keys)
            logits = self.vocabulary.logits(x[:, -1:])[:, 0]
        return logits, QwenCache(keys, mask, cache.position + count)

    def add_action_tokens(self, count: int) -> None:
        """Append `<robot_action_0>` and so on; see `QwenVocabulary.add_actions`."""
        self.vocabulary.add_actions(count, self.config.get_text_config().initializer_range)
        self.num_action_tokens = count

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return every parameter once, by part; adapters are with the part that they adapt."""
        return {
            "vision": list(self.vision.parameters()),
            "language": list(self.language.parameters()),
            "tokens": list(self.vocabulary.parameters()),
        }

    def _prompt(self, images: Tensor, text: Sequence[str] | None) -> _Prompt:
        batch, num_images = images.shape[:2]
        device = self.device
        patches = self.pictures.patches(images.flatten(0, 1).to(device))
        shapes = self.pictures.shapes(batch * num_images, device)
        seen = self.vision(patches, grid_thw=shapes)
        rows = [self.turn.tail] * batch
        if text is not None:
            rows = [self.turn.instruction(line) + self.turn.tail for line in text]
        ids, mask = pad_left(rows, device)
        head = torch.tensor(self.turn.head(num_images), device=device)
        columns = (head == self.turn.image_token).nonzero()[:, 0]
        embedded = self.vocabulary.embed(torch.cat([head.expand(batch, -1), ids], dim=1))
        pictures = [
            features.unflatten(0, (batch, -1)).to(embedded.dtype)  # (B, V M M, D)
            for features in (seen.pooler_output, *(getattr(seen, "deepstack_features", None) or ()))
        ]
        positions = self.turn.positions(num_images).to(device)  # (3, H)
        # Rows of padding get the first text position; nothing reads them.
        steps = positions.max() + mask.cumsum(1).clamp(min=1)  # (B, T)
        return _Prompt(
            embeddings=embedded.index_copy(1, columns, pictures[0]),
            mask=torch.cat([mask.new_ones(batch, len(head)), mask], dim=1),
            positions=torch.cat(
                [positions[:, None].expand(-1, batch, -1), steps.expand(3, -1, -1)], dim=2
            ),
            columns=columns,
            deepstack=pictures[1:],
        )

    def _run(
        self,
        x: Tensor,
        mask: Tensor,
        positions: Tensor,
        keys: DynamicCache | None = None,
        prompt: _Prompt | None = None,
        layers: Sequence[int] = (),
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Return the normed last features (B, T, D) and those of the layers asked for."""
        if keys is not None and self.training and self.language.layers[0].gradient_checkpointing:
            # transformers would drop the cache with a warning.
            raise RuntimeError("a cache needs eval() while gradient checkpointing is on")
        unknown = [layer for layer in layers if not 0 <= layer < self.num_layers]
        assert not unknown, f"layers {unknown} of {self.num_layers}"
        attention = create_causal_mask(
            config=self.language.config,
            inputs_embeds=x,
            attention_mask=mask,
            past_key_values=keys,
        )
        rotation = self.language.rotary_emb(x, positions)
        deepstack = [] if prompt is None else prompt.deepstack
        kept = {}
        for index, layer in enumerate(self.language.layers):
            x = layer(
                x, attention_mask=attention, position_embeddings=rotation, past_key_values=keys
            )
            if index < len(deepstack):
                assert prompt is not None
                x = x.index_add(1, prompt.columns, deepstack[index].to(x.dtype))
            if index in layers:
                kept[index] = x
        x = self.language.norm(x)
        if self.num_layers - 1 in kept:
            kept[self.num_layers - 1] = x
        return x, kept

    def _places(self, prompt: _Prompt, num_images: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return `is_image`, `view` and `patch_xy` of a prompt."""
        mask, columns = prompt.mask, prompt.columns
        centres = self.pictures.centres(mask.device)
        view = torch.full(mask.shape, -1, device=mask.device)
        numbers = torch.arange(num_images, device=mask.device)
        view[:, columns] = numbers.repeat_interleave(len(centres))
        patch_xy = torch.zeros(*mask.shape, 2, device=mask.device)
        patch_xy[:, columns] = centres.repeat(num_images, 1)
        return view >= 0, view, patch_xy

    def _autocast(self) -> torch.autocast:
        # Inside a caller's autocast nothing changes: enabled=False would switch that one off.
        on = self.mixed_precision or torch.is_autocast_enabled(self.device.type)
        dtype = torch.bfloat16 if self.mixed_precision else None
        return torch.autocast(self.device.type, dtype=dtype, enabled=on)
