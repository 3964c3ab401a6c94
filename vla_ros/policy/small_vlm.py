"""A vision-language model of a few million parameters for CPUs, behind the interface of `vlm.py`.

A prompt is: tokens of every picture, left-padded text, one ANSWER token; a suffix follows it.
Picture tokens see each other and nothing else; text, ANSWER and suffix see all pictures and what
precedes them. So pictures go through all layers first, and language reads their keys and values:
teacher forcing, decoding and a cache are one code path, and features of pictures hold no language.

The ANSWER token, which an action or a caption is read from, also starts with a linear function of
all keypoints (see `small_vision`). Each slot has its own, and slots begin with opposite signs, so
what is there to read first is the displacement between two pictures. With `named_points`, text
tokens start with where in the pictures what they name may be (see `small_named`).

Legend: B batch, V pictures of one sample, P keypoint tokens, G side of the grid, K keypoints,
T tokens of one pass, M tokens seen before, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.efficientnet import LiteTrunk, load_pretrained
from vla_ros.policy.small_config import SmallVlmConfig
from vla_ros.policy.small_layers import KeysValues, Transformer
from vla_ros.policy.small_named import NamedPoints, Pointed
from vla_ros.policy.small_vision import ConvTrunk, PictureEncoder, patch_centres
from vla_ros.policy.text_tokens import ANSWER, END, PADDING, TextTokenizer
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

ROW_DEVIATION = 0.02


@dataclass(frozen=True, eq=False)
class SmallCache:
    """What `decode` goes on from.

    Attributes:
        past: keys and values of every layer.
        mask: (B, M) bool, True where they are of a valid token.
        num_suffix: how many suffix tokens are among them.
    """

    past: tuple[KeysValues, ...]
    mask: Tensor
    num_suffix: int


class Encoded(NamedTuple):
    """Pictures, each alone and without its slot.

    Attributes:
        points: (B, V, 2K) keypoints.
        patches: (B, V, G * G, D).
        cells: (B, V, C, M) for `NamedPoints`; None without it.
    """

    points: Tensor
    patches: Tensor
    cells: Tensor | None


class Asked(NamedTuple):
    """Questions on pictures of a batch.

    Attributes:
        about: (B,) int64, which sample each is about.
        prompts: B of them.
        answers: (B, S) tokens, as `TextTokenizer.answers` gives them; S may be 0.
    """

    about: Tensor
    prompts: list[str]
    answers: Tensor


class SmallVlm(VisionLanguageModel):
    """The model; a fresh one is random, with any encoder.

    `VlmOutput.layers[i]` is what layer i hands on, of the last layer what the final norm makes of
    it. Tokens of picture v are P keypoint tokens, whose `patch_xy` is 0 as they are of the whole
    picture, then G * G patches row by row. An output row is the embedding's (tied).

    Attributes:
        config: sizes and vocabulary, action tokens included: a model made of it has this one's
            state dict.
        tokenizer: of the text.
    """

    end_token = END

    def __init__(self, config: SmallVlmConfig):
        super().__init__()
        self.config = config
        self.tokenizer = TextTokenizer(config.tokenizer)
        self.width, self.num_layers = config.width, config.depth
        self.image_size = config.image_size
        self.first_action_token = self.tokenizer.size
        self.num_action_tokens = config.num_action_tokens
        width, slots = config.width, config.num_slots
        self.encoder = PictureEncoder(
            ConvTrunk(config.channels) if config.encoder == "conv" else LiteTrunk(),
            config.image_size,
            config.num_keypoints,
            config.grid,
            width,
        )
        # One tensor for all slots: a slot without a picture has a gradient of 0, not none.
        bound = (2 * config.num_keypoints) ** -0.5
        size = (slots, 2 * config.num_keypoints, (1 + config.keypoint_tokens) * width)
        points = torch.empty(size).uniform_(-bound, bound)
        points[:, :, :width] = points[:1, :, :width] * (-1.0) ** torch.arange(slots)[:, None, None]
        self.points_weight = nn.Parameter(points)
        self.slot_embedding = nn.Parameter(torch.randn(slots, 1, width) * ROW_DEVIATION)
        self.point_embedding = nn.Parameter(
            torch.randn(config.keypoint_tokens, width) * ROW_DEVIATION
        )
        rows = self.tokenizer.size + config.num_action_tokens
        self.rows = nn.Parameter(torch.randn(rows, width) * ROW_DEVIATION)
        # Row 0 is the ANSWER's, then suffix tokens, then text, counted backwards from its end.
        places = 1 + config.max_suffix + config.max_text
        self.position = nn.Parameter(torch.randn(places, width) * ROW_DEVIATION)
        self.transformer = Transformer(width, config.depth, config.num_heads)
        fine_channels = cast(LiteTrunk | ConvTrunk, self.encoder.trunk).fine_channels
        self.named = NamedPoints(fine_channels, width, slots) if config.named_points else None

    def forward(
        self,
        images: Tensor,
        text: Sequence[str] | None,
        suffix: Tensor | None = None,
        layers: Sequence[int] = (),
        with_cache: bool = False,
    ) -> VlmOutput:
        """Read a prompt, and a suffix by teacher forcing; see `VisionLanguageModel`.

        Raises:
            ContractError: more pictures than slots, or a suffix beyond `max_suffix`.
        """
        size = self.config.image_size
        assert images.shape[2:] == (3, size, size), images.shape
        return self.read(self.encode(images), text, suffix, layers, with_cache)

    def encode(self, images: Tensor) -> Encoded:
        """Return what becomes of pictures (B, V, 3, H, W) before they meet.

        It can be kept, and be put together anew for `read`, which is the rest of `forward`.
        """
        shape = images.shape[:2]
        points, patches, fine = self.encoder(images.flatten(0, 1))
        cells = None
        if self.named is not None:
            cells = self.named.cells(fine).flatten(2).unflatten(0, shape)
        return Encoded(points.unflatten(0, shape), patches.unflatten(0, shape), cells)

    def read(
        self,
        encoded: Encoded,
        text: Sequence[str] | None,
        suffix: Tensor | None = None,
        layers: Sequence[int] = (),
        with_cache: bool = False,
    ) -> VlmOutput:
        """Return what `forward` does for pictures as `encode` gives them."""
        batch = len(encoded.points)
        assert text is None or len(text) == batch
        assert suffix is None or not with_cache
        assert all(0 <= layer < self.num_layers for layer in layers), layers
        pictures, readout = self._picture_tokens(encoded)  # (B, V, P + G * G, D), (B, D)
        past, seen = self.transformer.see(pictures, self.config.joint_pictures, layers)
        ids = self._ids(text or [""] * batch)
        words = self._pointed(encoded, [ids])
        language, mask = self._language_tokens(ids, suffix, readout, words)  # (B, T, D), (B, T)
        in_pictures = mask.new_ones(len(mask), pictures.shape[1] * pictures.shape[2])
        valid = torch.cat([in_pictures, mask], 1)
        x, past, heard = self.transformer.hear(language, past, valid, layers)
        answer = language.shape[1] - (0 if suffix is None else suffix.shape[1]) - 1
        prompt = valid[:, : in_pictures.shape[1] + answer + 1]
        view, patch_xy = self._places(pictures, answer + 1)
        return VlmOutput(
            embeddings=torch.cat([pictures.flatten(1, 2), language[:, : answer + 1]], 1),
            layers=tuple(
                torch.cat([seen[layer], heard[layer][:, : answer + 1]], 1) for layer in layers
            ),
            mask=prompt,
            is_image=view >= 0,
            view=view,
            patch_xy=patch_xy,
            last=x[:, answer],
            logits=self._logits(x[:, answer:]),
            cache=SmallCache(tuple(past), prompt, 0) if with_cache else None,
        )

    def asked_features(self, encoded: Encoded, asked: Sequence[Asked]) -> list[Tensor]:
        """Return (B, 1 + S, D) of each: after its prompts, then after every token of the answers.

        Pictures pass through once, however many questions are asked about them.
        """
        pictures, readout = self._picture_tokens(encoded)
        past, _ = self.transformer.see(pictures, self.config.joint_pictures, ())
        in_pictures = pictures.shape[1] * pictures.shape[2]
        features = []
        all_ids = [self._ids(prompts) for _, prompts, _ in asked]
        words = self._pointed(encoded, all_ids)
        for (about, _, answers), ids in zip(asked, all_ids, strict=True):
            language, mask = self._language_tokens(ids, answers, readout[about], words, about)
            valid = torch.cat([mask.new_ones(len(mask), in_pictures), mask], 1)
            seen = [(keys[about], values[about]) for keys, values in past]
            x, _, _ = self.transformer.hear(language, seen, valid, ())
            features.append(x[:, -1 - answers.shape[1] :])
        return features

    def heat(self, encoded: Encoded, names: Sequence[str]) -> Tensor:
        """Return logits (B, V, N, M) of where in the pictures a thing of each name is.

        Of cells row by row; a name of several tokens has their mean.

        Raises:
            ContractError: the model has no named points.
        """
        if self.named is None or encoded.cells is None:
            raise ContractError("the model has no named points; train one with named_points")
        words = torch.stack([self._embed(self._ids([name])[0]).mean(0) for name in names])
        return self.named.heat(words, encoded.cells)

    def scored(self, features: Sequence[Tensor], asked: Sequence[Asked]) -> tuple[Tensor, Tensor]:
        """Return logits (N, vocabulary) of every token of all answers, and these tokens (N,).

        Of what `asked_features` gave; as `read` with a suffix, but no padding is scored.
        """
        rows = [one.answers != PADDING for one in asked]
        kept = [x[:, :-1][row] for x, row in zip(features, rows, strict=True)]
        tokens = [one.answers[row] for one, row in zip(asked, rows, strict=True)]
        return self._logits(torch.cat(kept)), torch.cat(tokens)

    def decode(self, tokens: Tensor, cache: object) -> tuple[Tensor, object]:
        """Go on from a cache by tokens (B, T); the cache that was given stays as it is."""
        assert isinstance(cache, SmallCache)
        x = self._suffix_tokens(tokens, cache.num_suffix)
        mask = torch.cat([cache.mask, torch.ones_like(tokens, dtype=torch.bool)], 1)
        x, past, _ = self.transformer.hear(x, cache.past, mask, ())
        grown = SmallCache(tuple(past), mask, cache.num_suffix + tokens.shape[1])
        return self._logits(x[:, -1]), grown

    def add_action_tokens(self, count: int) -> None:
        """Append `count` tokens, rows N(0, 0.02); raises CheckpointError if there are some."""
        if self.num_action_tokens:
            raise CheckpointError(
                f"the model has {self.num_action_tokens} action tokens already; "
                "start from the backbone without them to have another number"
            )
        new = torch.randn(count, self.width, device=self.rows.device) * ROW_DEVIATION
        self.rows = nn.Parameter(torch.cat([self.rows.detach(), new]), self.rows.requires_grad)
        self.num_action_tokens = count
        self.config = replace(self.config, num_action_tokens=count)

    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return every parameter once, by part.

        "vision" is the trunk of convolutions. What makes keypoints, patches and slots of its maps
        is with "language": a slot that pretraining did not use must learn when vision is frozen.
        """
        groups: dict[str, list[nn.Parameter]] = {
            "vision": [],
            "language": [],
            "tokens": [self.rows],
        }
        for name, parameter in self.named_parameters():
            if name != "rows":
                part = "vision" if name.startswith("encoder.trunk.") else "language"
                groups[part].append(parameter)
        return groups

    def load_pretrained_encoder(self) -> None:
        """Fill an "efficientnet_lite0" trunk with ImageNet's weights; see `load_pretrained`.

        Raises:
            CheckpointError: the encoder is another one, or the weights' package is absent.
        """
        trunk = self.encoder.trunk
        if not isinstance(trunk, LiteTrunk):
            raise CheckpointError(
                f"encoder {self.config.encoder} has no pretrained weights; "
                "take encoder efficientnet_lite0 to start from some"
            )
        load_pretrained(trunk)

    def _picture_tokens(self, encoded: Encoded) -> tuple[Tensor, Tensor]:
        points, patches, _ = encoded
        num_images = points.shape[1]
        if not 0 < num_images <= self.config.num_slots:
            raise ContractError(
                f"the model takes 1 to {self.config.num_slots} pictures a sample, got {num_images};"
                " train one with more slots, or choose cameras"
            )
        projected = torch.bmm(points.transpose(0, 1), self.points_weight[:num_images])
        projected = projected.transpose(0, 1).unflatten(2, (-1, self.width))  # (B, V, 1 + P, D)
        tokens = torch.cat([projected[:, :, 1:] + self.point_embedding, patches], 2)
        return tokens + self.slot_embedding[:num_images], projected[:, :, 0].sum(1)

    def _ids(self, text: Sequence[str]) -> Tensor:
        return self.tokenizer.prompts(text, self.config.max_text).to(self.rows.device)

    def _pointed(self, encoded: Encoded, texts: Sequence[Tensor]) -> Pointed | None:
        """Return where all tokens of some texts point; None where there is nothing to point with.

        A token points alike in whatever sentence it stands, so each is asked for once a picture.
        """
        tokens = torch.cat([ids.flatten() for ids in texts]).unique()
        if self.named is None or encoded.cells is None or not len(tokens):
            return None
        return self.named(tokens, self._embed(tokens), encoded.cells)

    def _language_tokens(
        self,
        ids: Tensor,
        suffix: Tensor | None,
        readout: Tensor,
        words: Pointed | None,
        about: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        batch, count = ids.shape
        mask = torch.cat([ids != PADDING, ids.new_ones(batch, 1, dtype=torch.bool)], 1)
        backwards = self.position[1 + self.config.max_suffix :][:count].flip(0)
        text = self._embed(ids) + backwards
        if self.named is not None and words is not None and count:
            text = text + self.named.added(words, ids, about)
        answer = self._embed(ids.new_full((batch, 1), ANSWER)) + self.position[:1]
        parts = [text, answer + readout[:, None]]
        if suffix is not None:
            parts.append(self._suffix_tokens(suffix, 0))
            mask = torch.cat([mask, torch.ones_like(suffix, dtype=torch.bool)], 1)
        return torch.cat(parts, 1), mask

    def _suffix_tokens(self, tokens: Tensor, before: int) -> Tensor:
        after = before + tokens.shape[1]
        if after > self.config.max_suffix:
            raise ContractError(
                f"a suffix holds up to {self.config.max_suffix} tokens, got {after}; "
                "give shorter answers or raise max_suffix of the model"
            )
        return self._embed(tokens) + self.position[1 + before : 1 + after]

    def _embed(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.rows) * self.width**0.5

    def _logits(self, x: Tensor) -> Tensor:
        return F.linear(x, self.rows).float()

    def _places(self, pictures: Tensor, num_language: int) -> tuple[Tensor, Tensor]:
        """Return `view` and `patch_xy` of a prompt."""
        batch, num_images, num_tokens = pictures.shape[:3]
        centres = patch_centres(self.config.grid)
        xy = F.pad(centres, (0, 0, self.config.keypoint_tokens, 0)).repeat(num_images, 1)
        view = torch.arange(num_images).repeat_interleave(num_tokens)
        view = F.pad(view, (0, num_language), value=-1).to(pictures.device)
        xy = F.pad(xy, (0, 0, 0, num_language)).to(pictures.device)
        return view.expand(batch, -1), xy.expand(batch, -1, -1)
