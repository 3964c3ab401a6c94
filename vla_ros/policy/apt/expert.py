"""The action expert: reads a scene once, then predicts the noise of a chunk at each step.

`read` runs the vision-language stream and keeps every layer's keys and values; `denoise` runs the
action tokens against them. Training is one of each, sampling one `read` and 20 `denoise`: by the
masks no vision-language token depends on an action, so both are the same network.

Legend: B batch, L vision-language tokens, E arms, H horizon, A action tokens, W width, D backbone
width, h heads, d width of a head, S diffusion steps.
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from vla_ros.policy.apt import positions
from vla_ros.policy.apt.blocks import Block, Film, attend
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.fusion import GatedFusion
from vla_ros.policy.apt.masks import attention_mask
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.positions import Positions
from vla_ros.policy.apt.tokens import ActionTokens, StepEmbedding
from vla_ros.policy.vlm import VlmOutput


@dataclass(frozen=True, eq=False)
class Prefix:
    """What a scene is to the actions, the same for all diffusion steps.

    Attributes:
        keys, values: a layer each, (B, h, L, d); with room, (B, h, L + A, d), whose last A places
            are written anew at every step; None where a layer reads no prefix.
        num_tokens: L.
        has_room: whether keys and values have these places. Only without gradients.
        hidden: by `sees_language`, (B, 1, A, L + A) bool, True where an action may not look; None
            where nothing is hidden.
        positions: of action tokens, by `inserted`.
        history, anchor: the parts of action tokens that stay.
    """

    keys: tuple[Tensor | None, ...]
    values: tuple[Tensor | None, ...]
    num_tokens: int
    has_room: bool
    hidden: dict[bool, Tensor | None]
    positions: dict[bool, Positions]
    history: Tensor
    anchor: Tensor

    def with_room(self) -> "Prefix":
        """Return a copy for sampling: actions' keys are written beside, not copied together."""
        num_actions = next(iter(self.positions.values())).num_tokens
        grown = [
            tuple(
                None
                if x is None
                else torch.cat([x, x.new_empty(*x.shape[:2], num_actions, x.shape[3])], 2)
                for x in part
            )
            for part in (self.keys, self.values)
        ]
        hidden = {k: h if h is not None and h.any() else None for k, h in self.hidden.items()}
        return replace(self, keys=grown[0], values=grown[1], has_room=True, hidden=hidden)

    def clone(self) -> "Prefix":
        """Return a copy with keys and values of its own."""
        keys, values = (
            tuple(None if x is None else x.clone() for x in part)
            for part in (self.keys, self.values)
        )
        return replace(self, keys=keys, values=values)

    def repeated(self, times: int) -> "Prefix":
        """Return it with each sample so often in a row, for several noises of one scene."""

        def again(x: Tensor | None) -> Tensor | None:
            return None if x is None else x.repeat_interleave(times, 0)

        return replace(
            self,
            keys=tuple(map(again, self.keys)),
            values=tuple(map(again, self.values)),
            hidden={kind: again(x) for kind, x in self.hidden.items()},
            positions={kind: x.repeated(times) for kind, x in self.positions.items()},
            history=self.history.repeat_interleave(times, 0),
            anchor=self.anchor.repeat_interleave(times, 0),
        )

    def joined(self, layer: int, k: Tensor | None, v: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the keys and values that the actions of `layer` read, with their own k and v."""
        keys, values = self.keys[layer], self.values[layer]
        if keys is None or values is None:
            assert k is not None
            assert v is not None
            return k, v
        if k is None or v is None:
            return keys[:, :, : self.num_tokens], values[:, :, : self.num_tokens]
        if self.has_room:
            keys[:, :, self.num_tokens :] = k
            values[:, :, self.num_tokens :] = v
            return keys, values
        return torch.cat([keys, k.to(keys.dtype)], 2), torch.cat([values, v.to(values.dtype)], 2)


class AptExpert(nn.Module):
    """The expert of one stage, on the features of a backbone.

    Attributes:
        feature_layers: the backbone layers to ask for, in the order that `read` expects.
    """

    def __init__(self, config: AptConfig, vlm_width: int, num_vlm_layers: int):
        """Build the expert for a backbone of that width and so many layers.

        Raises:
            CheckpointError: the config asks for layers that the backbone does not have.
        """
        super().__init__()
        self.config = config
        self.layers = config.layers
        last = len(self.layers) - 1
        chosen = config.vlm_layers(num_vlm_layers)
        self._feature_of_layer = tuple(
            num_vlm_layers - 1 if config.style == "groot" else chosen[layer.slot]
            for layer in self.layers
        )
        self.blocks = nn.ModuleList(
            Block(config, place, place == last, vlm_width) for place in range(len(self.layers))
        )
        self.fusions = nn.ModuleDict()
        if config.style == "apt":
            self.embed = nn.Linear(vlm_width, config.width)
            self.patch = nn.Linear(2, config.width, bias=False)
            nn.init.zeros_(self.patch.weight)
            # What the last layer's fusion would give is read by no layer: there is none.
            for layer in self.layers[:-1]:
                self.fusions[str(layer.slot)] = GatedFusion(config, vlm_width)
        used = self._feature_of_layer[: last if config.style == "apt" else None]
        self.feature_layers = tuple(sorted(set(used)))
        self.tokens = ActionTokens(config)
        self.step = StepEmbedding(config.width)

    def forward(
        self, output: VlmOutput, observation: Observation, noisy: Tensor, steps: Tensor
    ) -> Tensor:
        """Return the predicted noise (B, E, H, 10) float32.

        Args:
            output: of the backbone, with the features of `feature_layers`.
            observation: where cameras and tools are.
            noisy: (B, E, H, 10) chunks with noise.
            steps: (B,) int64 diffusion steps.
        """
        return self.denoise(self.read(output, observation), noisy, self.conditions(steps))

    def conditions(self, steps: Tensor) -> list[Film]:
        """Return each layer's scales and shifts of steps (S,) int64."""
        embedded = self.step(steps)
        return [block.condition(embedded) for block in self._blocks()]

    def read(self, output: VlmOutput, observation: Observation) -> Prefix:
        """Return what the scene is to the actions."""
        mask = observation.token_mask(output)
        joint = self._hidden(output, mask, observation)
        length = mask.shape[1]
        of_prefix, of_actions = self._positions(output, mask, observation)
        keys: list[Tensor | None] = []
        values: list[Tensor | None] = []
        x = self._embedded(output, observation) if self.config.style == "apt" else mask
        for place, (layer, block) in enumerate(zip(self.layers, self._blocks(), strict=True)):
            if not block.reads_prefix:
                keys.append(None)
                values.append(None)
                continue
            hidden = joint[layer.sees_language][:, :, :length, :length]
            source = x if block.has_stream else self._feature(output, place)
            k, v, x = block.read(source, of_prefix[layer.inserted], hidden)
            keys.append(k)
            values.append(v)
            if block.has_stream and place < len(self.layers) - 1:
                x = self.fusions[str(layer.slot)](x, self._feature(output, place))
        history, anchor = self.tokens.fixed(observation)
        of_queries = {kind: whole[:, :, length:] for kind, whole in joint.items()}
        return Prefix(
            tuple(keys), tuple(values), length, False, dict(of_queries), of_actions, history, anchor
        )

    def denoise(self, prefix: Prefix, noisy: Tensor, conditions: list[Film]) -> Tensor:
        """Return the predicted noise (B, E, H, 10) float32 of noisy chunks of that shape.

        `conditions` are one a layer, of B steps or 1, as `conditions` gives them.
        """
        x = self.tokens.encode(noisy, prefix.history, prefix.anchor)
        for place, (layer, block) in enumerate(zip(self.layers, self._blocks(), strict=True)):
            where = prefix.positions[layer.inserted]
            q, k, v = block.ask(x, conditions[place], where)
            keys, values = prefix.joined(place, k, v)
            hidden = prefix.hidden[layer.sees_language]
            if hidden is not None and not block.reads_prefix:
                hidden = hidden[..., prefix.num_tokens :]
            elif hidden is not None and not block.reads_actions:
                hidden = hidden[..., : prefix.num_tokens]
            x = block.finish(x, attend(q, keys, values, hidden), conditions[place], where)
        return self.tokens.decode(x, noisy.shape[1])

    def inserted(self) -> list[tuple[Block, GatedFusion | None]]:
        """Return the inserted layers, each with the fusion behind it where the style has one."""
        pairs: list[tuple[Block, GatedFusion | None]] = []
        fusions = dict(self.fusions.items())
        for layer, block in zip(self.layers, self._blocks(), strict=True):
            if layer.inserted:
                fusion = fusions.get(str(layer.slot))
                assert fusion is None or isinstance(fusion, GatedFusion)
                pairs.append((block, fusion))
        return pairs

    def _blocks(self) -> list[Block]:
        return [block for block in self.blocks if isinstance(block, Block)]

    def _feature(self, output: VlmOutput, place: int) -> Tensor:
        """Return the backbone's feature (B, L, D) that belongs to layer `place`."""
        feature = output.layers[self.feature_layers.index(self._feature_of_layer[place])]
        return feature.to(self.tokens.arm.dtype)

    def _embedded(self, output: VlmOutput, observation: Observation) -> Tensor:
        """Return the stream (B, L, W) before the first layer."""
        x = self.embed(output.embeddings.to(self.embed.weight.dtype)).float()
        patch = self.patch(observation.camera_xy(output))
        return x + torch.where(output.is_image[..., None], patch, 0.0)

    def _hidden(
        self, output: VlmOutput, mask: Tensor, observation: Observation
    ) -> dict[bool, Tensor]:
        """Return (B, 1, L + A, L + A) bool, True where not to look, for each mask in use."""
        actions = self.tokens.per_token(observation.arms)
        return {
            sees: ~attention_mask(output.is_image, mask, actions, sees)[:, None]
            for sees in {layer.sees_language for layer in self.layers}
        }

    def _positions(
        self, output: VlmOutput, mask: Tensor, observation: Observation
    ) -> tuple[dict[bool, Positions], dict[bool, Positions]]:
        """Return positions of vision-language and of action tokens, by `inserted`."""
        num_frequencies = self.config.width // self.config.num_heads // 4
        steps = self.tokens.steps(observation.reference.shape[1], mask.device)
        of_arms = observation.reference_poses()
        if of_arms is not None:
            of_arms = self.tokens.per_token(of_arms)
        index = steps.expand(len(mask), -1)
        of_prefix = {
            False: positions.camera_positions(
                observation.token_poses(output.view), None, num_frequencies
            )
        }
        of_actions = {False: positions.camera_positions(of_arms, index, num_frequencies)}
        if any(layer.inserted for layer in self.layers):
            form = self.config.inserted_position
            own = positions.prefix_index(output.is_image, mask, output.patch_xy, form)
            after = positions.action_index(own, output.is_image, mask, steps)
            of_prefix[True] = positions.index_positions(own, num_frequencies)
            of_actions[True] = positions.index_positions(after, num_frequencies)
        return of_prefix, of_actions
