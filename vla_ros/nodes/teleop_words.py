"""What a person says of recordings, by a service, a button of the pad, or a key of the terminal."""

import time
from collections.abc import Callable
from functools import partial

from rclpy.clock import Clock, ClockType
from std_srvs.srv import Trigger

from vla_ros.core.errors import EpisodeError
from vla_ros.core.teleop_takes import Presses, Takes
from vla_ros.nodes.mission import MissionNode
from vla_ros.nodes.teleop_keys import Keys

_KEY_PERIOD_S = 0.05
_KEYS = {"s": "start", "k": "keep", "f": "failed", "d": "discard", "r": "redo", "q": "finish"}
_SERVICES = {
    "~/start": "start",
    "~/keep": "keep",
    "~/failed": "failed",
    "~/discard": "discard",
    "~/redo": "redo",
    "~/finish": "finish",
}
# A press so soon after the last of the same word is of the same one [s].
_APART_S = 1.0
# What a request did: whether it was done, and a sentence for the person.
Answer = tuple[bool, str]


class TakeWords:
    """Hands the words to the takes, and the answers to the person.

    Args:
        node: the node to live in.
        takes: what is told.
        keys: whether to read the terminal's keys.
        more_keys: what else a key does.
    """

    def __init__(
        self,
        node: MissionNode,
        takes: Takes,
        keys: bool,
        more_keys: dict[str, Callable[[], Answer]],
    ):
        self._node, self._logger, self._takes = node, node.get_logger(), takes
        self._presses = Presses(_APART_S)
        self._on_key: dict[str, Callable[[], None]] = {
            key: partial(self.press, word) for key, word in _KEYS.items()
        }
        for key, request in more_keys.items():
            self._on_key[key] = lambda request=request: self._answer(request())
        for service, word in _SERVICES.items():
            node.create_service(Trigger, service, partial(self._on_service, word))
        self._keys = Keys() if keys else None
        if keys:
            steady = Clock(clock_type=ClockType.STEADY_TIME)
            node.create_timer(_KEY_PERIOD_S, self._on_keys, clock=steady)

    def say(self, word: str) -> Answer:
        """Take in a word; return whether it meant something now, and a sentence."""
        node = self._node
        if node.state != "active" or node.stop_deadline_s is not None:
            return False, f"{word} is not heard: node {node.get_name()} is not active"
        try:
            return True, self._takes.say(word, node.now_ns * 1e-9)
        except EpisodeError as error:
            return False, str(error)

    def press(self, word: str) -> None:
        """Take in a word of a button, and say in the log what it did."""
        if self._presses.counts(word, time.monotonic()):
            self._answer(self.say(word))
            return
        self._logger.warning(
            f"{word} within {_APART_S:g} s of the last is taken for the same press",
            throttle_duration_sec=_APART_S,
        )

    def close(self) -> None:
        """Give the terminal back."""
        if self._keys is not None:
            self._keys.close()

    def _on_service(
        self, word: str, _: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        response.success, response.message = self.say(word)
        return response

    def _on_keys(self) -> None:
        for key in self._keys.read():
            if key in self._on_key:
                self._on_key[key]()

    def _answer(self, answer: Answer) -> None:
        done, sentence = answer
        # On lines of their own: rclpy raises where the severity of one line changes.
        if done:
            self._logger.info(sentence)
        else:
            self._logger.warning(sentence)
