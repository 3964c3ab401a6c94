"""What Qwen-VL reads: pictures as patches, and the chat turn around pictures and instruction.

Legend: N pictures, H their side [px], G patches a side, M merged tokens a side.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from vla_ros.core.errors import CheckpointError

# Stands for the instruction while the template is cut in two; no template holds it.
_MARK = "vla-ros-instruction"
ACTION_TOKEN = "<robot_action_{}>"  # the authors' names of TAP's tokens


@dataclass(frozen=True)
class Pictures:
    """How pictures of one size become patches, as the model's image processor does it.

    The processor goes through PIL and numpy; here it is arithmetic on the device. It never resizes:
    `image_size` has to be a multiple of a merged token.

    Attributes:
        image_size: side of a picture [px].
        patch_size: side of a patch [px].
        merge_size: patches a side that become one token.
        temporal_size: frames a patch holds; a still picture is repeated.
        mean, std: of the pixels of [0, 1], by channel.
    """

    image_size: int
    patch_size: int
    merge_size: int
    temporal_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]

    def __post_init__(self):
        token = self.patch_size * self.merge_size
        if self.image_size < token or self.image_size % token:
            raise CheckpointError(
                f"pictures of {self.image_size} px do not divide into tokens of {token} px; "
                f"set the image size to a multiple of {token}"
            )

    @property
    def grid(self) -> int:
        """Return the patches a side."""
        return self.image_size // self.patch_size

    @property
    def cells(self) -> int:
        """Return the merged tokens a side."""
        return self.grid // self.merge_size

    def patches(self, images: Tensor) -> Tensor:
        """Return patches (N G G, 3 T p p) float32 of pictures (N, 3, H, H) in [-1, 1].

        Patches that are merged into one token follow each other.
        """
        assert images.shape[-3:] == (3, self.image_size, self.image_size), images.shape
        mean, std = (
            torch.tensor(values, device=images.device)[:, None, None]
            for values in (self.mean, self.std)
        )
        pixels = (images.float() * 0.5 + (0.5 - mean)) / std
        m, p, cells = self.merge_size, self.patch_size, self.cells
        blocks = pixels.reshape(len(images), 3, cells, m, p, cells, m, p)
        blocks = blocks.permute(0, 2, 5, 3, 6, 1, 4, 7)  # (N, M, M, m, m, 3, p, p)
        blocks = blocks.unsqueeze(6).expand(*blocks.shape[:6], self.temporal_size, p, p)
        return blocks.reshape(len(images) * self.grid**2, -1)

    def shapes(self, num: int, device: torch.device) -> Tensor:
        """Return (num, 3) int64: frames, rows and columns of patches of each picture."""
        return torch.tensor([[1, self.grid, self.grid]], device=device).expand(num, 3)

    def centres(self, device: torch.device) -> Tensor:
        """Return (M M, 2) float32: x and y of each token's centre, in [-1, 1]."""
        axis = (torch.arange(self.cells, device=device) * 2 + 1) / self.cells - 1
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        return torch.stack([x, y], dim=-1).flatten(0, 1)


class ChatTurn:
    """A folder's own chat template, cut where the instruction goes.

    User turn: pictures, then the instruction or nothing; then the opening of the assistant's turn
    (TAP, authors' code: no wrapper around the instruction, which is in lower case).
    """

    def __init__(self, tokenizer, image_token: int, tokens_per_image: int):
        self.tokenizer = tokenizer
        self.image_token = image_token
        self.tokens_per_image = tokens_per_image
        self.tail = self._ids(self._render(1)[1])
        self._heads: dict[int, list[int]] = {}

    def head(self, num_images: int) -> list[int]:
        """Return the vocabulary indices up to the instruction."""
        if num_images not in self._heads:
            ids: list[int] = []
            for token in self._ids(self._render(num_images)[0]):
                ids += [token] * (self.tokens_per_image if token == self.image_token else 1)
            if ids.count(self.image_token) != num_images * self.tokens_per_image:
                raise CheckpointError(
                    f"the chat template does not write the image token once for each of "
                    f"{num_images} pictures; take the tokenizer folder of the model itself"
                )
            self._heads[num_images] = ids
        return self._heads[num_images]

    def instruction(self, text: str) -> list[int]:
        """Return the vocabulary indices of one instruction; it cannot hold control tokens."""
        return self._ids(text.lower(), split_special_tokens=True)

    def positions(self, num_images: int) -> Tensor:
        """Return the head's positions (3, H) int64: time, row and column (Qwen's multimodal RoPE).

        A picture's tokens share one time and count rows and columns from there; what follows goes
        on after the larger of these.
        """
        ids = self.head(num_images)
        side = round(self.tokens_per_image**0.5)
        y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
        square = torch.stack([torch.zeros_like(x), y, x]).flatten(1)  # (3, M M)
        parts, at, start = [], 0, 0
        while at < len(ids):
            is_picture = ids[at] == self.image_token
            part = square if is_picture else torch.zeros(3, 1, dtype=torch.int64)
            parts.append(part + start)
            at += part.shape[1]
            start += side if is_picture else 1
        return torch.cat(parts, dim=1)

    def _render(self, num_images: int) -> tuple[str, str]:
        content = [{"type": "image"}] * num_images + [{"type": "text", "text": _MARK}]
        rendered = self.tokenizer.apply_chat_template(
            [{"role": "user", "content": content}], tokenize=False, add_generation_prompt=True
        )
        head, mark, tail = rendered.partition(_MARK)
        if not mark:
            raise CheckpointError(
                "the chat template leaves the user's text out; take the tokenizer folder of the "
                "model itself"
            )
        return head, tail

    def _ids(self, text: str, **options) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False, **options)["input_ids"]


def pad_left(rows: list[list[int]], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return indices (B, T) int64 and mask (B, T) bool, padding first and of index 0."""
    length = max(map(len, rows))
    ids = torch.tensor([[0] * (length - len(row)) + row for row in rows], device=device)
    valid = torch.tensor([length - len(row) for row in rows], device=device)
    return ids, torch.arange(length, device=device) >= valid[:, None]
