"""How far a conversion is: frames a second and the time left."""

import sys
from pathlib import Path

from tqdm import tqdm


class Progress:
    """A bar over all bags; the frames of bags not yet looked into are guessed from their bytes."""

    def __init__(self, bag_paths: list[Path]):
        self._bytes = {path: _size(path) for path in bag_paths}
        self._known_frames, self._known_bytes = 0, 0
        self._left = set(bag_paths)
        self._bar = tqdm(desc="convert", unit="frame", disable=None)
        self._count = len(bag_paths)

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *details: object) -> None:
        self._bar.close()

    def say(self, path: Path, what: str, number: int) -> None:
        """Take what a worker says of a bag, see `bag_shard.Say`."""
        if what == "frames":
            self._known_frames += number
            self._known_bytes += self._bytes[path]
            self._left.discard(path)
            self._guess()
        else:
            self._bar.update(number)

    def bag_done(self, path: Path) -> None:
        """Note that the bag is done, or was done before."""
        self._count -= 1
        self._left.discard(path)
        self._guess()
        self._bar.set_postfix_str(f"{self._count} bags left")

    def write(self, text: str) -> None:
        """Print a line above the bar."""
        self._bar.write(text, file=sys.stderr)

    def _guess(self) -> None:
        left = sum(self._bytes[path] for path in self._left)
        more = self._known_frames * left / self._known_bytes if self._known_bytes else 0
        self._bar.total = round(self._known_frames + more)
        self._bar.refresh()


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
