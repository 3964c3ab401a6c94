"""The network's thread, with jobs that return, raise, and never end."""

import threading

import pytest

from vla_ros.nodes.inference import Inference


def test_answers_come_from_one_thread_and_can_be_taken_once():
    inference = Inference()
    thread = inference.call(threading.get_ident)
    assert thread != threading.get_ident()
    inference.submit(threading.get_ident)
    assert inference.is_busy
    while (give := inference.take()) is None:
        pass
    assert give() == thread
    assert not inference.is_busy
    assert inference.take() is None
    assert inference.close(5.0)


def test_what_a_job_raises_is_raised_where_its_answer_is_taken():
    inference = Inference()

    def fail():
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        inference.call(fail)
    inference.submit(fail)
    while (give := inference.take()) is None:
        pass
    with pytest.raises(ValueError, match="no"):
        give()
    assert inference.call(lambda: 1) == 1
    inference.close(5.0)


def test_a_network_that_hangs_keeps_nobody():
    inference, ends = Inference(), threading.Event()
    inference.submit(ends.wait)
    assert not inference.close(0.01)
    assert inference.take() is None
    ends.set()
    assert inference.close(5.0)
