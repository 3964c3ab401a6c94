import numpy as np
import pytest

from vla_ros.core.errors import CheckpointError, DatasetError
from vla_ros.policy.normalize import MIN_SPAN, Normalizer


@pytest.fixture
def normalizer():
    return Normalizer(low=[-0.1, 0, 0, -1, -1, -1], high=[0.1, 0.2, 0.4, 1, 1, 3])


def test_quantile_bounds_become_minus_one_and_one(normalizer):
    actions = np.array([[-0.1, 0, 0, -1, -1, -1, 0], [0.1, 0.2, 0.4, 1, 1, 3, 1]])
    expected = [[-1, -1, -1, -1, -1, -1, 0], [1, 1, 1, 1, 1, 1, 1]]
    np.testing.assert_allclose(normalizer.apply(actions), expected, atol=1e-6)


def test_inverse_undoes_apply_inside_the_bounds(normalizer):
    actions = np.array([[0.05, 0.1, 0.3, 0.5, -0.25, 2.0, 1.0]], np.float32)
    np.testing.assert_allclose(normalizer.invert(normalizer.apply(actions)), actions, atol=1e-6)


def test_beyond_the_bounds_is_clipped_both_ways(normalizer):
    assert normalizer.apply(np.full(7, 9.0)).tolist() == [1, 1, 1, 1, 1, 1, 9]
    inverted = normalizer.invert(np.array([-5, 5, 5, 5, 5, 5, 1.5]))
    np.testing.assert_allclose(inverted, [-0.1, 0.2, 0.4, 1, 1, 3, 1], atol=1e-6)


def test_the_gripper_is_untouched(normalizer):
    assert normalizer.apply(np.array([0, 0, 0, 0, 0, 0, 0.3]))[6] == np.float32(0.3)


def test_arguments_are_not_changed(normalizer):
    actions = np.full((2, 7), 9.0, np.float32)
    normalizer.apply(actions)
    normalizer.invert(actions)
    assert (actions == 9.0).all()


def test_fit_takes_the_one_percent_quantiles():
    # 0 to 1 in steps of 0.01: the 1 % quantile is 0.01, the 99 % one is 0.99.
    column = np.linspace(0, 1, 101)
    fitted = Normalizer.fit(np.stack([column] * 7, axis=1))
    np.testing.assert_allclose(fitted.low, 0.01)
    np.testing.assert_allclose(fitted.high, 0.99)


def test_a_dimension_that_does_not_move_keeps_a_least_span():
    fitted = Normalizer.fit(np.full((5, 7), 0.5))
    np.testing.assert_allclose(fitted.high - fitted.low, MIN_SPAN)
    assert fitted.apply(np.full(7, 0.5))[:6].tolist() == pytest.approx([0] * 6, abs=1e-5)


def test_json_round_trip(normalizer):
    again = Normalizer.from_dict(normalizer.to_dict())
    assert again.low.tolist() == normalizer.low.tolist()
    assert again.high.tolist() == normalizer.high.tolist()


def test_refuses_nothing_to_fit_on():
    with pytest.raises(DatasetError, match="no action to fit"):
        Normalizer.fit(np.empty((0, 7)))


@pytest.mark.parametrize(
    ("data", "match"),
    [
        ({"low": [0] * 6}, "exactly low and high"),
        ({"low": [0] * 5, "high": [1] * 5}, "6 finite numbers"),
        ({"low": [0] * 6, "high": [float("nan")] * 6}, "6 finite numbers"),
        ({"low": [1] * 6, "high": [1] * 6}, "above its low"),
    ],
)
def test_refuses_broken_bounds(data, match):
    with pytest.raises(CheckpointError, match=match):
        Normalizer.from_dict(data)
