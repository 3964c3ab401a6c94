import tracemalloc

import numpy as np

from training.datasets.dataset_stats import vector_stats


def test_statistics_are_those_of_each_axis_in_their_order():
    stats = vector_stats(np.array([[1, 10], [2, 30], [3, 20], [6, 40]], np.float32))
    assert list(stats) == ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]
    assert stats["min"].tolist() == [1, 10]
    assert stats["max"].tolist() == [6, 40]
    assert stats["mean"].tolist() == [3, 25]
    np.testing.assert_allclose(stats["std"], [np.sqrt(3.5), np.sqrt(125)])
    np.testing.assert_allclose(stats["q50"], [2.5, 25])
    np.testing.assert_allclose(stats["q10"], [1.3, 13])
    assert stats["count"].tolist() == [4]


def test_one_column_is_one_axis():
    assert vector_stats(np.array([0, 2]))["mean"].tolist() == [1]


def test_memory_is_that_of_one_axis():
    values = np.random.default_rng(0).normal(size=(20_000, 7)).astype(np.float32)
    kept = values.copy()
    tracemalloc.start()
    vector_stats(values)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Float64 copies of an axis, 8 bytes a row each; of all seven they would be 56.
    assert peak < 40 * len(values)
    np.testing.assert_array_equal(values, kept)
