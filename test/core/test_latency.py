import pytest

from vla_ros.core.errors import ContractError
from vla_ros.core.latency import LatencyEstimate


def test_assumed_until_something_is_known():
    assert LatencyEstimate(assumed_s=0.3).value_s == 0.3


def test_the_warm_up_is_not_counted():
    estimate = LatencyEstimate(warm_up=1)
    for latency_s in (0.7, 0.1, 0.1):
        estimate.add(latency_s)
    assert estimate.value_s == 0.1
    estimate.restart()
    estimate.add(0.7)
    assert estimate.value_s == 0.1


def test_one_slow_inference_of_many_changes_nothing():
    estimate = LatencyEstimate(warm_up=0, window=50, quantile=0.9)
    for latency_s in (*[0.1] * 30, 2.0, *[0.1] * 10):
        estimate.add(latency_s)
    assert estimate.value_s == 0.1


def test_it_follows_what_lasts_and_is_cautious():
    estimate = LatencyEstimate(warm_up=0, window=10, quantile=0.9)
    for latency_s in [0.1] * 10 + [0.2, 0.3]:
        estimate.add(latency_s)
    # The 10 last: 8 x 0.1, 0.2, 0.3; at 0.9 of the way from first to last lies 0.2 to 0.3.
    assert estimate.value_s == 0.3


@pytest.mark.parametrize("wrong", [-0.1, float("nan"), float("inf")])
def test_what_is_no_time_is_refused(wrong):
    with pytest.raises(ContractError, match="same clock"):
        LatencyEstimate().add(wrong)
