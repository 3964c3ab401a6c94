"""Heat over pictures: one frame as a PNG, an episode as a film.

Legend: V pictures of a frame, S side of a picture, h x w cells of heat.
"""

import io
from collections.abc import Iterator, Sequence

import cv2
import numpy as np
from matplotlib.figure import Figure

from vla_ros.policy.heat_picture import overlay

FILM_SIDE_PX = 320
_CAPTION_PX = 48


def page(
    pictures: np.ndarray, heat: np.ndarray, names: Sequence[str], title: str, caption: str
) -> bytes:
    """Return a PNG: pictures (V, S, S, 3) above, below them with heat (V, h, w); hottest is red."""
    views = len(pictures)
    figure = Figure(figsize=(max(5.0, 3.1 * views), 7.0), dpi=100, layout="constrained")
    fields = figure.subplots(2, views, squeeze=False)
    for column, (picture, cells, name) in enumerate(zip(pictures, heat, names, strict=True)):
        above, below = fields[:, column]
        above.imshow(picture)
        above.set_title(name, fontsize=10)
        below.imshow(overlay(picture, cells, float(heat.max()), 4 * len(picture)))
        for field in (above, below):
            field.set_axis_off()
    figure.suptitle(title, fontsize=11)
    figure.supxlabel(caption, fontsize=9)
    target = io.BytesIO()
    figure.savefig(target, format="png")
    return target.getvalue()


def film(pictures: np.ndarray, heat: np.ndarray, captions: Sequence[str]) -> Iterator[np.ndarray]:
    """Yield a picture (H, W, 3) uint8 RGB a frame: views with heat side by side, and its caption.

    Args:
        pictures: (N, V, S, S, 3) uint8 RGB.
        heat: (N, V, h, w); red is the 99.5 % quantile of all of it, so that frames compare.
        captions: N.
    """
    hottest = float(np.quantile(heat, 0.995))
    for views, cells, caption in zip(pictures, heat, captions, strict=True):
        drawn = [
            overlay(picture, one, hottest, FILM_SIDE_PX)
            for picture, one in zip(views, cells, strict=True)
        ]
        row = np.concatenate(drawn, axis=1)
        foot = np.zeros((_CAPTION_PX, row.shape[1], 3), np.uint8)
        font = cv2.FONT_HERSHEY_SIMPLEX
        for line, text in enumerate(caption.split("\n")):
            cv2.putText(foot, text, (6, 18 + 20 * line), font, 0.42, (255,) * 3, 1, cv2.LINE_AA)
        yield np.concatenate([row, foot])
