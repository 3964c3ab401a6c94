"""How much the other end of a link may send at once; what it sends is read by Python.

websockets answers every ping, and reads on without end: one that sends nothing else would have
inference at a server, or a robot's commands, wait for Python's lock.
"""

import time
from typing import Any

from websockets.sync.client import ClientConnection
from websockets.sync.connection import Connection
from websockets.sync.server import ServerConnection

# A question is one frame and an answer too; beside them both ends send a ping now and then.
_AT_ONCE, _A_SECOND = 200.0, 1.0
# Who says who it is sends one.
_AT_ONCE_STRANGER = 10.0
# What is read at once is answered at once, before anybody counts it.
_STRANGERS_BYTES = 4096


class Paced(Connection):
    """A connection that is cut off where more frames come than anybody has a reason to send."""

    _most = _left = _AT_ONCE
    _counted_s = 0.0

    def renew(self) -> None:
        """Let the other end go on: it was asked something, or has asked something."""
        self._left = self._most

    def process_event(self, event: Any) -> None:
        """Take a frame, in the thread that reads."""
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._counted_s) * _A_SECOND) - 1.0
        self._counted_s = now_s
        if self._left >= 0.0:
            super().process_event(event)
        else:
            self.close_socket()


class PacedClient(Paced, ClientConnection):
    """A client's."""


class PacedServer(Paced, ServerConnection):
    """A server's, to a stranger until it is let in."""

    _most = _left = _AT_ONCE_STRANGER
    recv_bufsize = _STRANGERS_BYTES

    def let_in(self, max_bytes: int) -> None:
        """Listen to it as to a robot, whose messages have up to `max_bytes`."""
        self._most, self.recv_bufsize = _AT_ONCE, Connection.recv_bufsize
        self.protocol.max_message_size = max_bytes
        self.renew()
