"""APT: a backbone and an action expert that denoises chunks of camera-frame poses.

Legend: B batch, V pictures, E arms, H horizon.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.apt.blocks import Film
from vla_ros.policy.apt.config import AptConfig
from vla_ros.policy.apt.diffusion import Loss, add_noise, ddim, noise_loss, sampling_steps
from vla_ros.policy.apt.expert import AptExpert, Prefix
from vla_ros.policy.apt.growth import grow
from vla_ros.policy.apt.observation import Observation
from vla_ros.policy.apt.precondition import LinearGuess
from vla_ros.policy.apt.rtc import Known, in_painted
from vla_ros.policy.parameters import unreached
from vla_ros.policy.vlm import VisionLanguageModel, VlmOutput

PrefixUse = Literal["reused", "recomputed", "cloned"]


class AptPolicy(nn.Module):
    """Backbone and expert of one stage."""

    def __init__(self, vlm: VisionLanguageModel, config: AptConfig):
        """Build a fresh expert on `vlm`, which is kept, not copied; sets what trains.

        Raises:
            CheckpointError: the config asks for layers that the backbone does not have.
        """
        super().__init__()
        self.config = config
        self.vlm = vlm
        self.expert = AptExpert(config, vlm.width, vlm.num_layers)
        self.guess = None
        if config.precondition != "none":
            self.guess = LinearGuess(config.horizon, config.train_steps)
        if config.stage == 1 or config.vlm == "frozen":
            vlm.requires_grad_(False)

    def second_stage(self, config: AptConfig, released_loader: bool = False) -> "AptPolicy":
        """Return the Stage 2 policy that this Stage 1 policy grows into, on the same backbone.

        Give the backbone the parameters that shall train (`requires_grad_`, LoRA) before: Stage 1
        froze it. See `growth.grow`.

        Raises:
            CheckpointError: `config` is not this policy's at Stage 2. Backbone mode, the start of
                inserted layers and the gripper at run time may differ, and how language enters
                where Stage 1 is the same.
        """
        free = ["vlm", "inserted_init", "inserted_gate", "open_above"]
        if replace(self.config, language=config.language).layers == self.config.layers:
            free.append("language")
        freed = replace(self.config, stage=2, **{key: getattr(config, key) for key in free})
        if self.config.stage != 1 or freed != config:
            raise CheckpointError(
                "APT's Stage 2 needs a Stage 1 of the same sizes and switches; got Stage "
                f"{self.config.stage} {self.config} for {config}; train Stage 1 with these"
            )
        second = AptPolicy(self.vlm, config)
        grow(self.expert, second.expert, released_loader)
        if second.guess is not None and self.guess is not None:
            # What the head has learned is told in these.
            second.guess.load_state_dict(self.guess.state_dict())
        return second

    @property
    def vlm_learns(self) -> bool:
        """Whether the action loss reaches the backbone."""
        return self.config.stage == 2 and self.config.vlm == "trained"

    def look(self, images: Tensor, text: Sequence[str] | None) -> VlmOutput:
        """Return the backbone's output with the features that the expert reads.

        Args:
            images: (B, V, 3, H, W) in [-1, 1].
            text: B instructions, or None. Stage 1 may be given them; its masks isolate them.
        """
        with nullcontext() if self.vlm_learns else torch.no_grad():
            return self.vlm(
                images,
                None if text is None else [sentence.lower() for sentence in text],
                layers=self.expert.feature_layers,
            )

    def forward(
        self,
        seen: Tensor | VlmOutput,
        text: Sequence[str] | None,
        observation: Observation,
        chunks: Tensor,
        noise: Tensor,
        steps: Tensor,
        step_mask: Tensor | None = None,
    ) -> Loss:
        """Return the loss of a batch.

        Args:
            seen, text: images and text as in `look`, or what it gives of them.
            observation: where cameras and tools are.
            chunks: (B, E, H, 10) true chunks of `core.chunks`.
            noise, steps: of `draw`, for B samples, or for n B: n of each sample, side by side. The
                scene is read once for all of them.
            step_mask: (B, E, H) bool, steps that count; None, as in the authors' code: all.
        """
        output = seen if isinstance(seen, VlmOutput) else self.look(seen, text)
        scene, arms = self.expert.read(output, observation), observation.arms
        times = len(noise) // len(chunks)
        if times > 1:
            scene = scene.repeated(times)
            chunks, arms = (x.repeat_interleave(times, 0) for x in (chunks, arms))
            step_mask = None if step_mask is None else step_mask.repeat_interleave(times, 0)
        noisy = add_noise(chunks, noise, steps, self.config.train_steps)
        conditions = self.expert.conditions(steps)
        if self.guess is not None and self.config.precondition == "edm":
            predicted = self.expert.denoise(scene, self.guess.inputs(noisy, steps), conditions)
            wanted = self.guess.answer(chunks, noise, steps)
        else:
            predicted, wanted = self.predict(scene, noisy, steps, conditions), noise
        is_used = arms[..., None].expand(chunks.shape[:3])
        if step_mask is not None:
            is_used = is_used & step_mask
        return noise_loss(predicted, wanted, is_used, self.config.loss_weights)

    def predict(
        self, scene: Prefix, noisy: Tensor, steps: Tensor, conditions: list[Film]
    ) -> Tensor:
        """Return the noise (B, E, H, 10) in chunks of that shape.

        Args:
            scene: of the expert's `read`.
            noisy: (B, E, H, 10).
            steps: (B or 1,) int64 diffusion steps.
            conditions: the expert's `conditions` of these steps.
        """
        if self.guess is None:
            return self.expert.denoise(scene, noisy, conditions)
        answer = self.expert.denoise(scene, self.guess.inputs(noisy, steps), conditions)
        return self.guess.noise(answer, noisy, steps)

    def draw(
        self, batch: int, num_arms: int, generator: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return noise (B, E, H, 10) and uniform diffusion steps (B,) int64, on the CPU."""
        shape = (batch, num_arms, self.config.horizon, CHUNK_SIZE)
        noise = torch.randn(shape, generator=generator)
        return noise, torch.randint(self.config.train_steps, (batch,), generator=generator)

    @torch.no_grad()
    def sample(
        self,
        images: Tensor,
        text: Sequence[str] | None,
        observation: Observation,
        noise: Tensor,
        known: Known | None = None,
    ) -> Tensor:
        """Return chunks (B, E, H, 10) float32 that start at `noise` of that shape.

        `known`: as in `denoise`.
        """
        return self.denoise(self.look(images, text), observation, noise, known=known)

    @torch.no_grad()
    def denoise(
        self,
        output: VlmOutput,
        observation: Observation,
        noise: Tensor,
        prefix: PrefixUse = "reused",
        known: Known | None = None,
    ) -> Tensor:
        """Return chunks (B, E, H, 10) float32 from what the backbone gave.

        Args:
            output: of `look`.
            observation: where cameras and tools are.
            noise: (B, E, H, 10).
            prefix: "reused": the scene is read once. For comparison: "recomputed" reads it at
                every step; "cloned" reads it once and copies it at every step.
            known: what is already decided of the chunks, see `rtc`; None: nothing.
        """
        num_steps, num_samples = self.config.train_steps, self.config.sample_steps
        steps = torch.tensor(sampling_steps(num_steps, num_samples), device=noise.device)
        layers = [[p.split(1) for p in film] for film in self.expert.conditions(steps)]
        films = [[Film(*(p[i] for p in film)) for film in layers] for i in range(num_samples)]
        scene: Prefix | None = (
            None if prefix == "recomputed" else self.expert.read(output, observation)
        )
        if scene is not None and prefix == "reused":
            scene = scene.with_room()

        def predict(noisy: Tensor, update: int) -> Tensor:
            own = self.expert.read(output, observation) if scene is None else scene
            if prefix == "cloned":
                own = own.clone()
            return self.predict(own, noisy, steps[update : update + 1], films[update])

        if known is not None:
            kept = in_painted(predict, known, num_steps, num_samples)
            return ddim(noise, kept, num_steps, num_samples)
        return ddim(noise, predict, num_steps, num_samples)

    def freeze_unreached(self, loss: Tensor) -> list[str]:
        """Freeze trainable parameters that `loss` does not reach; return their names.

        A backbone that trains has some: layers above the last feature, its output rows.
        """
        found = unreached(self, loss)
        for parameter in found.values():
            parameter.requires_grad_(False)
        return list(found)

    def optimizer_groups(
        self,
        expert_lr: float = 1e-4,
        expert_decay: float = 1e-2,
        vlm_lr: float = 1e-5,
        vlm_decay: float = 1e-10,
        decay_gates: bool = False,
    ) -> list[dict]:
        """Return AdamW's groups of what trains; norms and biases are not decayed (paper and code).

        `decay_gates`: fusion gates too; the authors' docstring exempts them, their code does not.
        """
        groups = {
            name: {"name": name, "params": [], "lr": lr, "weight_decay": decay}
            for name, lr, decay in (
                ("expert", expert_lr, expert_decay),
                ("expert, not decayed", expert_lr, 0.0),
                ("vlm", vlm_lr, vlm_decay),
                ("vlm, not decayed", vlm_lr, 0.0),
            )
        }
        for name, parameter in self._trainable():
            part = name.split(".", 1)[0]
            is_gate = part == "expert" and name.endswith(".gate")
            is_decayed = parameter.ndim > 1 or (is_gate and decay_gates)
            groups[part if is_decayed else f"{part}, not decayed"]["params"].append(parameter)
        return [group for group in groups.values() if group["params"]]

    def _trainable(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((n, p) for n, p in self.named_parameters() if p.requires_grad)
