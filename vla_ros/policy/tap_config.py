"""Switches of TAP; each place where paper and code disagree or are silent has a name."""

from dataclasses import asdict, dataclass, fields
from typing import Literal, get_args, get_origin, get_type_hints

from vla_ros.core.errors import CheckpointError


@dataclass(frozen=True)
class TapConfig:
    """TAP at one stage (Shi et al., "Task-Agnostic Pretraining for VLAs", arXiv 2607.02466).

    Attributes:
        stage: 1, inverse dynamics (o_t, o_t+1) without text; 2, behaviour cloning (o_t, text).
        head: "fast": action tokens and cross-entropy (the authors' code and the poster's figure);
            "mlp": a 2-layer MLP that regresses, mean squared error (the text, eq. 2 to 5).
        condition: what Stage 1 is shown. "pair": both pictures; "vision": o_t alone, behaviour
            cloning from vision on the same off-task data, the control that the paper lacks.
        frozen_vision: whether the vision tower learns: "stage_1": not in Stage 1 (paper), "never":
            it always learns (code). A tower from scratch must: frozen, it stays random.
        horizon: H, actions at once. TAP has 1.
        head_width: hidden width of "mlp"; the record is silent.
        decoding: "counted": only such action tokens as can still make one whole chunk, and the end
            follows by itself; "free": the best of the whole vocabulary up to the end token, others
            than action tokens dropped (code).
        malformed: what `act` gives for tokens that are no chunk: "refuse", a ContractError, or
            "zeros" (code). Zeros are the middle of each range and a *closed* gripper.
    """

    stage: int = 1
    head: Literal["fast", "mlp"] = "fast"
    condition: Literal["pair", "vision"] = "pair"
    frozen_vision: Literal["stage_1", "never"] = "stage_1"
    horizon: int = 1
    head_width: int = 256
    decoding: Literal["counted", "free"] = "counted"
    malformed: Literal["refuse", "zeros"] = "refuse"

    def __post_init__(self):
        for name, kind in get_type_hints(type(self)).items():
            value = getattr(self, name)
            if get_origin(kind) is Literal and value not in get_args(kind):
                raise CheckpointError(
                    f"TAP's {name} must be one of {', '.join(get_args(kind))}, got {value!r}; "
                    "correct the recipe"
                )
        if self.stage not in (1, 2) or min(self.horizon, self.head_width) < 1:
            raise CheckpointError(
                f"TAP needs stage 1 or 2 and positive sizes, got stage {self.stage}, horizon "
                f"{self.horizon} and head width {self.head_width}; correct the recipe"
            )

    @property
    def num_images(self) -> int:
        """Pictures of one sample that the model is shown."""
        return 2 if self.stage == 1 and self.condition == "pair" else 1

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "TapConfig":
        """Return the config of `to_dict`'s result; raises CheckpointError on other keys."""
        expected = {field.name for field in fields(cls)}
        if not isinstance(data, dict) or set(data) != expected:
            raise CheckpointError(
                "TAP's config does not have the expected keys "
                f"({', '.join(sorted(expected ^ set(data or {})))}); train again with this version"
            )
        return cls(**data)
