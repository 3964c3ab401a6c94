"""Pictures to tensors; the only such code, for training and robot alike."""

import cv2
import numpy as np
import torch
from torch import Tensor

from vla_ros.core.errors import ContractError


def check_rgb(image: np.ndarray, where: str) -> None:
    """Raise ContractError unless `image` is uint8 (H, W, 3); `where` names its origin."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise ContractError(
            f"image of {where} must be uint8 (H, W, 3) RGB, got {image.dtype} of shape "
            f"{image.shape}; convert it before"
        )


def resize_rgb(image: np.ndarray, size: int) -> np.ndarray:
    """Return `image` (H, W, 3) uint8 at (size, size, 3); itself where it has that size.

    Area interpolation, and the aspect ratio is given up, as in TAP's inference code.
    """
    if image.shape[:2] == (size, size):
        return image
    return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)


def resize_for_model(image: np.ndarray, dataset_size: int, model_size: int) -> np.ndarray:
    """Return a camera image at model size by the two steps that training data go through."""
    return resize_rgb(resize_rgb(image, dataset_size), model_size)


def images_to_tensor(images: np.ndarray) -> Tensor:
    """Return (..., 3, H, W) float32 in [-1, 1] of images (..., H, W, 3) uint8."""
    tensor = torch.from_numpy(np.array(images)).movedim(-1, -3)
    return tensor.float().div_(127.5).sub_(1.0)


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 RGB of JPEG or PNG bytes.

    Raises:
        ContractError: the bytes are not a picture.
    """
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    if image is None:
        raise ContractError(
            f"image of {where} cannot be decoded ({len(data)} bytes); drop or record it again"
        )
    return image


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return the JPEG bytes of `image` (H, W, 3) uint8 RGB."""
    done, data = cv2.imencode(
        ".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, quality]
    )
    assert done
    return data.tobytes()
