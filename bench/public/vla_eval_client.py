"""What a harness says to a server of vla-eval's protocol; no torch, no vla-eval."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import numpy as np
from websockets.sync.client import ClientConnection, connect

from vla_ros.core.errors import RemoteError
from vla_ros.policy import vla_eval_wire as messages

_OPEN_S = 10.0


class RefusedError(RemoteError):
    """The server has no action for what it was shown, and said why."""


@contextmanager
def connected(url: str) -> Iterator["Harness"]:
    """Connect to the server at "ws://HOST:PORT" and say hello.

    Raises:
        RemoteError: it answers something else.
        OSError, TimeoutError: there is none.
    """
    # No pings: who makes a world answers none meanwhile.
    with connect(url, compression=None, open_timeout=_OPEN_S, ping_interval=None) as socket:
        yield Harness(socket)


class Harness:
    """One connection to a server, which is `connected` for it.

    Args:
        socket: that is open.
        answer_s: how long an answer may take [s].

    Attributes:
        server: what it said of itself.

    Raises:
        RemoteError: it answers something else.
    """

    def __init__(self, socket: ClientConnection, answer_s: float = 120.0):
        self._socket, self._number, self._answer_s = socket, 0, answer_s
        hello = {"harness_version": "vla_ros", "protocol_version": messages.PROTOCOL}
        self.server = self._ask("hello", hello, "hello")

    def begin(self, name: str) -> None:
        """Say that an episode of the task `name` begins."""
        self._say("episode_start", {"task": {"name": name}})

    def end(self, is_success: bool) -> None:
        """Say how it ended."""
        self._say("episode_end", {"metrics": {"success": is_success}})

    def act(self, observation: Mapping) -> tuple[np.ndarray, int]:
        """Return the action (7,) for an observation, and how many of the next need no picture.

        Raises:
            RefusedError: the server has none.
            RemoteError: it answers something else.
        """
        payload = self._ask("observation", observation, "action")
        action = messages.array_of(payload, "actions")
        if action is None or action.shape != (7,):
            raise RemoteError("the server's action must be 7 numbers")
        left = payload.get("steps_left", 0)
        return action, left if isinstance(left, int) else 0

    def _say(self, kind: str, payload: Mapping) -> None:
        self._number += 1
        self._socket.send(messages.pack(kind, payload, self._number))

    def _ask(self, kind: str, payload: Mapping, wanted: str) -> dict:
        self._say(kind, payload)
        answer = messages.unpack(self._socket.recv(self._answer_s))
        if answer.kind == "error":
            raise RefusedError(str(answer.payload.get("error")))
        if answer.kind != wanted or answer.number != self._number:
            raise RemoteError(
                f"the server answers {answer.kind} {answer.number} to {kind} {self._number}"
            )
        return answer.payload
