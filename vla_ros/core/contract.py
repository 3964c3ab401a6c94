"""The one definition of what a policy sees and does: names, shapes, units, bounds and rate.

Converter, dataset, model, checkpoint and node all read it; a checkpoint carries a copy and is
refused where the copy differs.
"""

from dataclasses import asdict, dataclass, replace

import numpy as np

from vla_ros.core import arm
from vla_ros.core.chunks import CHUNK_SIZE
from vla_ros.core.errors import ContractError

ACTION_SPACES = ("ee_delta", "joint", "ee_pose", "ee_chunk")
# Bounds of one 5 Hz action: 0.15 m/s of play and 5 cm teacher steps stay far inside.
MAX_TRANSLATION_M = 0.25
MAX_ROTATION_RAD = float(np.pi)
# Twice the arm's reach of 0.65 m: no tool gets further from where it is.
MAX_CHUNK_TRANSLATION_M = 1.3


@dataclass(frozen=True)
class Field:
    """One array of an observation or action.

    Attributes:
        name: as in datasets, for example "observation.state".
        shape: sizes, channels last for images.
        dtype: numpy name.
        unit: SI unit, or one a part, in words.
        low, high: inclusive bounds, a number or one a last-axis element.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    unit: str
    low: float | tuple[float, ...]
    high: float | tuple[float, ...]

    def __post_init__(self):
        for key in ("shape", "low", "high"):
            value = getattr(self, key)
            if isinstance(value, list):
                object.__setattr__(self, key, tuple(value))

    def validate(self, value: np.ndarray) -> np.ndarray:
        """Return `value` if it fits.

        Raises:
            ContractError: wrong shape, dtype, not finite, or out of bounds.
        """
        value = np.asarray(value)
        if value.shape != self.shape or value.dtype != np.dtype(self.dtype):
            raise ContractError(
                f"{self.name} must be {self.dtype} of shape {self.shape}, "
                f"got {value.dtype} of shape {value.shape}"
            )
        if value.dtype.kind == "f" and not np.all(np.isfinite(value)):
            raise ContractError(f"{self.name} must be finite, got {value}")
        if np.any(value < np.asarray(self.low)) or np.any(value > np.asarray(self.high)):
            raise ContractError(
                f"{self.name} must lie in [{self.low}, {self.high}] {self.unit}, got {value}"
            )
        return value

    def generate(self, rng: np.random.Generator) -> np.ndarray:
        """Return a legal array, uniform between the bounds."""
        if np.dtype(self.dtype).kind in "iu":
            low, high = np.asarray(self.low, np.int64), np.asarray(self.high, np.int64)
            return rng.integers(low, high, self.shape, dtype=self.dtype, endpoint=True)
        value = rng.uniform(self.low, self.high, self.shape).astype(self.dtype)
        # Rounding to float32 may step over a bound that float32 cannot hold.
        return np.clip(value, np.asarray(self.low), np.asarray(self.high)).astype(self.dtype)


@dataclass(frozen=True)
class Contract:
    """What one kind of policy sees and does.

    Attributes:
        name: the method that the contract serves.
        robot_model: Interbotix model name, or that of the arm that foreign recordings are of.
        rate_hz: rate of observations and actions.
        cameras: names of the cameras whose images are seen, the third-person one first.
        image: uint8 RGB field (H, W, 3) of each camera.
        state: 6 arm joints [rad] and the gripper's opening [0 closed, 1 open].
        action_space: "ee_delta": see `core.actions`; "joint": 6 joints [rad] and the opening;
            "ee_pose": tool position [m], rotation vector [rad] in base_link, and the opening;
            "ee_chunk": the poses of `core.chunks` in the axes of the first camera.
        action: the action's field.
    """

    name: str
    robot_model: str
    rate_hz: float
    cameras: tuple[str, ...]
    image: Field
    state: Field
    action_space: str
    action: Field

    def __post_init__(self):
        object.__setattr__(self, "cameras", tuple(self.cameras))
        if not self.cameras or len(set(self.cameras)) < len(self.cameras):
            raise ContractError(f"cameras must be one or more different names, got {self.cameras}")
        if not self.robot_model:
            raise ContractError(
                "robot_model must be a name: that of an Interbotix arm "
                f"({', '.join(arm.ROBOT_MODELS)}), or of the arm that a recording comes from"
            )
        if self.action_space not in ACTION_SPACES:
            raise ContractError(
                f"action_space {self.action_space!r} is unknown; known: {', '.join(ACTION_SPACES)}"
            )

    @property
    def camera(self) -> str:
        """The first camera: the only one that TAP sees."""
        return self.cameras[0]

    @property
    def needs_extrinsics(self) -> bool:
        """Whether the poses of the cameras have to be known: actions are in a camera's axes."""
        return self.action_space == "ee_chunk"

    def to_dict(self) -> dict:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict) -> "Contract":
        """Return the contract of `to_dict`'s result, also after JSON.

        Raises:
            ContractError: a key is missing or unknown.
        """
        try:
            parts = {key: Field(**data[key]) for key in ("image", "state", "action")}
            return cls(**{**data, **parts})
        except (KeyError, TypeError) as error:
            raise ContractError(
                f"contract does not have the expected keys ({error}); "
                "it was written by another version, so convert or train again"
            ) from None

    def require_match(self, other: "Contract", where: str) -> None:
        """Check that `other`, found at `where`, is this contract.

        Raises:
            ContractError: names each key that differs with both values.
        """
        ours, theirs = asdict(self), asdict(other)
        differences = [f"{key}: {ours[key]} here, {theirs[key]} there" for key in ours]
        differences = [
            line for key, line in zip(ours, differences, strict=True) if ours[key] != theirs[key]
        ]
        if differences:
            raise ContractError(
                f"contract of {where} does not match ({'; '.join(differences)}); "
                "use data and checkpoints of the same contract"
            )


def _float32_inside(value: float) -> float:
    """Return the nearest float32 not larger in magnitude, so that both types agree on a bound."""
    single = np.float32(value)
    return float(single if abs(single) <= abs(value) else np.nextafter(single, np.float32(0)))


def tap_contract(
    camera: str | tuple[str, ...] = "front", image_size: int = 128, rate_hz: float = 5.0
) -> Contract:
    """Return TAP's contract: third-person RGB, 7-D end-effector delta at 5 Hz.

    TAP sees the first of several cameras. State is recorded but never fed to TAP (methods: A.2.5).
    `image_size` is the side of the square image [px] in the dataset.
    """
    # Measured joints may stand a servo count beyond their limit; 0.05 rad is 33 counts.
    margin_rad, margin_opening = 0.05, 0.2
    low = tuple(_float32_inside(v - margin_rad) for v in arm.LOWER_RAD)
    high = tuple(_float32_inside(v + margin_rad) for v in arm.UPPER_RAD)
    span = (MAX_TRANSLATION_M,) * 3 + (_float32_inside(MAX_ROTATION_RAD),) * 3
    return Contract(
        name="tap",
        robot_model="wx250s",
        rate_hz=float(rate_hz),
        cameras=(camera,) if isinstance(camera, str) else camera,
        image=Field("observation.image", (image_size, image_size, 3), "uint8", "RGB", 0, 255),
        state=Field(
            "observation.state",
            (7,),
            "float32",
            "rad x 6, opening",
            (*low, _float32_inside(-margin_opening)),
            (*high, _float32_inside(1 + margin_opening)),
        ),
        action_space="ee_delta",
        action=Field(
            "action",
            (7,),
            "float32",
            "m x 3, rad x 3, opening",
            (*(-v for v in span), 0.0),
            (*span, 1.0),
        ),
    )


def apt_contract(
    cameras: str | tuple[str, ...] = "front",
    image_size: int = 128,
    rate_hz: float = 5.0,
    horizon: int = 32,
) -> Contract:
    """Return APT's contract: RGB of one or more calibrated cameras, a chunk of tool poses.

    The chunk is in the axes of the first camera, see `core.chunks`; whoever runs the policy must
    know where all cameras are. Its rotation is six raw numbers, bounded by 1 for true chunks;
    a policy's may be a little outside and are made a rotation before anything moves.
    """
    span = float(np.float32(MAX_CHUNK_TRANSLATION_M))
    return replace(
        tap_contract(cameras, image_size, rate_hz),
        name="apt",
        action_space="ee_chunk",
        action=Field(
            "action",
            (horizon, CHUNK_SIZE),
            "float32",
            "m x 3, 1 x 6, -1 closed 1 open",
            (-span,) * 3 + (-1.0,) * 7,
            (span,) * 3 + (1.0,) * 7,
        ),
    )
