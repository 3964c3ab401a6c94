"""Frames of a USB camera or a video file, read in a thread that survives stalls. No ROS."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from vla_ros.core.errors import CameraError

_FIRST_RETRY_S = 0.25
_LAST_RETRY_S = 8.0


class VideoReader(threading.Thread):
    """Reads frames until `stop`, re-opening what broke with growing pauses.

    Args:
        name: what to call the source in sentences.
        open_capture: returns an opened object with `read() -> (bool, BGR image)` and `release()`,
            or raises CameraError.
        on_frame: called in this thread with each BGR frame (H, W, 3) uint8, right after capture.
        report: called with one sentence when the source breaks and when it is back.
        fail: called with one sentence when the source never opened, or ended for good.
        wait_s: how long the source may be absent at the start [s].
        period_s: time between frames of a file [s]; 0 for a camera, which sets the pace itself.
        loop: whether a file starts again at its end.

    Attributes:
        reopened: how often a source that had broken came back.
    """

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], object],
        on_frame: Callable[[np.ndarray], None],
        report: Callable[[str], None],
        fail: Callable[[str], None],
        wait_s: float,
        period_s: float = 0.0,
        loop: bool = True,
    ):
        super().__init__(name="video reader", daemon=True)
        self._source = name
        self._open_capture = open_capture
        self._on_frame = on_frame
        self._report = report
        self._fail = fail
        self._wait_s = wait_s
        self._period_s = period_s
        self._loop = loop
        self._stopping = threading.Event()
        self._broken = ""
        self.reopened = 0

    def stop(self) -> None:
        """End the thread and wait for it, at most 2 s (a driver may hang in a read)."""
        self._stopping.set()
        if self.is_alive():
            self.join(timeout=2.0)

    def run(self) -> None:
        """Read until stopped, ended or failed; the thread's body."""
        capture = self._open(time.monotonic() + self._wait_s)
        while capture is not None:
            frames = self._read_all(capture)
            capture.release()
            if self._stopping.is_set():
                return
            is_file = self._period_s > 0
            if is_file and frames and not self._loop:
                self._fail("")
                return
            if not (is_file and frames):
                self._report_once(f"{self._source} gives no more frames; trying to re-open it")
            capture = self._open(None)

    def _open(self, deadline: float | None):
        """Return a capture; None once stopped, or after `deadline` [monotonic s]."""
        pause_s = _FIRST_RETRY_S if deadline is not None or self._broken else 0.0
        if deadline is not None:
            pause_s = 0.0
        while not self._stopping.wait(pause_s):
            try:
                return self._open_capture()
            except CameraError as error:
                if deadline is not None and time.monotonic() >= deadline:
                    self._fail(str(error))
                    return None
                self._report_once(str(error))
            pause_s = min(max(2 * pause_s, _FIRST_RETRY_S), _LAST_RETRY_S)
            if deadline is not None:
                pause_s = max(min(pause_s, deadline - time.monotonic()), 0.0)
        return None

    def _read_all(self, capture) -> int:
        """Hand on frames until the source stops giving them; return how many there were."""
        frames = 0
        due = time.monotonic()
        while not self._stopping.is_set():
            ok, frame = capture.read()
            if not ok:
                return frames
            frames += 1
            if self._broken:
                self._broken = ""
                self.reopened += 1
                self._report(f"{self._source} is back")
            self._on_frame(frame)
            if self._period_s > 0:
                due += self._period_s
                self._stopping.wait(max(0.0, due - time.monotonic()))
        return frames

    def _report_once(self, sentence: str) -> None:
        if not self._broken:
            self._report(sentence)
        self._broken = sentence


def open_video(source: str, width: int, height: int, rate_hz: float):
    """Return a capture of a camera (index or /dev path) or of a video file.

    A camera is asked for the size and rate; it may answer with others. A file is read as it is.

    Raises:
        CameraError: there is no such camera or file, or it cannot be opened.
    """
    is_camera = source.isdigit() or source.startswith("/dev/")
    device = Path(f"/dev/video{source}" if source.isdigit() else source)
    if not device.exists():
        raise CameraError(
            f"camera source {source!r} is absent: {device} does not exist; plug the camera in, or "
            "set source to sim, a V4L2 index or path, or a video file"
        )
    if not is_camera:
        capture = cv2.VideoCapture(str(device))
    else:
        capture = cv2.VideoCapture(str(device), cv2.CAP_V4L2)
        # Compressed on the wire: USB 2 has no room for 640x480 RGB at 30 Hz twice.
        capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, width)
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, height)
        capture.set(cv2.CAP_PROP_FPS, rate_hz)
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
    if not capture.isOpened():
        capture.release()
        raise CameraError(
            f"camera source {source!r} cannot be opened: no video OpenCV can read, in use by "
            "another program, or no permission (add the user to group video)"
        )
    return capture


def is_video_file(source: str) -> bool:
    """Return whether `source` names a file, not a camera."""
    return not source.isdigit() and not source.startswith("/dev/")
