"""Pictures between camera, dataset and model; the only such code, and free of torch.

A camera's picture goes through `dataset_jpeg` on its way into a dataset, and through
`dataset_picture`, the same bytes decoded, on its way into a policy that runs: what a policy sees
on the robot is what it has seen in training, to the bit.
"""

import cv2
import numpy as np

from vla_ros.core.errors import ContractError

# 224 px at this quality is within half a dB of lossless for a camera's own JPEG.
DATASET_JPEG_QUALITY = 95
_JPEG_START = b"\xff\xd8"
# Start-of-frame markers: all of C0..CF but the tables C4 and CC and the extension C8.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_REDUCED = {
    8: cv2.IMREAD_REDUCED_COLOR_8,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    2: cv2.IMREAD_REDUCED_COLOR_2,
}


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


def decode_jpeg(data: bytes, where: str) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 RGB of JPEG or PNG bytes.

    Raises:
        ContractError: the bytes are not a picture.
    """
    return _decode(data, cv2.IMREAD_COLOR_RGB, where)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return the JPEG bytes of `image` (H, W, 3) uint8 RGB."""
    return _encode(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), quality)


def dataset_jpeg(picture: bytes | np.ndarray, size: int, where: str) -> tuple[bytes, np.ndarray]:
    """Return (JPEG bytes at (size, size), its RGB picture before encoding) of a camera's picture.

    A JPEG of that size is kept byte for byte. A larger one is decoded at the smallest of 1, 1/2,
    1/4 and 1/8 of its size that is not below `size`, then resized by area.

    Args:
        picture: JPEG or PNG bytes, or (H, W, 3) uint8 RGB.
        size: side of the dataset's pictures [px].
        where: names the picture's origin in messages.

    Raises:
        ContractError: there is no picture in it.
    """
    if isinstance(picture, np.ndarray):
        check_rgb(picture, where)
        small = resize_rgb(picture, size)
        return encode_jpeg(small, DATASET_JPEG_QUALITY), small
    shape = jpeg_shape(picture)
    fitting = [step for step in _REDUCED if shape and -(-min(shape) // step) >= size]
    flag = _REDUCED[fitting[0]] if fitting else cv2.IMREAD_COLOR
    whole = _decode(picture, flag, where)
    small = resize_rgb(whole, size)
    is_kept = small is whole and shape == (size, size)
    data = bytes(picture) if is_kept else _encode(small, DATASET_JPEG_QUALITY)
    return data, cv2.cvtColor(small, cv2.COLOR_BGR2RGB)


def dataset_picture(picture: bytes | np.ndarray, size: int, where: str) -> np.ndarray:
    """Return the picture (size, size, 3) uint8 RGB that a dataset would hold of this one.

    Raises:
        ContractError: there is no picture in it.
    """
    return decode_jpeg(dataset_jpeg(picture, size, where)[0], where)


def jpeg_shape(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) [px] from a JPEG's header, None where there is none."""
    at = 2
    if data[:2] != _JPEG_START:
        return None
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            shape = (
                int.from_bytes(data[at + 5 : at + 7], "big"),
                int.from_bytes(data[at + 7 : at + 9], "big"),
            )
            return shape if all(shape) else None
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decode(data: bytes, flag: int, where: str) -> np.ndarray:
    image = cv2.imdecode(np.frombuffer(data, np.uint8), flag) if len(data) else None
    if image is None:
        raise ContractError(
            f"image of {where} cannot be decoded ({len(data)} bytes); drop or record it again"
        )
    return image


def _encode(image_bgr: np.ndarray, quality: int) -> bytes:
    done, data = cv2.imencode(".jpg", image_bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()
