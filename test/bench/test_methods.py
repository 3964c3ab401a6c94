"""What `bench.methods` measures is what it says: by turns, and the longest action there is."""

import numpy as np

from bench._methods_models import seven_tokens
from bench.methods import by_turns
from vla_ros.policy.fast_tokens import VOCABULARY


def test_contenders_run_by_turns_after_one_to_warm_up():
    said = []
    times = by_turns([lambda: said.append("a"), lambda: said.append("b")], 2)
    assert said == ["a", "b"] * 3
    assert [len(own) for own in times] == [2, 2]


def test_every_action_takes_seven_tokens_of_a_whole_vocabulary():
    tokenizer = seven_tokens()
    assert tokenizer.size == VOCABULARY
    allowed = tokenizer.grammar.allowed(np.array([7]), np.array([False]))[0]
    counts = tokenizer.grammar.counts[0]
    assert set(counts[allowed]) == {1}
    assert len(tokenizer.encode(np.linspace(-1, 1, 7)[None, None])[0]) == 7
