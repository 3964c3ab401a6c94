"""What the robot runs: an observation in, a chunk of actions out, for either method.

A runner computes with the weights as the checkpoint has them, the small backbone's in float32:
bfloat16 was measured to be slower for one sample on a CPU.
"""

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vla_ros.core import arm
from vla_ros.core.actions import GRIPPER_INDEX
from vla_ros.core.chunks import (
    CHUNK_SIZE,
    GRIPPER,
    TRANSLATION,
    chunk_from_poses,
    poses_from_chunk,
)
from vla_ros.core.contract import MAX_CHUNK_TRANSLATION_M, Contract
from vla_ros.core.errors import CheckpointError, ContractError
from vla_ros.core.observation import CameraView, Chunk, Decided, Observation
from vla_ros.policy.apt import observation as geometry
from vla_ros.policy.apt.policy import AptPolicy
from vla_ros.policy.apt.rtc import known_prefix
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint
from vla_ros.policy.normalize import Normalizer
from vla_ros.policy.pictures import (
    DATASET_JPEG_QUALITY,
    check_rgb,
    dataset_picture,
    encode_jpeg,
    resize_for_model,
)
from vla_ros.policy.preprocess import images_to_tensor
from vla_ros.policy.tap import TapPolicy
from vla_ros.policy.tools import tool_poses
from vla_ros.policy.views import pose_of, relative_intrinsics

# TAP's simulator code: open above 0.5 of [0, 1].
TAP_OPEN_ABOVE = 0.5


class PolicyRunner(ABC):
    """One Stage 2 checkpoint, ready to act. One caller at a time.

    Attributes:
        contract: what it sees and does.
        run: the checkpoint's provenance.
        num_past: past states that an observation must bring.
        goes_on: whether its chunks can go on from what is decided already (real-time chunking).
        has_gates: whether gated fusions let its backbone in.
    """

    num_past = 0
    goes_on = has_gates = False

    def __init__(self, checkpoint: Checkpoint):
        self.contract, self.run = checkpoint.contract, checkpoint.run
        self._image_size = checkpoint.policy.vlm.image_size
        self._device = next(checkpoint.policy.parameters()).device

    @staticmethod
    def load(
        path: str | Path,
        expected_contract: Contract | None = None,
        device: str = "cpu",
        seed: int = 0,
    ) -> "PolicyRunner":
        """Return the runner of the checkpoint folder `path`.

        Args:
            path: a folder that training.stage2_tap or training.stage2_apt wrote.
            expected_contract: the contract it must have; None: any.
            device: of torch, "cpu" or "cuda".
            seed: of the noise that APT's chunks begin with.

        Raises:
            CheckpointError: missing, damaged, or of Stage 1, which has never seen an instruction;
                or there is no such device.
            ContractError: the checkpoint's contract is not `expected_contract`.
        """
        _require_device(device)
        checkpoint = load_checkpoint(Path(path), expected_contract, device)
        if checkpoint.policy.config.stage != 2:
            raise CheckpointError(
                f"checkpoint {path} is of stage 1, which follows no instruction; give one that "
                f"training.stage2_{checkpoint.method} wrote"
            )
        return runner_of(checkpoint, seed)

    @property
    @abstractmethod
    def cameras(self) -> tuple[str, ...]:
        """Names of the cameras whose pictures it looks at."""

    @abstractmethod
    def act(self, observation: Observation, decided: Decided | None = None) -> Chunk:
        """Return what to do from the moment of `observation` on.

        Args:
            observation: what is seen.
            decided: what the chunk shall go on from, where the runner `goes_on`; None: nothing.

        Raises:
            ContractError: a picture or a pose is missing or of another kind, or the network's
                output is no legal action (not finite, out of bounds).
        """

    def warm_up(self) -> None:
        """Act once on grey pictures, so that the first real action is not the slow one.

        In the thread that acts later: libraries keep handles for each.
        """
        height, width, _ = self.contract.image.shape
        grey = encode_jpeg(np.full((height, width, 3), 128, np.uint8), DATASET_JPEG_QUALITY)
        K = np.array([[width, 0, width / 2], [0, height, height / 2], [0, 0, 1]])
        view = CameraView(grey, np.eye(4), K, (width, height))
        state = np.append(arm.READY_RAD, 1.0)
        views = dict.fromkeys(self.cameras, view)
        tools = np.tile(np.eye(4), (self.num_past + 1, 1, 1))
        past = np.tile(state, (self.num_past, 1))
        with suppress(ContractError):  # what it answers to grey need not be legal
            self.act(Observation(views, "warm up", state, past, tools=tools))

    def see(self, camera: str, picture: np.ndarray | bytes) -> np.ndarray:
        """Return the picture (S, S, 3) uint8 RGB at model size that the network is given.

        Args:
            camera: its name, for messages.
            picture: a camera's JPEG or PNG, which goes the way into a dataset first; or RGB
                (H, W, 3) uint8 as a dataset has it, any size; not changed.

        Raises:
            ContractError: there is no picture in it.
        """
        where, size = f"camera {camera}", self.contract.image.shape[0]
        if not isinstance(picture, np.ndarray):
            picture = dataset_picture(picture, size, where)
        check_rgb(picture, where)
        return resize_for_model(picture, size, self._image_size)

    def images(self, observation: Observation) -> Tensor:
        """Return the pictures (1, V, 3, S, S) in [-1, 1] of all cameras, on the device.

        Raises:
            ContractError: one is missing, or is none.
        """
        absent = [name for name in self.cameras if name not in observation.views]
        if absent:
            raise ContractError(
                f"no picture of camera {', '.join(absent)}, which this policy looks through; there "
                f"is {', '.join(observation.views) or 'none'}: start camera_node with that name"
            )
        pictures = [self.see(name, observation.views[name].picture) for name in self.cameras]
        return images_to_tensor(np.stack(pictures)[None]).to(self._device)


class TapRunner(PolicyRunner):
    """Runs TAP: one action a query from one picture and the instruction (methods: A.5).

    Attributes:
        policy: the network.
    """

    def __init__(self, policy: TapPolicy, normalizer: Normalizer, checkpoint: Checkpoint):
        super().__init__(checkpoint)
        self.policy, self._normalizer = policy, normalizer

    @property
    def cameras(self) -> tuple[str, ...]:
        return (self.contract.camera,)

    @torch.inference_mode()
    def act(self, observation: Observation, decided: Decided | None = None) -> Chunk:
        """See `PolicyRunner`; single actions have nothing to go on from."""
        images, text = self.images(observation), [observation.task]
        rows = self.policy.generate(images, text) if self.policy.head is None else None
        actions = self._normalizer.invert(self.policy.act(images, text, rows)[0].cpu().numpy())
        for action in actions:
            self.contract.action.validate(action)
        openings = (actions[:, GRIPPER_INDEX] > TAP_OPEN_ABOVE).astype(np.float64)
        tokens = tuple(rows[0]) if rows else None
        return Chunk(actions, 1.0 / self.contract.rate_hz, openings, tokens=tokens)


class AptRunner(PolicyRunner):
    """Runs APT: a chunk of tool poses in the axes of the first camera (methods: B.6).

    The scene is read once and its keys and values serve all steps of denoising.

    Attributes:
        policy: the network.
    """

    goes_on = True

    def __init__(self, policy: AptPolicy, checkpoint: Checkpoint, seed: int):
        super().__init__(checkpoint)
        self.policy = policy
        self._noise = torch.Generator().manual_seed(seed)
        self.num_past = policy.config.history - 1
        self.has_gates = len(policy.expert.fusions) > 0

    @property
    def cameras(self) -> tuple[str, ...]:
        return self.contract.cameras

    @torch.inference_mode()
    def act(self, observation: Observation, decided: Decided | None = None) -> Chunk:
        images = self.images(observation)
        told, T_base_now, T_base_camera = self.told(observation)
        horizon = self.policy.config.horizon
        known = None
        if decided is not None and len(decided.openings):
            planned = decided.T_base_tool, decided.openings
            chunk = chunk_from_poses(decided.T_commanded, *planned, T_base_camera)
            known = known_prefix(chunk, decided.fixed, horizon)
        noise = torch.randn((1, 1, horizon, CHUNK_SIZE), generator=self._noise).to(self._device)
        seen = self.policy.look(images, [observation.task])
        told = told.to(self._device)
        actions = self.policy.denoise(seen, told, noise, known=known)[0, 0].cpu().numpy()
        poses, _ = poses_from_chunk(actions, T_base_now, T_base_camera)
        furthest_m = float(np.abs(actions[:, TRANSLATION]).max())
        if furthest_m > MAX_CHUNK_TRANSLATION_M:
            raise ContractError(
                f"the policy asks for a tool pose {furthest_m:.2f} m away, further than the arm "
                f"reaches ({MAX_CHUNK_TRANSLATION_M} m); train it further, or check its data"
            )
        openings = (actions[:, GRIPPER] > self.policy.config.open_above).astype(np.float64)
        return Chunk(actions, 1.0 / self.contract.rate_hz, openings, poses)

    def told(self, observation: Observation) -> tuple[geometry.Observation, np.ndarray, np.ndarray]:
        """Return what the expert is told, and T_base_tool and T_base_camera that chunks refer to.

        Raises:
            ContractError: a pose or a state is missing or of another kind.
        """
        views = [observation.views[name] for name in self.cameras]
        poses = np.stack([pose_of(name, v) for name, v in zip(self.cameras, views, strict=True)])
        state = self._state(observation.state)
        if len(observation.past_states) != self.num_past:
            raise ContractError(
                f"this policy needs {self.num_past} past states, got "
                f"{len(observation.past_states)}; wait until the arm was seen for longer"
            )
        states = np.stack([*(self._state(s) for s in observation.past_states), state])
        tools = tool_poses(self.contract, states, observation.tools)
        T_base_tool, T_base_camera = tools[-1], poses[0]
        history = None
        if self.num_past:
            found = chunk_from_poses(T_base_tool, tools[:-1], states[:-1, -1], T_base_camera)
            history = torch.from_numpy(found)[None, None]
        told = geometry.Observation(
            T_base_camera=torch.from_numpy(poses).float()[None],
            T_base_tool=torch.from_numpy(T_base_tool).float()[None, None],
            reference=torch.zeros(1, 1, dtype=torch.int64),
            opening=torch.tensor([[state[-1]]], dtype=torch.float32),
            history=history,
            intrinsics=self._intrinsics(views),
        )
        return told, T_base_tool, T_base_camera

    def _state(self, state: np.ndarray | None) -> np.ndarray:
        if state is None:
            raise ContractError(
                "no joint state to act from, and this policy's chunks begin where the arm is; "
                "start the arm's driver"
            )
        return self.contract.state.validate(np.asarray(state, np.float32)).astype(np.float64)

    def _intrinsics(self, views: list[CameraView]) -> Tensor | None:
        """Return (1, V, 4) where the policy was trained with them, else None."""
        if not self.run.get("intrinsics"):
            return None
        rows = relative_intrinsics(self.cameras, views, self.contract.image.shape[0])
        return torch.from_numpy(rows).float()[None]


def runner_of(checkpoint: Checkpoint, seed: int = 0) -> TapRunner | AptRunner:
    """Return the runner of a Stage 2 checkpoint that is loaded."""
    policy = checkpoint.policy
    if isinstance(policy, AptPolicy):
        return AptRunner(policy, checkpoint, seed)
    assert checkpoint.normalizer is not None  # a TAP checkpoint has one
    return TapRunner(policy, checkpoint.normalizer, checkpoint)


def _require_device(device: str) -> None:
    kind = device.split(":")[0]
    if kind not in ("cpu", "cuda") or (kind == "cuda" and not torch.cuda.is_available()):
        raise CheckpointError(
            f"no device {device!r} to run a policy on: give cpu, or cuda where torch finds a GPU"
        )
