"""A bag's folder: its files in order, serialised messages by topic, and what of them is lost."""

import errno
import hashlib
import re
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator
from concurrent.futures import Executor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import yaml

from training.recordings.bag_files import BagFile, Raw, expand, open_file
from vla_ros.core.errors import BagError

METADATA = "metadata.yaml"
STORAGE = (".mcap", ".db3", ".mcap.zstd", ".db3.zstd")


class UnreadableBagError(BagError):
    """A bag cannot be read now, which says nothing of what it holds: another time it may."""


class BagFolder:
    """A bag's files as one, open for reading; use it in a `with` statement.

    Args:
        path: the folder.
        scratch_in: where to unpack what is compressed by file, and to copy a database that was
            never closed; None: the system's folder for temporary files.
    """

    def __init__(self, path: Path, scratch_in: Path | None = None):
        self.path = Path(path)
        self._scratch_in, self._made_scratch = scratch_in, ""
        self._paths: list[Path] = []
        self._files: list[BagFile] = []
        self._lost: list[str] = []
        self._metadata: dict = {}
        self._stack = ExitStack()

    def __enter__(self):
        """Open the bag; raises BagError if that fails, UnreadableBagError if the system refuses."""
        try:
            self._open()
        except OSError as error:
            self._stack.close()
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise UnreadableBagError(
                    f"bag {self.path} cannot be unpacked ({error.strerror}: {self._made_scratch}); "
                    "free space there, then run the same command again"
                ) from None
            where = f": {error.filename}" if error.filename else ""
            raise UnreadableBagError(
                f"bag {self.path} cannot be opened ({error.strerror or error}{where}); give access "
                "to it, or leave it out"
            ) from None
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *details: object) -> None:
        self._stack.close()

    def _open(self) -> None:
        self._metadata = self._read_metadata()
        self._paths = self._storage_files()
        for path in self._paths:
            broken = None
            if path.suffix == ".zstd":
                path, broken = expand(path, self._scratch())
            try:
                file = open_file(path, self._scratch)
            except (ValueError, sqlite3.Error) as error:
                self._lost.append(broken or f"{path.name} cannot be read ({error})")
                continue
            self._lost += [broken] if broken else []
            self._stack.callback(file.close)
            self._files.append(file)
        if not self._files:
            raise BagError(
                f"bag {self.path} cannot be opened ({'; '.join(self._lost) or 'it has no file'}); "
                "leave it out, or record it again"
            )
        formats = set().union(*(file.formats for file in self._files)) - {"cdr", ""}
        if formats:
            raise BagError(
                f"bag {self.path} holds messages of the format {', '.join(sorted(formats))}, not "
                "cdr: convert it to a ROS 2 bag, or leave it out"
            )

    def _scratch(self) -> Path:
        """Return a folder for copies, that goes when the bag is closed; most bags need none."""
        if not self._made_scratch:
            # Named as what a killed conversion leaves in its folder of shards.
            made = TemporaryDirectory(prefix=".bag-", suffix=".tmp", dir=self._scratch_in)
            self._made_scratch = self._stack.enter_context(made)
        return Path(self._made_scratch)

    def _storage_files(self) -> list[Path]:
        """Return the files in the order of the recording."""
        there = [path for path in self.path.iterdir() if path.name.endswith(STORAGE)]
        there.sort(key=lambda path: [int(p) if p.isdigit() else p for p in _digits(path.name)])
        names = [Path(str(name)).name for name in self._metadata.get("relative_file_paths") or []]
        missing = [name for name in names if not (self.path / name).exists()]
        if missing:
            self._lost.append(f"{', '.join(missing)} of its files are missing")
        # What is there and not listed is kept too: a listing that was cut off is no reason.
        order = {name: place for place, name in enumerate(names)}
        return sorted(there, key=lambda path: order.get(path.name, len(order)))

    def _read_metadata(self) -> dict:
        """Return the content of metadata.yaml; empty, and noted, where there is none to read."""
        try:
            data = yaml.safe_load((self.path / METADATA).read_text())
            return dict(data["rosbag2_bagfile_information"])
        except FileNotFoundError:
            note = f"{METADATA} is missing"
        except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError):
            note = f"{METADATA} cannot be read"
        self._lost.append(note)
        return {}

    @property
    def lost(self) -> list[str]:
        """What is missing or could not be read so far, a clause each."""
        return [*self._lost, *(clause for file in self._files for clause in file.lost())]

    @property
    def facts(self) -> dict[str, str]:
        """What the recorder wrote into metadata.yaml beside the messages (custom_data)."""
        custom = self._metadata.get("custom_data")
        return {str(k): str(v) for k, v in custom.items()} if isinstance(custom, dict) else {}

    @property
    def listed_counts(self) -> dict[str, int]:
        """How many messages metadata.yaml says each topic has; empty without it."""
        try:
            rows = self._metadata.get("topics_with_message_count") or []
            return {row["topic_metadata"]["name"]: int(row["message_count"]) for row in rows}
        except (KeyError, TypeError, ValueError):
            return {}

    @property
    def counts(self) -> Counter[str]:
        """How many messages each topic has, as far as the files tell without being read."""
        return sum((file.counts for file in self._files), Counter())

    @property
    def types(self) -> dict[str, str]:
        """The type of each topic, several where they differ."""
        found: dict[str, set[str]] = {}
        for file in self._files:
            for topic, types in file.types.items():
                found.setdefault(topic, set()).update(types)
        return {topic: ", ".join(sorted(types)) for topic, types in found.items()}

    def sha256(self) -> str:
        """Return the hash of the bag's content: its files of messages, in order.

        Raises:
            UnreadableBagError: the disk cannot be read.
        """
        digest = hashlib.sha256()
        try:
            for path in self._paths:
                digest.update(path.stat().st_size.to_bytes(8, "little"))
                with path.open("rb") as file:
                    while block := file.read(1 << 20):
                        digest.update(block)
        except OSError as error:
            raise self._unreadable(error) from None
        return digest.hexdigest()

    @property
    def topics(self) -> set[str]:
        """Names of the topics that have messages."""
        return {topic for file in self._files for topic, count in file.counts.items() if count}

    def require_topics(self, *names: str) -> None:
        """Raise BagError unless each named topic has messages; lists those that have."""
        missing = [name for name in names if name not in self.topics]
        if missing:
            raise BagError(
                f"bag {self.path} has no message on {', '.join(missing)}; it has "
                f"{', '.join(sorted(self.topics)) or 'none at all'}: leave it out, or record with "
                "these topics running"
            )

    def message_type(self, topic: str, *wanted: str) -> str:
        """Return the topic's type, the first wanted where there is no such topic.

        Raises:
            BagError: it is none of those wanted.
        """
        types = set().union(*(file.types.get(topic, set()) for file in self._files))
        wrong = sorted(types - set(wanted))
        if wrong or len(types) > 1:
            raise BagError(
                f"{topic} in bag {self.path} must be {' or '.join(wanted)}, got "
                f"{', '.join(wrong or sorted(types))}; leave this bag out"
            )
        return next(iter(types), wanted[0])

    def read(
        self,
        topics: Collection[str],
        heads: Collection[str] = (),
        pool: Executor | None = None,
    ) -> Iterator[tuple[int, Raw]]:
        """Yield (number of the file, message) of `topics` in the order of the recording.

        Args:
            topics: whose messages to read, `heads` among them.
            heads: topics of which the first bytes of a message, with its stamp, will do.
            pool: threads that may unpack what comes next.

        Raises:
            UnreadableBagError: the disk cannot be read.
        """
        try:
            for number, file in enumerate(self._files):
                for raw in file.scan(topics, heads, pool):
                    yield number, raw
        except OSError as error:
            raise self._unreadable(error) from None

    def fetch(self, places: np.ndarray) -> Iterator[tuple[int, bytes | memoryview]]:
        """Yield (row, serialised message) of places (N, 3) in one pass over the files.

        Args:
            places: number of the file, place and at of each message, see `read`.

        Raises:
            UnreadableBagError: the disk cannot be read.
            BagError: a message is not what it was.
        """
        order = np.lexsort(places.T[::-1])
        try:
            for number, file in enumerate(self._files):
                rows = [int(row) for row in order if places[row, 0] == number]
                found = file.fetch([(int(places[row, 1]), int(places[row, 2])) for row in rows])
                yield from zip(rows, found, strict=True)
        except OSError as error:
            raise self._unreadable(error) from None
        except (ValueError, sqlite3.Error) as error:
            raise self.damaged("a message", error) from None

    def damaged(self, topic: str, error: Exception) -> BagError:
        """Return the error for a message that is not what its type says."""
        return BagError(
            f"{topic} in bag {self.path} cannot be read ({error}); the bag is damaged: leave it "
            "out, or record it again"
        )

    def _unreadable(self, error: OSError) -> UnreadableBagError:
        return UnreadableBagError(
            f"bag {self.path} cannot be read ({error.strerror or error}): check the disk, or leave "
            "it out"
        )


def _digits(name: str) -> list[str]:
    return re.split(r"(\d+)", name)
