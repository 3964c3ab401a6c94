"""When a policy is asked: with a picture that has just come, or without where none comes."""

import types

import numpy as np
import pytest

pytest.importorskip("rclpy")

from vla_ros.core import arm
from vla_ros.core.contract import apt_contract, tap_contract
from vla_ros.core.errors import RemoteError
from vla_ros.core.limits import wx250s_limits
from vla_ros.core.observation import Chunk
from vla_ros.core.picture_wait import PictureWait
from vla_ros.core.policy_motion import PolicyMotion
from vla_ros.nodes import policy_acting
from vla_ros.nodes.policy_acting import PolicyActing
from vla_ros.policy.answering import Answered

MS = 1_000_000
PUSH = Chunk(np.float32([[0.01, 0, 0, 0, 0, 0, 1.0]]), 0.2, np.ones(1))


class Arm:
    """Is where it is told to be."""

    def __init__(self):
        self.commanded, self.at_rest, self.blocked_reason = (arm.READY_RAD, 1.0), True, ""
        self.held_from_outside = ("", "")

    def follow(self, q_rad, opening):
        self.at_rest = np.array_equal(q_rad, self.commanded[0])
        self.commanded = q_rad, opening

    def hold(self):
        self.at_rest = True


class Asker:
    """Answers at the first tick after `slow_ms`."""

    def __init__(self, slow_ms=30):
        self.slow_ms, self.asked_ms, self.picture_age_ms, self.age_ms = slow_ms, [], 0.0, 0.0
        self.question, self.now_ms, self.raises = None, 0, None

    @property
    def is_busy(self):
        return self.question is not None

    def ask(self, question, task):
        self.asked_ms.append(self.now_ms)
        if self.raises is not None:
            raise self.raises
        self.question = question

    def take(self):
        if self.question is None or self.now_ms - self.asked_ms[-1] < self.slow_ms:
            return None
        question, self.question = self.question, None
        return question, lambda: Answered(PUSH, None, 1.0)


class Stage:
    """A policy of 5 Hz, commands at 0, 20, 40 ms, and a camera of 10 Hz."""

    def __init__(self, monkeypatch, contract=None, slow_ms=30):
        shown = types.SimpleNamespace(show=lambda plan: None)
        monkeypatch.setattr(policy_acting, "Preview", lambda *_: shown)
        logger = types.SimpleNamespace(warning=lambda *_, **__: None)
        node = types.SimpleNamespace(get_logger=lambda: logger)
        self.arm, self.asker = Arm(), Asker(slow_ms)
        self.wait = PictureWait(("front",), 0.2, 0.02)
        motion = PolicyMotion(wx250s_limits(), 0.02, "blend")
        self.acts = PolicyActing(
            *(node, self.arm, self.asker, self.wait, motion, contract or tap_contract(), "wx250s")
        )

    def run(self, until_ms, pictures_ms=(), acts=True):
        for ms in range(self.asker.now_ms + 1, until_ms + 1):
            self.asker.now_ms = ms
            if ms in pictures_ms:
                self.wait.came("front", ms * MS, ms * MS)
                self.acts.look(ms * MS, "push")
            if acts and ms % 20 == 0:
                self.acts.tick(ms * MS, "push")


def test_a_question_goes_with_the_picture_that_comes_when_it_is_due(monkeypatch):
    stage = Stage(monkeypatch)
    stage.run(1500, [ms + (7 if ms % 300 else -7) for ms in range(50, 1500, 100)])
    # 43 and 157 ms: nobody knows yet when the next one comes; then every second picture.
    assert stage.asker.asked_ms[0] == 20
    later = stage.asker.asked_ms[1:]
    assert [round(np.diff(later).mean()), len(later)] == [200, 7]
    assert all(ms % 50 in (7, 43) for ms in later)


def test_without_pictures_it_asks_at_its_own_times(monkeypatch):
    stage = Stage(monkeypatch)
    stage.run(1000, range(5, 320, 100))  # and then none
    asked = stage.asker.asked_ms
    assert asked[:2] == [20, 205]
    # Due at 405 ms; the one expected then is late at 455.
    assert asked[2:] == [460, 660, 860]


def test_no_picture_has_it_asked_while_nothing_is_commanded_or_an_answer_is_out(monkeypatch):
    stage = Stage(monkeypatch, slow_ms=150)
    film = range(5, 3000, 100)
    stage.run(119, film)
    assert stage.asker.asked_ms == [20]  # nor where it still computes
    stage.arm.blocked_reason = "blocked"
    stage.run(400, film)
    stage.arm.blocked_reason = ""
    assert stage.asker.asked_ms == [20]
    stage.run(1000, film)
    assert stage.asker.asked_ms == [20, 505, 705, 905]
    held = Stage(monkeypatch)
    held.run(119, film)
    held.run(800, film, acts=False)  # the loop asks nobody for a command
    assert held.asker.asked_ms == [20]


def test_after_a_question_that_failed_no_picture_has_it_asked_before_its_time(monkeypatch):
    stage = Stage(monkeypatch)
    stage.asker.raises = RemoteError("away")
    stage.run(1000, range(5, 1000, 50))
    assert np.diff(stage.asker.asked_ms).min() >= 200


def test_a_plan_that_ends_is_not_kept_waiting_for_a_picture(monkeypatch):
    """Of chunks: with a network of 150 ms, and 0.2 s of plan, there is no time to lose."""
    stage = Stage(monkeypatch, apt_contract(("front",), 128, 5.0, 1))
    stage.wait.came("front", 0, 0)
    stage.wait.came("front", 100 * MS, 100 * MS)
    stage.asker.now_ms = 100
    stage.run(119)
    monkeypatch.setattr(PolicyMotion, "is_running_out", property(lambda self: True))
    stage.run(120)
    assert stage.asker.asked_ms == [120]
