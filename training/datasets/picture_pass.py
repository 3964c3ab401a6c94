"""The pictures that frames show: each read once, handed out in the frames' order."""

from collections.abc import Iterable, Iterator, Mapping

import numpy as np

from training.datasets.frames import Segment
from vla_ros.core.errors import ContractError
from vla_ros.policy.pictures import dataset_jpeg, decode_jpeg

# Decoded pictures that may wait for those of other cameras; more are kept as JPEG only.
MAX_DECODED = 64

Place = tuple[str, int]


class PicturePass:
    """Pictures at dataset size.

    Args:
        pictures: by camera (place, JPEG or PNG bytes or RGB array) of all wanted places, each
            once, about in the order in which frames show them.
        last_use: the last frame that shows each of them; they are forgotten after it.
        size: side of the dataset's pictures [px].
        where: names the bag in messages.
    """

    def __init__(
        self,
        pictures: Mapping[str, Iterable[tuple[int, bytes | np.ndarray]]],
        last_use: dict[Place, int],
        size: int,
        where: str,
    ):
        self._read: dict[str, Iterator] = {name: iter(some) for name, some in pictures.items()}
        self._last_use, self._size, self._where = last_use, size, where
        self._jpegs: dict[Place, bytes | None] = {}
        self._decoded: dict[Place, np.ndarray] = {}

    def of_frame(self, frame: int, places: list[Place]) -> list[tuple[bytes, np.ndarray]] | None:
        """Return (JPEG, RGB picture) of each place that `frame` shows; frames come in order.

        None where one of them is no picture, or is not in the bag after all.
        """
        found = [self._picture(place) for place in places]
        for place in places:
            if self._last_use[place] == frame:
                self._jpegs.pop(place, None)
                self._decoded.pop(place, None)
        pictures = [one for one in found if one is not None]
        return pictures if len(pictures) == len(places) else None

    def _picture(self, place: Place) -> tuple[bytes, np.ndarray] | None:
        while place not in self._jpegs and self._read_one(place[0]):
            pass
        jpeg = self._jpegs.get(place)
        if jpeg is None:
            return None
        picture = self._decoded.get(place)
        return jpeg, decode_jpeg(jpeg, self._where) if picture is None else picture

    def _read_one(self, camera: str) -> bool:
        for number, data in self._read[camera]:
            place = camera, number
            try:
                self._jpegs[place], picture = dataset_jpeg(data, self._size, self._where)
            except ContractError:
                self._jpegs[place] = None
                return True
            if len(self._decoded) < MAX_DECODED:
                self._decoded[place] = picture
            return True
        return False


def last_uses(segments: list[Segment]) -> dict[Place, int]:
    """Return the last frame, counted over all segments, that shows each place."""
    uses: dict[Place, int] = {}
    first = 0
    for segment in segments:
        for camera, places in segment.images.items():
            uses.update(((camera, place), first + at) for at, place in enumerate(places))
        first += len(segment)
    return uses
