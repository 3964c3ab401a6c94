"""What a vision-language backbone gives to TAP and APT, whichever model it is.

Pictures come first, then text, then - for TAP - action tokens, the way the papers' Qwen-VL reads
them. Attention within the model never lets a picture see what follows it, so features of image
tokens hold no language (APT's Stage 1 rests on that).

Legend: B batch, V images of one sample, L prompt tokens, S suffix tokens, D width, N layers.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn


@dataclass(frozen=True, eq=False)
class VlmOutput:
    """One pass over a prompt, and over the suffix where one was given.

    Attributes:
        embeddings: (B, L, D) of the prompt before the first layer: merged image features and text.
        layers: one (B, L, D) for each layer asked for, in that order.
        mask: (B, L) bool, True where a prompt token is valid.
        is_image: (B, L) bool, True where a token is of a picture. All others count as language,
            chat templates too.
        view: (B, L) int64, the picture that a token is of, -1 for language.
        patch_xy: (B, L, 2) float32, where its patch's centre is in the picture: x to the right and
            y down, each in [-1, 1]; 0 for language.
        last: (B, D) of the last layer at the last valid prompt token.
        logits: (B, S + 1, vocabulary) float32: entry s predicts suffix token s, the last one what
            follows the suffix. (B, 1, vocabulary) without a suffix.
        cache: keys and values for `decode`, where asked for.
    """

    embeddings: Tensor
    layers: tuple[Tensor, ...]
    mask: Tensor
    is_image: Tensor
    view: Tensor
    patch_xy: Tensor
    last: Tensor
    logits: Tensor
    cache: object | None = None


class VisionLanguageModel(nn.Module, ABC):
    """A backbone: images and text in; features per layer, masks and next-token logits out.

    Attributes:
        width: D.
        num_layers: N; layers are numbered 0 to N - 1.
        image_size: side of the square pictures that it takes [px].
        first_action_token: vocabulary index of action token 0, once there are any.
        num_action_tokens: how many there are.
        end_token: vocabulary index of the token that ends an answer.
    """

    width: int
    num_layers: int
    image_size: int
    first_action_token: int
    num_action_tokens: int
    end_token: int

    @property
    def shards(self) -> Sequence[nn.Module]:
        """Layers whose weights are put together one after the other where processes share them.

        Each is called as a module. A small model is one shard, with what is built on it.
        """
        return ()

    @abstractmethod
    def forward(
        self,
        images: Tensor,
        text: Sequence[str] | None,
        suffix: Tensor | None = None,
        layers: Sequence[int] = (),
        with_cache: bool = False,
    ) -> VlmOutput:
        """Read a prompt, and a suffix by teacher forcing.

        Args:
            images: (B, V, 3, H, W) float in [-1, 1], RGB, H = W = image_size. The model's own
                normalisation happens inside.
            text: B instructions, lower case; None: no instruction (TAP's Stage 1).
            suffix: (B, S) int64 vocabulary indices that follow the prompt.
            layers: whose features to return.
            with_cache: whether to return keys and values (only without a suffix).
        """

    @abstractmethod
    def decode(self, tokens: Tensor, cache: object) -> tuple[Tensor, object]:
        """Go on from a cache by tokens (B, T) int64: next-token logits (B, vocabulary), new cache.

        Reading token after token gives what reading all at once as a suffix gives.
        """

    @abstractmethod
    def add_action_tokens(self, count: int) -> None:
        """Append `count` action tokens to vocabulary, embedding and output; once."""

    @abstractmethod
    def parameter_groups(self) -> dict[str, list[nn.Parameter]]:
        """Return every parameter once, by part: "vision", "language" and "tokens".

        "tokens" holds text and action embeddings and the output rows.
        """
