"""Pictures between camera, dataset and model; the only such code, and free of torch.

A camera's picture goes through `dataset_jpeg` on its way into a dataset, and through
`dataset_picture`, the same bytes decoded, on its way into a policy that runs: what a policy sees
on the robot is what it has seen in training, to the bit.

JPEGs go through `simplejpeg`, which refuses what libjpeg only warns of: OpenCV makes a good-looking
picture of a JPEG with a hole in it. What is whole gives the same bits with both.
"""

import cv2
import numpy as np
import simplejpeg

from vla_ros.core.errors import ContractError, PictureError

# 224 px at this quality is within half a dB of lossless for a camera's own JPEG.
DATASET_JPEG_QUALITY = 95
_JPEG_START, _PNG_START = b"\xff\xd8", b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers: all of C0..CF but the tables C4 and CC and the extension C8.
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_REDUCED = (8, 4, 2)
# Far above any camera's: a header that says more would have gigabytes asked for.
_MAX_PIXELS = 1 << 26


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
        PictureError: the bytes are not a whole picture.
    """
    return _decode(data, 1, where)


def encode_jpeg(image: np.ndarray, quality: int) -> bytes:
    """Return the JPEG bytes of `image` (H, W, 3) uint8 RGB."""
    bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, quality])
    assert done
    return data.tobytes()


def dataset_jpeg(picture: bytes | np.ndarray, size: int, where: str) -> tuple[bytes, np.ndarray]:
    """Return (JPEG bytes at (size, size), its RGB picture before encoding) of a camera's picture.

    A JPEG of that size and in colour is kept byte for byte. A larger one is decoded at the smallest
    of 1, 1/2, 1/4 and 1/8 of its size that is not below `size`, then resized by area.

    Args:
        picture: JPEG or PNG bytes, or (H, W, 3) uint8 RGB.
        size: side of the dataset's pictures [px].
        where: names the picture's origin in messages.

    Raises:
        PictureError: there is no picture in it.
    """
    if isinstance(picture, np.ndarray):
        check_rgb(picture, where)
        small = resize_rgb(picture, size)
        return encode_jpeg(small, DATASET_JPEG_QUALITY), small
    shape = jpeg_shape(picture)
    fitting = [step for step in _REDUCED if shape and -(-min(shape) // step) >= size]
    small = resize_rgb(_decode(picture, fitting[0] if fitting else 1, where), size)
    # A grey one is made colour, as every picture of a dataset is.
    is_kept = _jpeg_frame(picture) == (size, size, 3)
    return bytes(picture) if is_kept else encode_jpeg(small, DATASET_JPEG_QUALITY), small


def dataset_picture(picture: bytes | np.ndarray, size: int, where: str) -> np.ndarray:
    """Return the picture (size, size, 3) uint8 RGB that a dataset would hold of this one.

    Raises:
        PictureError: there is no picture in it.
    """
    return decode_jpeg(dataset_jpeg(picture, size, where)[0], where)


def jpeg_shape(data: bytes) -> tuple[int, int] | None:
    """Return (height, width) [px] from a JPEG's header, None where there is none."""
    frame = _jpeg_frame(data)
    return None if frame is None else frame[:2]


def _jpeg_frame(data: bytes) -> tuple[int, int, int] | None:
    """Return (height, width, components) from a JPEG's header, None where there is none."""
    at = 2
    if data[:2] != _JPEG_START:
        return None
    while at + 9 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            height = int.from_bytes(data[at + 5 : at + 7], "big")
            width = int.from_bytes(data[at + 7 : at + 9], "big")
            components = int.from_bytes(data[at + 9 : at + 10], "big")
            return (height, width, components) if height and width else None
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _decode(data: bytes, step: int, where: str) -> np.ndarray:
    """Return the picture (H, W, 3) uint8 RGB, of a JPEG at 1/`step` of its size, rounded up."""
    shape = jpeg_shape(data)
    try:
        _check_size(data, shape)
        if shape is None:
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
        else:
            height, width = (-(-side // step) for side in shape)
            # An accurate DCT and full upsampling by default, as in OpenCV.
            image = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width)
    except (ValueError, MemoryError, cv2.error) as error:
        reason = "no picture" if isinstance(error, cv2.error) else str(error)
        raise _undecodable(data, where, reason) from None
    if image is None:
        raise _undecodable(data, where, "no picture")
    return image


def _check_size(data: bytes, shape: tuple[int, int] | None) -> None:
    """Raise ValueError for what says that it is larger than pictures are, and a JPEG that hides it.

    A PNG of 3 MB can hold a billion pixels of one colour.
    """
    if data.startswith(_JPEG_START) and shape is None:
        raise ValueError("no picture")
    if data.startswith(_PNG_START):
        shape = int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if shape is not None and shape[0] * shape[1] > _MAX_PIXELS:
        raise ValueError(f"its header says {shape[1]} x {shape[0]} pixels")


def _undecodable(data: bytes, where: str, reason: str) -> PictureError:
    return PictureError(
        f"image of {where} cannot be decoded ({len(data)} bytes: {reason}); have the camera send "
        "JPEG or PNG, or leave the recording out"
    )
