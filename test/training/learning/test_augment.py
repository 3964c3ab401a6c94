import numpy as np

from training.learning.augment import draw_shifts, shift_images


def test_both_pictures_of_a_sample_shift_alike_and_edges_repeat():
    ramp = np.broadcast_to(np.arange(8, dtype=np.uint8)[None, :, None], (8, 8, 3))
    images = np.stack([np.stack([ramp, ramp + 100])] * 6)
    shifted = shift_images(images, draw_shifts(np.random.default_rng(0), 6, 3), 3)
    assert (shifted[:, 1] == shifted[:, 0] + 100).all()
    offsets = shifted[:, 0, 0, 4, 0].astype(int) - 4
    assert set(np.abs(offsets)) <= {0, 1, 2, 3}
    assert len(set(offsets)) > 1
    for sample, offset in zip(shifted[:, 0, 0, :, 0].astype(int), offsets, strict=True):
        assert sample.tolist() == np.clip(np.arange(8) + offset, 0, 7).tolist()


def test_no_shift_returns_the_pictures_themselves():
    images = np.zeros((1, 1, 4, 4, 3), np.uint8)
    assert shift_images(images, np.zeros((1, 2), int), 0) is images
