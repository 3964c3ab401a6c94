import numpy as np

from vla_ros.policy.heat_picture import overlay


def test_heat_colours_the_picture_where_it_is():
    picture = np.full((8, 8, 3), 100, np.uint8)
    heat = np.zeros((2, 2))
    heat[0, 1] = 2.0
    drawn = overlay(picture, heat, 2.0, 16)
    assert drawn[15, 0].tolist() == [100, 100, 100]
    assert drawn[0, 15, 0] > drawn[0, 15, 2]  # red
