"""What an expert is told beside pictures and text: where cameras and tools are.

Legend: B batch, V pictures, E arms (end-effectors), L vision-language tokens.
"""

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from vla_ros.core.errors import ContractError
from vla_ros.policy.vlm import VlmOutput


def normalised_intrinsics(K: np.ndarray, size_px: int) -> np.ndarray:
    """Return (4,) float32 fx, fy, cx, cy in halves of the side of a square picture, 0 its centre.

    `K` (3, 3) [px] has pixel centres at whole numbers; the picture's own centre is at
    (size_px - 1) / 2.
    """
    half = size_px / 2
    fx, fy, cx, cy = K[0][0], K[1][1], K[0][2], K[1][2]
    centre = [(cx + 0.5) / half - 1, (cy + 0.5) / half - 1]
    return np.array([fx / half, fy / half, *centre], np.float32)


@dataclass(frozen=True, eq=False)
class Observation:
    """Geometry of B samples. All poses share one frame, any: the expert sees only relations.

    Attributes:
        T_base_camera: (B, V, 4, 4) float32 camera poses [m], z along the view, x to the right.
        T_base_tool: (B, E, 4, 4) float32 current tool poses [m].
        reference: (B, E) int64, the picture whose camera's axes each arm's chunk is in.
        opening: (B, E) float32 current gripper, 0 closed, 1 open; only read with history_gripper.
        history: (B, E, h - 1, 10) past steps as chunks relative to now, oldest first, for a
            history of h > 1; gripper in [-1, 1].
        arm_mask: (B, E) bool, False where an arm is missing; None: all are there.
        camera_mask: (B, V) bool, False where a picture is not to be seen; None: all are.
        intrinsics: (B, V, 4) fx, fy, cx, cy in halves of the picture's side, the centre being 0;
            None: patch positions in [-1, 1] stand for normalised camera coordinates.
        extent: (B, V, 2) how far from the centre, of 1, a padded picture is picture along x and
            y; patches centred beyond it are masked out. None: all of it.
    """

    T_base_camera: Tensor
    T_base_tool: Tensor
    reference: Tensor
    opening: Tensor | None = None
    history: Tensor | None = None
    arm_mask: Tensor | None = None
    camera_mask: Tensor | None = None
    intrinsics: Tensor | None = None
    extent: Tensor | None = None

    def __post_init__(self):
        batch, num_views = self.T_base_camera.shape[:2]
        arms = self.T_base_tool.shape[1:2]
        shapes = {
            "T_base_camera": (batch, num_views, 4, 4),
            "T_base_tool": (batch, *arms, 4, 4),
            "reference": (batch, *arms),
            "opening": (batch, *arms),
            "arm_mask": (batch, *arms),
            "camera_mask": (batch, num_views),
            "intrinsics": (batch, num_views, 4),
            "extent": (batch, num_views, 2),
        }
        for name, shape in shapes.items():
            value = getattr(self, name)
            if value is not None and value.shape != shape:
                raise ContractError(
                    f"observation's {name} must have shape {shape}, got {tuple(value.shape)}; "
                    "check the dataset or the runner"
                )

    def to(self, device: torch.device | str) -> "Observation":
        """Return the observation on `device`."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{k: v.to(device) for k, v in values.items() if v is not None})

    @property
    def num_cameras(self) -> int:
        """V."""
        return self.T_base_camera.shape[1]

    @property
    def arms(self) -> Tensor:
        """(B, E) bool, True where an arm is there."""
        if self.arm_mask is not None:
            return self.arm_mask
        return torch.ones_like(self.reference, dtype=torch.bool)

    def camera_poses(self) -> Tensor:
        """Return (B, V, 4, 4) as arm 0's reference camera sees them.

        The expert sees relations of poses only (the authors' code re-centres them on the mean
        camera position). Small numbers keep their rounding small, and where tokens are all of this
        camera there is nothing to turn.
        """
        poses = self.T_base_camera.float()
        index = self.reference[:, :1, None, None].expand(-1, -1, 4, 4)
        reference = poses.gather(1, index)
        turn = reference[..., :3, :3].transpose(-1, -2)
        seen = torch.zeros_like(poses)
        seen[..., :3, :3] = turn @ poses[..., :3, :3]
        seen[..., :3, 3:] = turn @ (poses[..., :3, 3:] - reference[..., :3, 3:])
        seen[..., 3, 3] = 1.0
        return seen

    def reference_poses(self) -> Tensor | None:
        """Return (B, E, 4, 4): each arm's reference camera, as in `camera_poses`.

        None where it is arm 0's for all.
        """
        if self.num_cameras == 1 or self.reference.shape[1] == 1:
            return None
        index = self.reference[:, :, None, None].expand(-1, -1, 4, 4)
        return self.camera_poses().gather(1, index)

    def tool_positions(self) -> Tensor:
        """Return (B, E, 3): each tool's position [m] in its reference camera."""
        index = self.reference[:, :, None, None].expand(-1, -1, 4, 4)
        T_base_camera = self.T_base_camera.float().gather(1, index)
        offset = self.T_base_tool[..., :3, 3].float() - T_base_camera[..., :3, 3]
        return (T_base_camera[..., :3, :3].transpose(-1, -2) @ offset[..., None])[..., 0]

    def token_poses(self, view: Tensor) -> Tensor | None:
        """Return (B, L, 4, 4): the camera of each token's picture, `view` (B, L).

        As in `camera_poses`; None where it is arm 0's reference camera for all. Language has no
        camera: it stands where that one does.
        """
        if self.num_cameras == 1:
            return None
        index = torch.where(view >= 0, view, self.reference[:, :1])
        return self.camera_poses().gather(1, index[:, :, None, None].expand(-1, -1, 4, 4))

    def token_mask(self, output: VlmOutput) -> Tensor:
        """Return (B, L) bool: valid tokens without dropped pictures and padding."""
        mask = output.mask
        view = output.view.clamp(min=0)
        if self.camera_mask is not None:
            mask = mask & (self.camera_mask.gather(1, view) | ~output.is_image)
        if self.extent is not None:
            extent = self.extent.gather(1, view[:, :, None].expand(-1, -1, 2))
            inside = (output.patch_xy.abs() <= extent).all(-1)
            mask = mask & (inside | ~output.is_image)
        return mask

    def camera_xy(self, output: VlmOutput) -> Tensor:
        """Return (B, L, 2): normalised camera coordinates of each patch's centre."""
        if self.intrinsics is None:
            return output.patch_xy
        index = output.view.clamp(min=0)[:, :, None].expand(-1, -1, 4)
        focal, centre = self.intrinsics.gather(1, index).split(2, dim=-1)
        return (output.patch_xy - centre) / focal
