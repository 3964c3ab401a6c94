"""Embedding and output of a Qwen-VL, and the rows of TAP's action tokens beside them."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError
from vla_ros.policy.qwen_prompt import ACTION_TOKEN


class QwenVocabulary(nn.Module):
    """Embeds tokens and scores the next one.

    Action tokens have parameters of their own, so that they can train while the model's are
    frozen or adapted. A tied model has one matrix for both ends, and one for its action tokens.

    Attributes:
        embedding: (rows, D) of the model's own tokens.
        output: (rows, D) of its output; None where the embedding is that too.
        actions, action_outputs: (count, D) float32 of the action tokens; None before there are
            any, and the outputs None in a tied model.
        first_action: index of action token 0.
        num_actions: how many there are.
    """

    def __init__(self, embedding: nn.Embedding, output: nn.Linear | None, tokenizer):
        super().__init__()
        self.embedding = nn.Parameter(embedding.weight.detach())
        self.output = None if output is None else nn.Parameter(output.weight.detach())
        self.actions: nn.Parameter | None = None
        self.action_outputs: nn.Parameter | None = None
        self.tokenizer = tokenizer
        self.first_action, self.num_actions = len(tokenizer), 0
        if ACTION_TOKEN.format(0) in tokenizer.get_vocab():
            self._take_actions()

    @property
    def size(self) -> int:
        """Return the number of logits."""
        return len(self.embedding) + self.num_actions

    def embed(self, ids: Tensor) -> Tensor:
        """Return embeddings (B, T, D) of indices (B, T) int64."""
        if self.actions is None:
            return F.embedding(ids, self.embedding)
        known = F.embedding(ids.clamp(max=self.first_action - 1), self.embedding)
        new = F.embedding((ids - self.first_action).clamp(min=0), self.actions)
        return torch.where((ids >= self.first_action)[..., None], new.to(known.dtype), known)

    def logits(self, x: Tensor) -> Tensor:
        """Return next-token logits (B, T, size) float32 of normed features (B, T, D)."""
        logits = F.linear(x, self.embedding if self.output is None else self.output)
        if self.actions is not None:
            rows = self.actions if self.action_outputs is None else self.action_outputs
            new = F.linear(x, rows.to(x.dtype))
            logits = torch.cat([logits, new.to(logits.dtype)], dim=-1)
        return logits.float()

    def add_actions(self, count: int, deviation: float) -> None:
        """Append `<robot_action_0>` and so on, with rows N(0, deviation); once.

        They follow the tokenizer's last token (151665 for Qwen2.5-VL, as in the authors' TAP code);
        rows of the matrix that no token had are dropped.
        """
        if self.actions is not None:
            raise CheckpointError(
                f"the model has {self.num_actions} action tokens already; "
                "start from the backbone without them to have another number"
            )
        names = [ACTION_TOKEN.format(i) for i in range(count)]
        self.tokenizer.add_tokens(names, special_tokens=True)
        new = [
            torch.randn(count, self.embedding.shape[1], device=self.embedding.device) * deviation
            for _ in range(1 if self.output is None else 2)
        ]
        self._use_actions(new)

    def train_actions(self) -> None:
        """Let the action rows train, whatever the rest does."""
        for rows in (self.actions, self.action_outputs):
            if rows is not None:
                rows.requires_grad_(True)

    def whole_embedding(self) -> Tensor:
        """Return (size, D): the model's rows, then those of action tokens, in the model's type."""
        return self._whole(self.embedding, self.actions)

    def whole_output(self) -> Tensor | None:
        """Return (size, D) likewise of the output; None in a tied model."""
        return None if self.output is None else self._whole(self.output, self.action_outputs)

    def _take_actions(self) -> None:
        """Cut the action rows out of a model that came with them."""
        known = self.tokenizer.get_vocab()
        self.first_action = first = known[ACTION_TOKEN.format(0)]
        count = 0
        while known.get(ACTION_TOKEN.format(count)) == first + count:
            count += 1
        if len(self.embedding) < first + count:
            raise CheckpointError(
                f"the tokenizer names {count} action tokens from index {first} on, but the model "
                f"has {len(self.embedding)} rows; take tokenizer and weights of one model"
            )
        tables = [table for table in (self.embedding, self.output) if table is not None]
        self._use_actions([table.detach()[first : first + count].float() for table in tables])

    def _use_actions(self, rows: list[Tensor]) -> None:
        self.actions = nn.Parameter(rows[0].contiguous().clone())
        self.num_actions = len(rows[0])
        self.embedding = self._own_rows(self.embedding)
        if self.output is not None:
            self.action_outputs = nn.Parameter(rows[1].contiguous().clone())
            self.output = self._own_rows(self.output)

    @staticmethod
    def _whole(own: Tensor, actions: Tensor | None) -> Tensor:
        return own if actions is None else torch.cat([own, actions.to(own.dtype)])

    def _own_rows(self, table: nn.Parameter) -> nn.Parameter:
        kept = table.detach()[: self.first_action].clone()
        return nn.Parameter(kept, requires_grad=table.requires_grad)
