"""A roll-out as a strip of pictures, with what came of it above."""

from pathlib import Path

import cv2
import numpy as np

from vla_ros.core.errors import EpisodeError
from vla_ros.policy.pictures import decode_jpeg

FRAMES = 8
_BAR_PX, _GAP_PX = 18, 2
_FONT = cv2.FONT_HERSHEY_SIMPLEX


def outcome_word(record: dict) -> str:
    """Return what came of a trial in one word."""
    return "success" if record["success"] else "partial" if record["partial"] else "failure"


def write_strip(folder: Path, record: dict, frames: list[bytes]) -> Path:
    """Write the strip of a trial as a PNG; return its path.

    Raises:
        EpisodeError: there is no picture, or it cannot be written.
    """
    word = outcome_word(record)
    name = record["cell"].replace("/", "-").replace(" ", "_")
    path = folder / f"{name}-{record['trial']:03d}-{word}.png"
    ends = "" if record["success"] else f", {record['outcome'].lower().replace('_', ' ')}"
    caption = f"{word}{ends}: {', '.join(record['sentences'])} ({record['duration_s']:.1f} s)"
    picture = strip(frames, caption)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path.write_bytes(cv2.imencode(".png", picture)[1].tobytes())
    except OSError as error:
        raise EpisodeError(f"{path}: {error.strerror}; give another --film") from None
    return path


def strip(frames: list[bytes], caption: str) -> np.ndarray:
    """Return (H, W, 3) uint8 BGR: pictures evenly spread over JPEGs, the first and the last too.

    Raises:
        EpisodeError: there is none.
    """
    if not frames:
        raise EpisodeError("a roll-out without pictures has no film strip; give it more time")
    rows = np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)
    pictures = [decode_jpeg(frames[row], "a roll-out's picture")[:, :, ::-1] for row in rows]
    gap = np.full((pictures[0].shape[0], _GAP_PX, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (picture, gap)][:-1]
    film = np.concatenate(parts, axis=1)
    bar = np.full((_BAR_PX, film.shape[1], 3), 255, np.uint8)
    cv2.putText(bar, caption, (4, 13), _FONT, 0.4, (0, 0, 0), 1, cv2.LINE_AA)
    return np.concatenate([bar, film])
