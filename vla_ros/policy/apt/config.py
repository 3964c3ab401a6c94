"""Sizes and switches of APT; each place where paper, code or silence leave a choice has a name.

Xu et al., "APT: Action Expert Pretraining", arXiv 2606.12366. Stages are numbered as in the paper
(the authors' code calls them 0 and 1).
"""

from dataclasses import asdict, dataclass, fields, replace
from typing import Literal, NamedTuple, get_args, get_origin, get_type_hints

from vla_ros.core.errors import CheckpointError


class Layer(NamedTuple):
    """One layer of the expert.

    Attributes:
        slot: its place among the `num_layers` slots of the full depth, and thereby its feature.
        inserted: whether it is new in Stage 2.
        sees_language: mask M (True) or M' (False).
    """

    slot: int
    inserted: bool
    sees_language: bool


@dataclass(frozen=True)
class AptConfig:
    """An action expert at one stage, and how its backbone trains.

    Defaults are the authors' code for the base size, which differs from the paper in places.

    Attributes:
        stage: 1 (language masked) or 2 (language enters). A single-stage run trains stage 2 from
            scratch.
        style: "apt": a vision-language stream of its own, joined to the backbone by gated fusion;
            "pi": action tokens attend the raw feature of their depth and themselves in every
            layer; "groot": self-attention and cross-attention to the last feature by turns. The
            record of the latter two holds no more than that; their sizes and step conditioning
            here are APT's.
        language: how language enters in Stage 2. "inserted_layers": new layers come *before* their
            inherited partners (code; the text says after), which stay blind to language.
            "token_insertion": the paper's baseline, the layers of Stage 1 lose their mask.
            "groot" knows the latter only.
        num_layers: N, slots of the full depth, even: 10 in the code, 20 in the paper. Where APT or
            inserted layers make it so, Stage 1 has the N/2 layers of the odd slots.
        feature_stride: backbone layers from one slot's feature to the next, from layer 0; 0 takes
            round(linspace(0, last, N)). Both give 0, 3, ..., 27 of Qwen3-VL-2B's 28 for N = 10.
        features: the backbone layer of each slot, in place of an even spacing; () has that. A
            slot's feature reaches the actions from the next slot on, and the last slot is blind to
            language: evenly spaced, no action reads what a backbone of three layers makes of a
            sentence in the last of them.
        width, num_heads: 768 and 12; the code defines 384/6 and 192/3 too.
        ffn_ratio: hidden width of the gated GELU over `width`.
        fusion: "code": h <- g h + (1 - g) W phi with g = sigmoid(w) a channel;
            "paper": h <- h + sigmoid(w) W phi with one w (Eq. 3).
        inserted_init: of an inserted layer's output projections: "default" (code, the library's)
            or "zero", so that Stage 2 starts at the prior.
        inserted_gate: initial w of the fusions at inserted slots (code: 0). Only growth applies it:
            all gates of a fresh expert start at 0.
        inserted_position: of inserted layers: "rope" (code: all pictures share one position, text
            counts on, actions after it) or "mrope" (paper: pictures have rows and columns).
        horizon: H, future steps of a chunk.
        history: past poses whose tokens precede the noisy actions; 1 is the present alone.
        history_gripper: whether history tokens see the gripper; the code leaves it out.
        num_arms: rows of the arm embedding; the code has up to 4 arms.
        num_learned_tokens: tokens without input beside the actions; GR00T has 32, the others 0.
        train_steps, sample_steps: of diffusion (DDPM) and of sampling (DDIM).
        open_above: the gripper is open where a step of a chunk says more than this, of [-1, 1]; 0.8
            in the code, which closes a hand that is not sure yet.
        precondition: "none" (paper and code), or "linear": the expert learns what a linear guess of
            the noise leaves open; or "edm": the same, and the loss is in the units of that
            (`precondition`, ours, for runs of thousands of steps).
        loss_weights: of translation, rotation and gripper (code).
        vlm: "frozen": no gradient, no graph; "insulated": no gradient from the expert, whatever
            else trains the backbone; "trained": the backbone's own flags hold (LoRA or full).
            Stage 1 is always frozen.
    """

    stage: int = 1
    style: Literal["apt", "pi", "groot"] = "apt"
    language: Literal["inserted_layers", "token_insertion"] = "inserted_layers"
    num_layers: int = 10
    feature_stride: int = 0
    features: tuple[int, ...] = ()
    width: int = 768
    num_heads: int = 12
    ffn_ratio: int = 2
    fusion: Literal["code", "paper"] = "code"
    inserted_init: Literal["default", "zero"] = "default"
    inserted_gate: float = 0.0
    inserted_position: Literal["rope", "mrope"] = "rope"
    horizon: int = 32
    history: int = 1
    history_gripper: bool = False
    num_arms: int = 4
    num_learned_tokens: int = 0
    train_steps: int = 100
    sample_steps: int = 20
    open_above: float = 0.8
    precondition: Literal["none", "linear", "edm"] = "none"
    loss_weights: tuple[float, float, float] = (30.0, 10.0, 10.0)
    vlm: Literal["frozen", "insulated", "trained"] = "frozen"

    def __post_init__(self):
        object.__setattr__(self, "loss_weights", tuple(self.loss_weights))
        object.__setattr__(self, "features", tuple(self.features))
        for name, kind in get_type_hints(type(self)).items():
            if get_origin(kind) is Literal and getattr(self, name) not in get_args(kind):
                raise CheckpointError(
                    f"APT's {name} must be one of {', '.join(get_args(kind))}, got "
                    f"{getattr(self, name)!r}; correct the recipe"
                )
        fault = self._fault()
        if fault:
            raise CheckpointError(f"APT cannot be built: {fault}; correct the recipe")

    def _fault(self) -> str:
        sizes = ("num_layers", "horizon", "history", "num_arms", "ffn_ratio", "num_heads")
        low = [name for name in sizes if getattr(self, name) < 1]
        if low or self.feature_stride < 0 or self.num_learned_tokens < 0:
            return f"sizes must be positive, got {', '.join(low) or 'a negative number'}"
        if self.features and (len(self.features) != self.num_layers or min(self.features) < 0):
            return f"features must be a layer of each of {self.num_layers} slots, or none"
        if self.stage not in (1, 2):
            return f"stage must be 1 or 2, got {self.stage}"
        if self.num_layers % 2:
            return f"num_layers must be even, since Stage 1 has half of it, got {self.num_layers}"
        if self.width % (16 * self.num_heads):
            # Half of a head turns by cameras in groups of 4, half by pairs.
            return f"a head's width must be a multiple of 16, got {self.width} / {self.num_heads}"
        if not 1 <= self.sample_steps <= self.train_steps or self.train_steps % self.sample_steps:
            return f"{self.sample_steps} sample_steps must divide {self.train_steps} train_steps"
        if not -1.0 < self.open_above < 1.0:
            return f"open_above must be inside (-1, 1), got {self.open_above}"
        if self.style == "groot" and self.language == "inserted_layers":
            return "style groot has no inserted layers, only token_insertion"
        return ""

    @property
    def layers(self) -> tuple[Layer, ...]:
        """The layers of this stage, first to last."""
        slots = range(self.num_layers)
        grows = self.language == "inserted_layers"
        if not grows:
            odd_only = self.style == "apt"
            lifted = self.stage == 2
            return tuple(Layer(s, False, lifted) for s in slots if s % 2 or not odd_only)
        if self.stage == 1:
            return tuple(Layer(s, False, False) for s in slots if s % 2)
        return tuple(Layer(s, s % 2 == 0, s % 2 == 0) for s in slots)

    def vlm_layers(self, num_vlm_layers: int) -> tuple[int, ...]:
        """Return the backbone layer (of 0 to num_vlm_layers - 1) behind each of the N slots.

        Raises:
            CheckpointError: stride or features lead beyond the last layer.
        """
        last = num_vlm_layers - 1
        if self.features:
            if max(self.features) > last:
                raise CheckpointError(
                    f"APT's features ask for backbone layer {max(self.features)} of "
                    f"{num_vlm_layers}; choose layers from 0 to {last}"
                )
            return self.features
        if not self.feature_stride:
            return tuple(round(s * last / (self.num_layers - 1)) for s in range(self.num_layers))
        chosen = tuple(s * self.feature_stride for s in range(self.num_layers))
        if chosen[-1] > last:
            raise CheckpointError(
                f"APT's feature_stride {self.feature_stride} asks for backbone layer {chosen[-1]} "
                f"of {num_vlm_layers}; lower it or num_layers, or take 0 for even spacing"
            )
        return chosen

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        lists = {"loss_weights": list(self.loss_weights), "features": list(self.features)}
        return {**asdict(self), **lists}

    @classmethod
    def from_dict(cls, data: dict) -> "AptConfig":
        """Return the config of `to_dict`'s result; raises CheckpointError on other keys."""
        expected = {field.name for field in fields(cls)}
        if isinstance(data, dict):
            # Checkpoints from before it was a choice act by the default.
            data = {"open_above": cls.open_above, **data}
        if not isinstance(data, dict) or set(data) != expected:
            raise CheckpointError(
                "APT's config does not have the expected keys "
                f"({', '.join(sorted(expected ^ set(data or {})))}); train again with this version"
            )
        return cls(**data)


def paper_apt(stage: int) -> AptConfig:
    """Return the expert as the paper's text has it where the code differs."""
    return AptConfig(stage, num_layers=20, fusion="paper", inserted_position="mrope")


def small_apt(stage: int) -> AptConfig:
    """Return a CPU-sized expert of some 5 million parameters: the code's smallest width."""
    return AptConfig(stage, width=192, num_heads=3)


def groot_style(config: AptConfig) -> AptConfig:
    """Return `config` as a GR00T-style expert: starVLA's 16 layers and 32 learned tokens."""
    depth = {"num_layers": 16, "num_learned_tokens": 32, "features": ()}
    return replace(config, style="groot", language="token_insertion", **depth)


def pi_style(config: AptConfig) -> AptConfig:
    """Return `config` as a pi-style expert, all layers in both stages."""
    return replace(config, style="pi", language="token_insertion")
