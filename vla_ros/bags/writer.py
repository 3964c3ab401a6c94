"""`rosbags`' MCAP writer, made to lose little when its process or the machine dies.

A chunk ends after 1 MiB, as `rosbags` has it, or when `flush` is called, and goes to the operating
system at once: what a SIGKILL costs is the open chunk. A thread asks the disk once a second to
write, so that a power cut costs about a second more, and a slow disk holds up no message.
"""

import os
import threading
from pathlib import Path
from typing import ClassVar

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.rosbag2.storage_mcap import McapWriter, zstd

SYNC_S = 1.0
# The fastest level, because pictures do not shrink; with a checksum, because after a power cut
# the end of a file may hold zeros.
_ZSTD = {
    zstd.CompressionParameter.compression_level: 1,
    zstd.CompressionParameter.checksum_flag: 1,
}


class _Storage(McapWriter):
    """`rosbags`' storage with checksums, and no chunk left in Python's buffer."""

    def __init__(self, path: Path, compression: CompressionMode):
        super().__init__(path, compression)
        self.compressor = lambda data: zstd.compress(data, options=_ZSTD)

    def close_chunk(self) -> None:
        super().close_chunk()
        self.bio.flush()


class Syncer:
    """Has a file written to the disk once a second, in a thread of its own.

    Args:
        descriptor: of the file, whoever writes it; it may be closed when this returns.
    """

    def __init__(self, descriptor: int):
        self._descriptor = os.dup(descriptor)
        self._stop = threading.Event()
        self.error: OSError | None = None
        self._thread = threading.Thread(target=self._run, name="bag_sync", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(SYNC_S):
            try:
                os.fdatasync(self._descriptor)
            except OSError as error:
                self.error = error
                return

    def close(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()
        os.close(self._descriptor)


class ChunkedWriter(Writer):
    """`rosbags`' writer of rosbag2 folders, version 9, MCAP with compressed chunks.

    Args:
        path: the bag's folder, which must not exist.
    """

    STORAGE_PLUGINS: ClassVar = {StoragePlugin.MCAP: _Storage}

    def __init__(self, path: Path):
        super().__init__(path, version=9, storage_plugin=StoragePlugin.MCAP)
        self.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
        self._syncer: Syncer | None = None

    def open(self) -> None:
        """Open for writing; raises OSError."""
        super().open()
        self._syncer = Syncer(self.storage.bio.fileno())

    def flush(self) -> None:
        """End the chunk that is open, if it holds messages.

        Raises:
            OSError: the disk refused it, now or when it last was to be written.
        """
        if self._syncer.error is not None:
            raise self._syncer.error
        if self.storage.chunk.msgs:
            self.storage.close_chunk()

    @property
    def size_bytes(self) -> int:
        """What is in the file so far, without the chunk that is open."""
        return os.fstat(self.storage.bio.fileno()).st_size if self.storage else 0

    def close(self) -> None:
        """Write index and metadata; raises OSError."""
        self._end_sync()
        super().close()

    def abort(self) -> None:
        """Close without index and metadata; raises OSError."""
        self._end_sync()
        super().abort()

    def _end_sync(self) -> None:
        syncer, self._syncer = self._syncer, None
        if syncer is not None:
            syncer.close()
