"""Each camera's pictures are read as frames need them, and handed out in the frames' order."""

import numpy as np
import pytest

from training.datasets import picture_pass
from training.datasets.frames import Segment
from training.datasets.picture_pass import PicturePass, last_uses
from vla_ros.policy.pictures import decode_jpeg, encode_jpeg


def jpeg(grey):
    return encode_jpeg(np.full((8, 8, 3), grey, np.uint8), 95)


def segment(front, wrist):
    count = len(front)
    return Segment(np.arange(count), {"front": front, "wrist": wrist}, {}, np.zeros(count))


def test_a_picture_is_last_shown_in_its_last_frame_over_all_segments():
    uses = last_uses([segment([0, 0, 1], [5, 6, 6]), segment([1, 2], [7, 8])])
    assert uses == {
        ("front", 0): 1,
        ("front", 1): 3,
        ("front", 2): 4,
        ("wrist", 5): 0,
        ("wrist", 6): 2,
        ("wrist", 7): 3,
        ("wrist", 8): 4,
    }


@pytest.mark.parametrize("decoded", [64, 0])
def test_each_frame_gets_its_pictures_of_all_cameras(monkeypatch, decoded):
    monkeypatch.setattr(picture_pass, "MAX_DECODED", decoded)
    order = {
        "front": [(0, jpeg(10)), (1, jpeg(20)), (2, jpeg(30))],
        "wrist": [(0, jpeg(40)), (1, jpeg(50))],
    }
    uses = last_uses([segment([0, 1, 2], [0, 1, 1])])
    shown = PicturePass(order, uses, 8, "bag")
    seen = [
        [round(picture.mean()) for _, picture in shown.of_frame(frame, places)]
        for frame, places in enumerate(
            [[("front", f), ("wrist", w)] for f, w in [(0, 0), (1, 1), (2, 1)]]
        )
    ]
    assert seen == [[10, 40], [20, 50], [30, 50]]


def test_what_is_shown_no_more_is_forgotten():
    uses = last_uses([segment([0, 1], [0, 1])])
    read = {name: ((n, jpeg(9)) for n in range(2)) for name in ("front", "wrist")}
    shown = PicturePass(read, uses, 8, "bag")
    for frame in range(2):
        shown.of_frame(frame, [("front", frame), ("wrist", frame)])
        assert shown._jpegs == {}
        assert shown._decoded == {}


def test_no_camera_is_read_ahead_of_the_frames():
    # As in a bag that was written topic after topic: all of one camera before the other's first.
    uses = last_uses([segment([0, 1, 2], [0, 1, 2])])
    read = []

    def pictures(name):
        for number in range(3):
            read.append((name, number))
            yield number, jpeg(9)

    shown = PicturePass({name: pictures(name) for name in ("front", "wrist")}, uses, 8, "bag")
    shown.of_frame(0, [("front", 0), ("wrist", 0)])
    assert read == [("front", 0), ("wrist", 0)]


def test_a_broken_or_absent_picture_is_none_and_spares_its_neighbours():
    uses = last_uses([segment([0, 1, 2], [0, 0, 0])])
    order = {"front": [(0, jpeg(1)), (1, b"\xff\xd8 broken")], "wrist": [(0, jpeg(2))]}
    shown = PicturePass(order, uses, 8, "bag")
    found = [shown.of_frame(n, [("front", n), ("wrist", 0)]) for n in range(3)]
    assert [one is None for one in found] == [False, True, True]


def test_a_raw_picture_becomes_a_jpeg_of_the_datasets_size():
    uses = last_uses([segment([0], [0])])
    raw = np.full((6, 9, 3), 77, np.uint8)
    shown = PicturePass({"front": [(0, raw)], "wrist": [(0, jpeg(2))]}, uses, 4, "bag")
    (data, picture), _ = shown.of_frame(0, [("front", 0), ("wrist", 0)])
    assert picture.shape == (4, 4, 3)
    assert np.abs(decode_jpeg(data, "") - 77.0).max() <= 1
