"""One harness's episodes: its observations to a runner's, chunks to an action a step."""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from vla_ros.core.actions import ee_delta
from vla_ros.core.cameras import scaled_intrinsics
from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import CameraView, Chunk, Observation
from vla_ros.core.task_text import MAX_CHARACTERS
from vla_ros.policy import remote_wire as wire
from vla_ros.policy import vla_eval_wire as messages
from vla_ros.policy.pictures import check_rgb, dataset_picture, decode_jpeg
from vla_ros.policy.vla_eval_arms import Arm, arm_of
from vla_ros.policy.vla_eval_cameras import Eye, eye_of

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

DEFAULT_STEPS = 8


@dataclass(frozen=True)
class Manner:
    """How a checkpoint takes part in a benchmark.

    Attributes:
        arm: what the benchmark says of its arm.
        names: the benchmark's name of each camera that the policy looks through.
        eyes: of cameras whose place is known beforehand, by our names.
        steps: of a chunk that are done before the next one is asked for.
    """

    arm: Arm
    names: Mapping[str, str]
    eyes: Mapping[str, Eye] = field(default_factory=dict)
    steps: int = DEFAULT_STEPS


def manner_of(
    contract: Contract,
    cameras: tuple[str, ...],
    named: Mapping[str, str],
    eyes: Mapping[str, Eye],
    steps: int = DEFAULT_STEPS,
) -> Manner:
    """Return how a checkpoint takes part.

    Args:
        contract: of the checkpoint.
        cameras: that it looks through.
        named: names that the benchmark has for some of them.
        eyes: as of `Manner`.
        steps: likewise.

    Raises:
        ContractError: it cannot, or a name is of no camera.
    """
    arm = arm_of(contract)
    if unknown := sorted({*named, *eyes} - set(cameras)):
        raise ContractError(
            f"this checkpoint does not look through {', '.join(unknown)}, but through "
            f"{', '.join(cameras)}; correct --image or --cameras"
        )
    if steps < 1:
        raise ContractError(f"--steps must be 1 or more, got {steps}")
    first = {cameras[0]: arm.camera} if arm.camera else {}
    return Manner(arm, {name: name for name in cameras} | first | dict(named), eyes, steps)


class Session:
    """What goes on between one harness and one runner. One caller at a time.

    Args:
        runner: who acts.
        manner: how it takes part.
    """

    def __init__(self, runner: "PolicyRunner", manner: Manner):
        self._runner, self._manner = runner, manner
        self._past: deque[tuple[np.ndarray, np.ndarray]] = deque(maxlen=runner.num_past + 1)
        self._chunk: Chunk | None = None
        self._at = 0

    def begin(self) -> None:
        """Forget the last episode."""
        self._past.clear()
        self._chunk, self._at = None, 0

    @property
    def steps_left(self) -> int:
        """How many of the next observations need no picture: their actions are decided."""
        chunk = self._chunk
        return 0 if chunk is None else min(len(chunk), self._manner.steps) - self._at

    def act(self, payload: Mapping) -> np.ndarray:
        """Return the action (7,) float32 for an observation's payload.

        Raises:
            ContractError: it is not what this checkpoint must see, or the policy's answer is none.
            RemoteError: it cannot be read.
        """
        if self._runner.contract.needs_extrinsics:
            self._take_state(payload)
        if self._chunk is None or not self.steps_left:
            self._chunk, self._at = self._runner.act(self._observation(payload)), 0
        at, self._at = self._at, self._at + 1
        if self._chunk.T_base_tool is None:
            return self._manner.arm.action(self._chunk.actions[at])
        goal, opening = self._chunk.T_base_tool[at], float(self._chunk.openings[at])
        # Controllers of these benchmarks take a displacement from where the tool is measured.
        return self._manner.arm.action(ee_delta(self._past[-1][1], goal, opening))

    def _take_state(self, payload: Mapping) -> None:
        states = messages.array_of(payload, "states")
        if states is None:
            raise ContractError(
                "the observation has no states, and this checkpoint's chunks begin where the tool "
                "is; have the harness send them (send_state)"
            )
        known = self._manner.arm.state_of(states)
        # As in training: before an episode's start its first pose is repeated.
        missing = (self._past.maxlen or 1) - 1 if not self._past else 0
        self._past.extend([known] * (missing + 1))

    def _observation(self, payload: Mapping) -> Observation:
        task = payload.get("task_description")
        if not isinstance(task, str) or len(task) > MAX_CHARACTERS:
            raise ContractError(
                f"task_description must be a text of up to {MAX_CHARACTERS} characters, got "
                f"{wire.named(task)}; have the harness send the instruction"
            )
        views = {ours: self._view(payload, ours, name) for ours, name in self._manner.names.items()}
        if not self._past:
            return Observation(views, task)
        states, tools = (np.stack(part) for part in zip(*self._past, strict=True))
        return Observation(views, task, states[-1], states[:-1], tools=tools)

    def _view(self, payload: Mapping, ours: str, name: str) -> CameraView:
        """Return a camera's picture as a dataset would hold it, and where the camera is."""
        images = payload.get("images")
        given = images if isinstance(images, dict) else {}
        picture = messages.picture_of(given, name)
        if picture is None:
            there = ", ".join(wire.one_line(str(n)) for n in list(given)[:8]) or "none"
            raise ContractError(
                f"no image {name!r}, which this checkpoint looks at as camera {ours}; there is "
                f"{there}: give --image {ours}=NAME"
            )
        where, side = f"image {name}", self._runner.contract.image.shape[0]
        if isinstance(picture, bytes):
            picture = decode_jpeg(picture, where)
        check_rgb(picture, where)
        size = picture.shape[1], picture.shape[0]
        small = dataset_picture(picture, side, where)
        eye = eye_of(payload, name) or self._manner.eyes.get(ours)
        if eye is None:
            return CameraView(small)
        K = scaled_intrinsics(eye.K_of(size), size, side)
        return CameraView(small, eye.T_base_camera, K, (side, side))


def names_of(pairs: list[str]) -> dict[str, str]:
    """Return names by camera from texts CAMERA=NAME.

    Raises:
        ContractError: one is of another form.
    """
    found = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
    if len(found) < len(pairs) or not all(found) or not all(found.values()):
        raise ContractError(f"--image must be CAMERA=NAME, each camera once, got {' '.join(pairs)}")
    return found
