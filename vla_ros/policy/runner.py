"""What the robot runs: a picture and a sentence in, one action out."""

from pathlib import Path

import numpy as np
import torch

from vla_ros.core.contract import Contract
from vla_ros.core.errors import CheckpointError
from vla_ros.policy.checkpoint import Checkpoint, load_checkpoint
from vla_ros.policy.pictures import check_rgb, dataset_picture, resize_for_model
from vla_ros.policy.preprocess import images_to_tensor


class PolicyRunner:
    """One TAP Stage 2 checkpoint, ready to act. One caller at a time."""

    def __init__(self, checkpoint: Checkpoint):
        self._policy = checkpoint.policy
        self._normalizer = checkpoint.normalizer
        self.contract = checkpoint.contract
        self.run = checkpoint.run

    @classmethod
    def load(cls, path: str | Path, expected_contract: Contract | None = None) -> "PolicyRunner":
        """Return the runner of the checkpoint folder `path`.

        Raises:
            CheckpointError: missing, damaged, or of Stage 1, which has never seen an instruction.
            ContractError: the checkpoint's contract is not `expected_contract`.
        """
        checkpoint = load_checkpoint(Path(path), expected_contract)
        if checkpoint.run.get("stage") != 2:
            raise CheckpointError(
                f"checkpoint {path} is of stage {checkpoint.run.get('stage')}, which follows no "
                "instruction; give one that training.stage2_tap wrote"
            )
        return cls(checkpoint)

    def warm_up(self) -> None:
        """Act once on a grey picture, so that the first real action is not the slow one."""
        height, width, _ = self.contract.image.shape
        self.act(np.full((height, width, 3), 128, np.uint8), "warm up")

    def see(self, image: np.ndarray | bytes) -> np.ndarray:
        """Return the picture (S, S, 3) uint8 RGB at model size that the network is given.

        Args:
            image: a camera's JPEG or PNG, which goes the way into a dataset first; or RGB
                (H, W, 3) uint8 as a dataset has it, any size; not changed.

        Raises:
            ContractError: there is no picture in it.
        """
        where, size = f"camera {self.contract.camera}", self.contract.image.shape[0]
        if not isinstance(image, np.ndarray):
            image = dataset_picture(image, size, where)
        check_rgb(image, where)
        return resize_for_model(image, size, self._policy.config.backbone.image_size)

    @torch.inference_mode()
    def act(self, image: np.ndarray | bytes, task: str) -> np.ndarray:
        """Return the action (7,) float32 of the contract's action space.

        Args:
            image: what `see` takes.
            task: the instruction, any text.

        Raises:
            ContractError: the image is of another kind, or the network's output is not a legal
                action (not finite, out of bounds).
        """
        picture = self.see(image)
        output = self._policy(images_to_tensor(picture[None, None]), [task])[0].numpy()
        return self.contract.action.validate(self._normalizer.invert(output))
