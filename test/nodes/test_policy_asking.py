"""What the network's thread raises is told in one sentence, whatever it is."""

import types

import pytest

pytest.importorskip("rclpy")

from vla_ros.core.errors import RunnerError, StaleDataError
from vla_ros.nodes.inference import Inference
from vla_ros.nodes.policy_asking import Asker


@pytest.mark.parametrize(
    ("raised", "expected", "words"),
    [
        (OverflowError("int too large"), RunnerError, "the policy failed with OverflowError; this"),
        (StaleDataError("no picture"), StaleDataError, "^no picture$"),
    ],
)
def test_whatever_a_runner_raises_is_an_error_that_holds_the_arm(raised, expected, words):
    said = []
    logger = types.SimpleNamespace(error=lambda text, **_: said.append(text))
    clock = types.SimpleNamespace(now=lambda: types.SimpleNamespace(nanoseconds=5_000_000))
    node = types.SimpleNamespace(get_clock=lambda: clock, get_logger=lambda: logger)
    seen = types.SimpleNamespace(pictured_ns=2_000_000)
    streams = types.SimpleNamespace(at=lambda now_ns, task: seen)
    question = types.SimpleNamespace(decided=lambda: None)

    def act(_):
        raise raised

    inference = Inference()
    runner, inputs = types.SimpleNamespace(act=act), types.SimpleNamespace(streams=streams)
    asker = Asker(node, runner, inputs, None, inference)
    asker.ask(question, "push")
    assert asker.picture_age_ms == 3.0
    while (taken := asker.take()) is None:
        pass
    with pytest.raises(expected, match=words):
        taken[1]()
    assert [text.splitlines()[-1] for text in said] == (
        ["OverflowError: int too large"] if expected is RunnerError else []
    )
    inference.close(5.0)
