"""The door of a policy's server: how many come in at once, and that they have the token."""

import socket
import struct
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from vla_ros.core.errors import RemoteError
from vla_ros.policy.remote_access import (
    NONCE_HEADER,
    PROOF_HEADER,
    Address,
    is_proof,
    new_nonce,
    nonce_of,
    proof_of,
)

# Robots, which have shown the token if there is one. Each takes three threads, and one message.
MAX_CONNECTIONS = 16
# Who has not shown it yet. Where more come, some of these have to go, never a robot.
MAX_STRANGERS = 16
# A hello with its proof has 150 bytes.
MAX_HELLO_BYTES = 4096
# How long one that reads nothing of what it is sent keeps its place, and the server from ending.
_DEAF_S = 5
# Whoever goes on knocking does not fill a terminal, nor the disk that a log is on.
_QUIET_S = 10.0


class Sparingly:
    """Prints one thing every _QUIET_S at most, and how many others were left out since then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self._clock, self._lock = clock, threading.Lock()
        self._left_out, self._not_before_s = 0, clock()

    def tell(self, text: str, is_error: bool = False) -> None:
        """Print `text`, or count it."""
        now_s = self._clock()
        with self._lock:
            if now_s < self._not_before_s:
                self._left_out += 1
                return
            self._not_before_s, left_out, self._left_out = now_s + _QUIET_S, self._left_out, 0
        self._print(f"{text} (and {left_out} more before)" if left_out else text, is_error)

    def tell_rest(self) -> None:
        """Print how many were left out since the last one, if any."""
        with self._lock:
            left_out, self._left_out = self._left_out, 0
        if left_out:
            self._print(f"refused or failed since the last such line: {left_out} more", False)

    def _print(self, text: str, is_error: bool) -> None:
        print(text, file=sys.stderr if is_error else sys.stdout, flush=True)


class Listener(socket.socket):
    """A listening socket that knows who has come, and never has more connections than it may.

    One that comes is a stranger until it is `let_in`. When there are more than MAX_STRANGERS, the
    one leaves that came first, of those from the address that most of them are from: so nobody
    keeps others out by waiting, nor by coming again and again from one place.
    """

    def __init__(self, listening: socket.socket, refused: Sparingly):
        super().__init__(fileno=listening.detach())
        self._lock, self._refused = threading.Lock(), refused
        self._strangers: dict[socket.socket, str] = {}
        self._guests: list[socket.socket] = []
        # Told to leave; they are open until their threads have seen it.
        self._leaving: list[socket.socket] = []

    def accept(self) -> tuple[socket.socket, tuple]:
        """Return a connection and where it is from; one that is too many is closed already.

        It is returned all the same, since nobody but the caller can wait for the next one and be
        woken at the end; websockets leaves what it finds closed.
        """
        sock, address = super().accept()
        # Whoever only sends pings is answered too, before it has proved anything.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", _DEAF_S, 0))
        with self._lock:
            self._forget_closed()
            is_full = len(self._leaving) >= MAX_STRANGERS
            if not is_full:
                self._strangers[sock] = address[0]
            is_crowded = len(self._strangers) > MAX_STRANGERS
            left = self._send_away_one() if is_crowded else address[0]
        if is_full:
            sock.close()
        if is_full or is_crowded:
            self._refused.tell(f"refused {left}: more wait to show who they are than may")
        return sock, address

    def let_in(self, sock: socket.socket) -> None:
        """Make a stranger one of those that stay.

        Raises:
            RemoteError: there are as many as may be, or it had to go.
        """
        with self._lock:
            self._forget_closed()
            if self._strangers.pop(sock, None) is None:
                raise RemoteError("it took too long to show who it is")
            if len(self._guests) >= MAX_CONNECTIONS:
                self._leaving.append(sock)
                raise RemoteError(f"{MAX_CONNECTIONS} are connected; stop one of them")
            self._guests.append(sock)

    def hang_up(self) -> None:
        """Cut all connections off, whatever they wait for."""
        with self._lock:
            for sock in (*self._strangers, *self._guests, *self._leaving):
                _cut_off(sock)

    def close(self) -> None:
        """Listen no longer; strangers are cut off, so that none can keep the server from ending."""
        super().close()
        with self._lock:
            for sock in self._strangers:
                _cut_off(sock)

    def _forget_closed(self) -> None:
        self._strangers = {s: host for s, host in self._strangers.items() if s.fileno() >= 0}
        self._guests = [sock for sock in self._guests if sock.fileno() >= 0]
        self._leaving = [sock for sock in self._leaving if sock.fileno() >= 0]

    def _send_away_one(self) -> str:
        """Cut off the stranger whose turn it is; return where it is from."""
        ((most, _),) = Counter(self._strangers.values()).most_common(1)
        sock = next(sock for sock, host in self._strangers.items() if host == most)
        self._leaving.append(sock)
        _cut_off(sock)
        return self._strangers.pop(sock)


def _cut_off(sock: socket.socket) -> None:
    """End a connection; its threads notice, and close the socket."""
    with suppress(OSError):  # it is closed already
        sock.shutdown(socket.SHUT_RDWR)


def listen(address: Address, refused: Sparingly) -> Listener:
    """Return a socket that listens there, and has it told who was refused.

    Raises:
        OSError, OverflowError: it cannot.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return Listener(socket.create_server((address.host, address.port), family=family), refused)


class Door:
    """Lets in who has the token, once it has shown that the server has it; nobody says it.

    Args:
        token: None: everybody may come in.
        refused: what is told who was refused.
    """

    def __init__(self, token: str | None, refused: Sparingly):
        self._token, self._refused = token, refused

    def require_nonce(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return what to answer to a client that knows of no token, before it has said anything."""
        if self._token is None or nonce_of(request.headers.get_all(NONCE_HEADER)):
            return None
        self._refused.tell(f"refused {peer_of(connection)}: no token")
        return connection.respond(401, "wants a token\n")

    def show_token(self, _: ServerConnection, request: Request, response: Response) -> None:
        """Prove to a client that we have the token, before it says anything."""
        theirs = nonce_of(request.headers.get_all(NONCE_HEADER))
        if self._token is not None and theirs is not None:
            ours = new_nonce()
            response.headers[NONCE_HEADER] = ours
            response.headers[PROOF_HEADER] = proof_of(self._token, "server", (theirs, ours))

    def require_proof(self, connection: ServerConnection, proof: object) -> None:
        """Raise RemoteError unless `proof`, of a client's first message, is its own."""
        if self._token is None:
            return
        assert connection.request is not None  # of a connection that is open
        assert connection.response is not None
        nonces = connection.request.headers[NONCE_HEADER], connection.response.headers[NONCE_HEADER]
        if not is_proof(proof, proof_of(self._token, "client", nonces)):
            raise RemoteError("wrong token")


def peer_of(connection: ServerConnection) -> str:
    """Return who is at the other end, for messages."""
    try:
        host, port = connection.remote_address[:2]
    except OSError:  # it has left already
        return "somebody"
    return f"{host} port {port}"
