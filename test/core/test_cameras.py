import numpy as np

from vla_ros.core.cameras import scaled_intrinsics


def test_a_centred_camera_stays_centred_whatever_the_size():
    K = np.array([[400.0, 0, 319.5], [0, 420.0, 239.5], [0, 0, 1]])
    small = scaled_intrinsics(K, (640, 480), 128)
    # A fifth as wide, 4/15 as high; the centre of 128 pixels is at 63.5.
    np.testing.assert_allclose(small, [[80, 0, 63.5], [0, 112, 63.5], [0, 0, 1]])
