"""Where a benchmark's cameras are, which vla-eval's observations do not say."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from vla_ros.core.errors import ContractError
from vla_ros.policy import vla_eval_wire as messages


@dataclass(frozen=True, eq=False)
class Eye:
    """One camera: how it sees and where it is.

    Attributes:
        K: (3, 3) intrinsics [px]; a negative focal length is a picture that is mirrored.
        size: (width, height) [px] of the picture that K is of.
        T_base_camera: (4, 4) pose of its optical frame in the frame of the tool's poses [m].
    """

    K: np.ndarray
    size: tuple[int, int]
    T_base_camera: np.ndarray

    def K_of(self, size: tuple[int, int]) -> np.ndarray:
        """Return the intrinsics of its picture at another size (width, height).

        Raises:
            ContractError: the picture has another shape.
        """
        if size[0] * self.size[1] != size[1] * self.size[0]:
            raise ContractError(
                f"a picture of {size[0]} x {size[1]} px is of no camera whose pictures are "
                f"{self.size[0]} x {self.size[1]}; correct the file of --cameras"
            )
        scale = size[0] / self.size[0]
        centre = (self.K[:2, 2] + 0.5) * scale - 0.5  # pixel centres are at whole numbers
        return np.block([[self.K[:2, :2] * scale, centre[:, None]], [np.array([0.0, 0.0, 1.0])]])


def read_eyes(path: str | Path) -> dict[str, Eye]:
    """Return the cameras in a JSON file, by name: tables of K, size and T_base_camera.

    Raises:
        ContractError: it cannot be read, or says something else.
    """
    try:
        said = json.loads(Path(path).read_text(encoding="utf-8"))
        return {str(name): eye_from(row) for name, row in said.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ContractError(
            f"cameras {path} cannot be read ({type(error).__name__}: {error}); give a JSON file "
            "with K, size and T_base_camera of each camera"
        ) from None


def eye_of(payload: Mapping, name: str) -> Eye | None:
    """Return what an observation itself says of a camera, under "cameras"; None: nothing.

    Ours do; vla-eval's own benchmarks leave it to the server's file.

    Raises:
        ContractError, RemoteError: it says something else.
    """
    cameras = payload.get("cameras")
    said = cameras.get(name) if isinstance(cameras, dict) else None
    if not isinstance(said, dict):
        return None
    told = {key: messages.array_of(said, key) for key in ("K", "T_base_camera")}
    try:
        return eye_from({**told, "size": said.get("size")})
    except (ValueError, TypeError, KeyError) as error:
        raise ContractError(f"camera {name} of the observation is none ({error})") from None


def eye_from(said: Mapping) -> Eye:
    """Return the camera in a table of K, size and T_base_camera, lists or arrays.

    Raises:
        ValueError, TypeError, KeyError: it is none.
    """
    K, T, size = (np.array(said[key], float) for key in ("K", "T_base_camera", "size"))
    if K.shape != (3, 3) or T.shape != (4, 4) or size.shape != (2,):
        raise ValueError("K must be (3, 3), T_base_camera (4, 4) and size [width, height]")
    if not all(np.all(np.isfinite(part)) for part in (K, T, size)) or not (K[0, 0] and K[1, 1]):
        raise ValueError("its numbers must be finite, and focal lengths not 0")
    if not np.all((size > 0) & (size == np.round(size))):
        raise ValueError(f"size must be pixels, got {said['size']}")
    return Eye(K, (int(size[0]), int(size[1])), T)
