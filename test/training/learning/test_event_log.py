import struct

import numpy as np

from training.learning.event_log import EventLog, prediction_picture


def records(folder):
    """Return the records of the one event file: length, its CRC, bytes, their CRC."""
    (file,) = folder.iterdir()
    data, found = file.read_bytes(), []
    while data:
        (length,) = struct.unpack("<Q", data[:8])
        found.append(data[12 : 12 + length])
        data = data[16 + length :]
    return found


def test_curves_and_pictures_are_in_the_event_file(tmp_path):
    result = {"loss": 0.5, "gradient_norm": 2.0, "scalars": {"accuracy": 0.25}}
    with EventLog(tmp_path) as log:
        log.step(7, result, rate=1e-3, steps_per_s=4.0)
        log.picture(7, "samples", np.zeros((4, 6, 3), np.uint8))
    found = records(tmp_path)
    for name, value in (("accuracy", 0.25), ("loss", 0.5), ("gradient_norm", 2.0)):
        (record,) = [r for r in found if b"train/" + name.encode() in r]
        assert struct.pack("<f", value) in record
    assert any(b"train/steps_per_s" in record for record in found)
    (picture,) = [record for record in found if b"\x89PNG" in record]
    assert b"samples" in picture


def test_bars_show_true_above_guess():
    images = [np.full((2, 40, 40, 3), 255, np.uint8)]
    shown = prediction_picture(images, np.array([[0.5, 0.0]]), np.array([[-1.0, np.nan]]))
    assert shown.shape == (40 + 2 * 2 * 7, 80, 3)
    assert np.all(shown[:40] == 255)
    assert np.all(shown[43, :40] == (90, 200, 90))  # the true one, to the left edge
    assert np.all(shown[50, 40:59] == (230, 120, 60))  # the guess, half way to the right
    assert np.all(shown[50, 62:] == (24, 24, 24))
