import cv2
import numpy as np
import pytest

from vla_ros.core.errors import CameraError
from vla_ros.nodes.video import VideoReader, open_video


class FakeCapture:
    """Gives the numbers of a list as images, then no more."""

    def __init__(self, values):
        self._values = list(values)
        self.released = False

    def read(self):
        if not self._values:
            return False, None
        return True, np.full((2, 2, 3), self._values.pop(0), np.uint8)

    def release(self):
        self.released = True


class Source:
    """Hands out captures, or raises what the list holds; stops the reader at the list's end."""

    def __init__(self, items):
        self._items = list(items)
        self.reader = None

    def __call__(self):
        if not self._items:
            self.reader._stopping.set()
            raise CameraError("the test is over")
        item = self._items.pop(0)
        if isinstance(item, Exception):
            raise item
        return item


def run_reader(items, **options):
    seen, reports, failures = [], [], []
    source = Source(items)
    reader = VideoReader(
        "the camera",
        source,
        lambda frame: seen.append(int(frame[0, 0, 0])),
        reports.append,
        failures.append,
        **{"wait_s": 0.0, **options},
    )
    source.reader = reader
    reader.run()  # in this thread: nothing to wait for
    return seen, reports, failures


def test_a_camera_that_breaks_is_reported_once_and_opened_again():
    gone = CameraError("the camera is absent")
    seen, reports, failures = run_reader([FakeCapture([1, 2]), gone, FakeCapture([3])])
    assert seen == [1, 2, 3]
    assert failures == []
    assert reports[:2] == [
        "the camera gives no more frames; trying to re-open it",
        "the camera is back",
    ]


def test_a_camera_absent_at_the_start_fails_with_its_sentence():
    seen, _, failures = run_reader([CameraError("camera source '7' is absent")])
    assert (seen, failures) == ([], ["camera source '7' is absent"])


def test_a_file_starts_again_at_its_end_without_a_report():
    captures = [FakeCapture([1]), FakeCapture([2])]
    seen, reports, failures = run_reader(captures, period_s=1e-6)
    assert (seen, failures) == ([1, 2], [])
    assert reports == ["the test is over"]
    assert captures[0].released


def test_a_file_that_shall_not_loop_ends():
    seen, reports, failures = run_reader([FakeCapture([1, 2])], period_s=1e-6, loop=False)
    assert (seen, reports, failures) == ([1, 2], [], [""])


@pytest.mark.parametrize("source", ["97", "/dev/video97", "/nowhere/film.mp4"])
def test_an_absent_source_is_refused_by_name(source):
    with pytest.raises(CameraError, match=f"camera source '{source}' is absent"):
        open_video(source, 640, 480, 30.0)


def test_a_file_that_is_no_video_is_refused(tmp_path):
    path = tmp_path / "film.mp4"
    path.write_text("not a film")
    with pytest.raises(CameraError, match="cannot be opened"):
        open_video(str(path), 640, 480, 30.0)


def test_a_video_file_gives_its_frames(tmp_path):
    path = str(tmp_path / "film.avi")
    writer = cv2.VideoWriter(path, cv2.VideoWriter.fourcc(*"MJPG"), 10.0, (32, 16))
    writer.write(np.full((16, 32, 3), 128, np.uint8))
    writer.release()
    capture = open_video(path, 640, 480, 30.0)
    ok, frame = capture.read()
    capture.release()
    assert ok
    assert frame.shape == (16, 32, 3)
