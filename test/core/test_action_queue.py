import numpy as np
import pytest

from vla_ros.core.action_queue import ActionQueue
from vla_ros.core.errors import ContractError
from vla_ros.core.observation import Chunk

MS = 1_000_000
HERE = np.eye(4)


def poses(count):
    """Return a chunk whose step i leads to x = (i + 1) cm, its gripper open at odd steps."""
    T = np.tile(np.eye(4), (count, 1, 1))
    T[:, 0, 3] = 0.01 * np.arange(1, count + 1)
    return Chunk(np.zeros((count, 10), np.float32), 0.2, np.arange(count) % 2.0, T)


def displacements(*dx_m):
    actions = np.zeros((len(dx_m), 7), np.float32)
    actions[:, 0] = dx_m
    return Chunk(actions, 0.2, np.ones(len(dx_m)))


def popped(queue, now_ms, T=HERE):
    found = queue.pop(now_ms * MS, T)
    return None if found is None else (round(float(found[0][0, 3]), 4), found[1])


def test_poses_that_were_due_before_the_chunk_came_are_left_out():
    queue = ActionQueue()
    queue.put(poses(4), seen_ns=1000 * MS)
    # 250 ms after the observation the second pose, due at 400 ms, is headed for.
    assert popped(queue, 1250) == (0.02, 1.0)
    assert popped(queue, 1390) is None
    assert popped(queue, 1400) == (0.03, 0.0)
    assert popped(queue, 1610) == (0.04, 1.0)
    assert queue.is_empty(1611 * MS)
    assert popped(queue, 1900) is None


def test_a_next_chunk_is_wanted_when_so_many_steps_are_executed_and_the_rest_bridges_the_wait():
    queue = ActionQueue(execute=2)
    assert queue.wants_chunk(0)
    queue.put(poses(4), seen_ns=0)
    for now_ms, wants in ((0, False), (200, True), (400, True)):
        assert popped(queue, now_ms) is not None
        assert queue.wants_chunk(now_ms * MS) == wants
        assert not queue.is_empty(now_ms * MS)
    queue.put(poses(3), seen_ns=400 * MS)
    assert popped(queue, 450) == (0.01, 0.0)
    assert not queue.wants_chunk(450 * MS)


def test_a_chunk_that_comes_after_its_own_end_is_empty():
    queue = ActionQueue(execute=5)
    queue.put(poses(2), seen_ns=0)
    assert popped(queue, 400) is None
    assert queue.wants_chunk(400 * MS)


def test_a_displacement_starts_from_what_is_commanded_when_it_is_popped():
    queue = ActionQueue()
    queue.put(displacements(0.05), seen_ns=0)
    there = HERE.copy()
    there[0, 3] = 0.3
    # However late it came.
    assert popped(queue, 700, there) == (0.35, 1.0)
    assert popped(queue, 720, there) is None
    assert queue.is_empty(720 * MS)


def test_displacements_follow_one_another_by_a_period():
    queue = ActionQueue(execute=2)
    queue.put(displacements(0.01, 0.02), seen_ns=0)
    assert popped(queue, 90) == (0.01, 1.0)
    assert not queue.wants_chunk(90 * MS)
    assert popped(queue, 280) is None
    assert popped(queue, 290) == (0.02, 1.0)
    assert queue.wants_chunk(290 * MS)


def test_cleared_or_before_its_time_there_is_nothing_new():
    queue = ActionQueue()
    queue.put(poses(3), seen_ns=500 * MS)
    # A clock that was set back: the first step, and no earlier one.
    assert popped(queue, 100) == (0.01, 0.0)
    queue.clear()
    assert popped(queue, 800) is None
    assert queue.is_empty(0)


def test_at_least_one_step_is_executed():
    with pytest.raises(ContractError, match="at least 1 step"):
        ActionQueue(0)
