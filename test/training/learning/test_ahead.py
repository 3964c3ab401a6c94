import pytest

from training.learning.ahead import Ahead


def test_every_step_gets_its_own_whatever_the_order():
    made = []
    ahead = Ahead(lambda step: made.append(step) or step * 10, 4)
    assert [ahead(step) for step in (0, 1, 3, 2, 3)] == [0, 10, 30, 20, 30]
    ahead.close()
    assert max(made) == 3  # never beyond the end
    assert made.count(1) == 1  # it was made ahead, once
    assert ahead.waited_s > 0


def test_an_error_comes_with_its_step():
    def make(step):
        if step == 1:
            raise ValueError("step 1 is damaged")
        return step

    ahead = Ahead(make, 3)
    assert ahead(0) == 0
    with pytest.raises(ValueError, match="step 1 is damaged"):
        ahead(1)
    ahead.close()
