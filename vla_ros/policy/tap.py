"""TAP: one backbone and one head for inverse dynamics (Stage 1) and behaviour cloning (Stage 2).

Shi et al., "Task-Agnostic Pretraining for VLAs", arXiv 2607.02466. The prompt is o_t and o_t+1, in
this order, without text (Stage 1), or o_t and the lower-cased instruction as it is (Stage 2); the
answer is the action's tokens and the end token, and nothing new is initialised at Stage 2.

Actions are normalised by `policy.normalize`: 1 % and 99 % quantiles to [-1, 1], clipped; the
gripper, last, as it is, 1 open and 0 closed.

Legend: B batch, V pictures of one sample, H steps of a chunk (1 in the paper), S tokens.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.policy.fast_tokens import FastTokenizer
from vla_ros.policy.parameters import unreached
from vla_ros.policy.tap_config import TapConfig
from vla_ros.policy.vlm import VisionLanguageModel

ACTION_SIZE = 7
IGNORED = -100


class TapLoss(NamedTuple):
    """A batch's loss.

    Attributes:
        total: scalar, the mean over `count` terms: tokens with their end tokens, as in the authors'
            code, or numbers of the MLP head.
        count: scalar int64. Losses of a batch's parts make that of the whole weighted by it.
        hits: scalar int64, tokens whose best guess is right; None for the MLP head.
    """

    total: Tensor
    count: Tensor
    hits: Tensor | None


class TapPolicy(nn.Module):
    """Backbone and head of one stage."""

    def __init__(
        self,
        vlm: VisionLanguageModel,
        config: TapConfig,
        tokenizer: FastTokenizer | None = None,
    ):
        """Put the head on `vlm`, which is kept, not copied; sets what trains.

        Args:
            vlm: the backbone. The FAST head gives it its action tokens if it has none yet. What it
                froze itself stays frozen.
            config: stage and switches.
            tokenizer: of actions, for the FAST head.

        Raises:
            CheckpointError: the tokenizer is missing, of other chunks, or of another number of
                tokens than the backbone has.
        """
        super().__init__()
        self.config, self.vlm, self.tokenizer = config, vlm, tokenizer
        self.head: nn.Module | None = None
        if config.head == "mlp":
            self.head = nn.Sequential(
                nn.Linear(vlm.width, config.head_width),
                nn.GELU(approximate="tanh"),
                nn.Linear(config.head_width, config.horizon * ACTION_SIZE),
            )
        else:
            self._fast = self._fitting(tokenizer)
            if vlm.num_action_tokens == 0:
                vlm.add_action_tokens(self._fast.size)
        self._frozen: list[nn.Parameter] = []
        if config.stage == 1 and config.frozen_vision == "stage_1":
            self._freeze(vlm.parameter_groups()["vision"])

    def _fitting(self, tokenizer: FastTokenizer | None) -> FastTokenizer:
        wanted = (self.config.horizon, ACTION_SIZE)
        if tokenizer is None or (tokenizer.horizon, tokenizer.action_size) != wanted:
            found = "none" if tokenizer is None else f"{tokenizer.horizon, tokenizer.action_size}"
            raise CheckpointError(
                f"TAP's FAST head needs an action tokenizer of chunks {wanted}, got {found}; "
                "fit one on the training actions"
            )
        if self.vlm.num_action_tokens not in (0, tokenizer.size):
            raise CheckpointError(
                f"the backbone has {self.vlm.num_action_tokens} action tokens and the action "
                f"tokenizer {tokenizer.size}; take both from one run"
            )
        return tokenizer

    def second_stage(self) -> "TapPolicy":
        """Return Stage 2 of this Stage 1 policy: the same backbone and head, unfrozen.

        This policy is not to be used further.

        Raises:
            CheckpointError: this is no Stage 1 policy.
        """
        if self.config.stage != 1:
            raise CheckpointError("TAP's Stage 2 starts from a Stage 1 policy; give that one")
        for parameter in self._frozen:
            parameter.requires_grad_(True)
        second = TapPolicy(self.vlm, replace(self.config, stage=2), self.tokenizer)
        second.head = self.head
        return second

    def freeze_unreached(self, loss: Tensor) -> list[str]:
        """Freeze trainable parameters that `loss` does not reach; return their names.

        Stage 1 has some where the backbone keeps weights for text alone, and the MLP head where
        the backbone has output rows.
        """
        found = unreached(self, loss)
        self._freeze(list(found.values()))
        return list(found)

    def _freeze(self, parameters: Sequence[nn.Parameter]) -> None:
        frozen = [parameter for parameter in parameters if parameter.requires_grad]
        self._frozen += frozen
        for parameter in frozen:
            parameter.requires_grad_(False)

    def optimizer_groups(
        self, lr: float = 5e-5, decay: float = 0.05, decay_tokens: bool = False
    ) -> list[dict]:
        """Return AdamW's groups of what trains.

        Paper: 5e-5 and 0.05, betas (0.9, 0.999). Code: 5e-5 and the library's 0.01 in Stage 1,
        betas (0.9, 0.95) and 1e-8 in Stage 2, on all parameters. Vectors are not decayed here.
        `decay_tokens`: whether rows of the vocabulary are, as in the code: Stage 1 shows no text,
        so decay alone would act on the words' rows and wear them down.
        """
        tokens = {id(p) for p in self.vlm.parameter_groups()["tokens"]}
        decayed: list[nn.Parameter] = []
        others: list[nn.Parameter] = []
        for parameter in self.parameters():
            if parameter.requires_grad:
                is_kept = parameter.ndim < 2 or (id(parameter) in tokens and not decay_tokens)
                (others if is_kept else decayed).append(parameter)
        groups = [
            {"name": "tap", "params": decayed, "lr": lr, "weight_decay": decay},
            {"name": "tap, not decayed", "params": others, "lr": lr, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]

    def forward(self, images: Tensor, text: Sequence[str] | None, actions: Tensor) -> TapLoss:
        """Return the loss of a batch.

        Args:
            images: (B, V, 3, H, W) in [-1, 1]; those beyond the stage's are not looked at.
            text: B instructions for Stage 2; Stage 1 drops them.
            actions: (B, H, 7) normalised.

        Raises:
            ContractError: pictures or text are missing, or the actions are of another kind.
        """
        shown, said = self._shown(images, text)
        if self.head is not None:
            guess = self._regress(self.vlm(shown, said).last)
            count = torch.tensor(actions.numel(), device=actions.device)
            return TapLoss(F.mse_loss(guess, actions.float()), count, None)
        suffix, target = self.targets(actions)
        logits = self.vlm(shown, said, suffix=suffix).logits
        total = F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=IGNORED)
        hits = logits.detach().argmax(-1) == target  # IGNORED is no index
        return TapLoss(total, (target != IGNORED).sum(), hits.sum())

    def targets(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return suffix (B, S) and target (B, S + 1) int64, vocabulary indices, of (B, H, 7).

        The target is the action's tokens, then the end token, then IGNORED; so the loss is of
        everything from the first action token to the end token.
        """
        first, end = self.vlm.first_action_token, self.vlm.end_token
        rows = self._fast.encode(actions.detach().cpu().double().numpy())
        longest = max(map(len, rows))
        suffix = torch.full((len(rows), longest), end)
        target = torch.full((len(rows), longest + 1), IGNORED)
        for i, row in enumerate(rows):
            suffix[i, : len(row)] = target[i, : len(row)] = first + torch.tensor(row)
            target[i, len(row)] = end
        return suffix.to(actions.device), target.to(actions.device)

    @torch.no_grad()
    def act(
        self, images: Tensor, text: Sequence[str] | None, rows: list[list[int]] | None = None
    ) -> Tensor:
        """Return normalised actions (B, H, 7) float32, not clipped; arguments as in `forward`.

        `rows`: what `generate` gave, where that is known already.

        Raises:
            ContractError: the network's output is not finite or, unless `malformed` is "zeros", no
                chunk; or an argument is missing.
        """
        if self.head is not None:
            return self._regress(self.vlm(*self._shown(images, text)).last)
        chunks = np.stack([self._chunk(tokens) for tokens in rows or self.generate(images, text)])
        return torch.from_numpy(chunks).to(images.device)

    @torch.no_grad()
    def generate(self, images: Tensor, text: Sequence[str] | None) -> list[list[int]]:
        """Return each sample's action tokens [0, size), greedily; arguments as in `forward`.

        Raises:
            ContractError: the network's output is not finite, or an argument is missing.
        """
        shown, said = self._shown(images, text)
        decode = self._counted if self.config.decoding == "counted" else self._free
        return decode(shown, said)

    def _shown(self, images: Tensor, text: Sequence[str] | None) -> tuple[Tensor, list[str] | None]:
        wanted = self.config.num_images
        if images.shape[1] < wanted or (self.config.stage == 2 and text is None):
            raise ContractError(
                f"TAP's Stage {self.config.stage} needs {wanted} pictures"
                f"{' and an instruction' if self.config.stage == 2 else ''} a sample, got "
                f"{images.shape[1]} and {'no' if text is None else 'an'} instruction; "
                "take samples of that stage"
            )
        said = text if self.config.stage == 2 else None
        return images[:, :wanted], None if said is None else [sentence.lower() for sentence in said]

    def _regress(self, features: Tensor) -> Tensor:
        assert self.head is not None
        return self.head(features).float().unflatten(1, (self.config.horizon, ACTION_SIZE))

    def _counted(self, images: Tensor, text: list[str] | None) -> list[list[int]]:
        """Return the best tokens of each sample, greedily, among those that can make a chunk."""
        first, last = self.vlm.first_action_token, self.vlm.first_action_token + self._fast.size
        output = self.vlm(images, text, with_cache=True)
        logits, cache = output.logits[:, -1], output.cache
        rows: list[list[int]] = [[] for _ in range(len(images))]
        left = np.full(len(rows), self.config.horizon * ACTION_SIZE)
        is_open = np.zeros(len(rows), bool)
        while True:
            is_busy = (left > 0) | is_open
            allowed = torch.from_numpy(self._fast.grammar.allowed(left, is_open))
            scores = logits[:, first:last].masked_fill(~allowed.to(logits.device), -torch.inf)
            score, best = (found.cpu().numpy() for found in scores.max(1))
            _require_finite(score[is_busy])
            for i in np.flatnonzero(is_busy):
                rows[i].append(int(best[i]))
            left[is_busy], is_open[is_busy] = self._fast.grammar.follow(
                left[is_busy], is_open[is_busy], best[is_busy]
            )
            if not np.any((left > 0) | is_open):
                return rows
            tokens = np.where(is_busy, first + best, self.vlm.end_token)
            logits, cache = self.vlm.decode(
                torch.from_numpy(tokens).to(logits.device)[:, None], cache
            )

    def _free(self, images: Tensor, text: list[str] | None) -> list[list[int]]:
        """Return the action tokens among the best of the vocabulary, up to the end token.

        The number of tokens is bounded: twice the chunk's coefficients hold any chunk.
        """
        output = self.vlm(images, text, with_cache=True)
        logits, cache = output.logits[:, -1], output.cache
        rows: list[list[int]] = [[] for _ in range(len(images))]
        has_ended = np.zeros(len(rows), bool)
        for _ in range(2 * self.config.horizon * ACTION_SIZE):
            score, best = (found.cpu().numpy() for found in logits.max(1))
            _require_finite(score)
            has_ended |= best == self.vlm.end_token
            for i in np.flatnonzero(~has_ended):
                rows[i].append(int(best[i]) - self.vlm.first_action_token)
            if has_ended.all():
                break
            logits, cache = self.vlm.decode(
                torch.from_numpy(best).to(logits.device)[:, None], cache
            )
        return [[token for token in row if 0 <= token < self._fast.size] for row in rows]

    def _chunk(self, tokens: list[int]) -> np.ndarray:
        try:
            return self._fast.decode(tokens)
        except ContractError:
            if self.config.malformed == "refuse":
                raise
            return np.zeros((self.config.horizon, ACTION_SIZE), np.float32)


def _require_finite(scores: np.ndarray) -> None:
    if not np.all(np.isfinite(scores)):
        raise ContractError(
            "the policy's scores of action tokens are not finite; its weights are damaged or "
            "training diverged, so take another checkpoint"
        )
