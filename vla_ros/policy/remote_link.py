"""A client's link to a policy's server: both show that they have the token, then one asks."""

import socket
import threading
import time
from concurrent.futures import CancelledError, Future
from concurrent.futures import TimeoutError as NotInTime
from contextlib import suppress

from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException
from websockets.sync.client import connect

from vla_ros.core.errors import RemoteError
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.remote_access import (
    NONCE_HEADER,
    PROOF_HEADER,
    TOKEN_FILE_VARIABLE,
    TOKEN_VARIABLE,
    Address,
    is_proof,
    new_nonce,
    nonce_of,
    proof_of,
)
from vla_ros.policy.remote_pace import PacedClient

_CLOSE_S = 0.3
_SAME_TOKEN = f"in {TOKEN_VARIABLE} or in a file that {TOKEN_FILE_VARIABLE} names, on both machines"


class Link:
    """A connection. One caller at a time; `close` may come from another thread, at any time.

    Args:
        address: of the server.
        token: what both sides must have; None: nothing.
        timeout_s: how long the server may take to be reached, and then to say what it serves [s].

    Attributes:
        welcome: what it said of itself.
    """

    def __init__(self, address: Address, token: str | None, timeout_s: float):
        self._address, self._token, self._timeout_s = address, token, timeout_s
        self._name = f"policy server {address}"
        self._asks = self._is_late = False
        self._reached: Future[socket.socket] = Future()
        self._connection: PacedClient | None = None

    def open(self) -> None:
        """Connect, once.

        Raises:
            RemoteError: there is no server, or not one that we can talk to; or `close` was called.
        """
        nonce = new_nonce()
        try:
            self._connection = self._connect(None if self._token is None else nonce)
            hello = _hello()
            if self._token is not None:
                hello["proof"] = self._proof(self._connection, self._token, nonce)
            self.welcome = self.ask(wire.pack(hello), self._timeout_s)
            self._check_welcome()
        except RemoteError as error:
            self.close()
            raise RemoteError(f"{self._name}: {error}") from None

    def ask(self, data: bytes, timeout_s: float) -> dict:
        """Return the answer to the request `data`.

        Raises:
            RemoteError: there is none in time, or none that can be read.
        """
        assert self._connection is not None  # it is open
        # A timeout of `recv` alone would leave a `send` that waits for a peer that does not read.
        timer = threading.Timer(timeout_s, self._cut_off)
        timer.daemon = True
        self._asks, self._is_late = True, False
        self._connection.renew()
        timer.start()
        try:
            self._connection.send(data)
            said = self._connection.recv()
        except ConnectionClosed as error:
            if self._is_late:
                raise RemoteError(
                    f"no answer within {timeout_s:g} s; where the policy needs longer, give the "
                    "node a larger remote_timeout_s"
                ) from None
            raise RemoteError(_why_closed(error)) from None
        finally:
            timer.cancel()
            self._asks = False
        return wire.unpack(said)

    def close(self) -> None:
        """End the connection; an `open` or `ask` that waits raises."""
        if self._reached.cancel():
            return
        if self._asks or self._connection is None:
            self._shut()  # else a `send` that nobody reads would keep us waiting
        if self._connection is None:
            return
        # Nor may one that begins now, or answers to pings of a server that does not read them.
        timer = threading.Timer(_CLOSE_S, self._shut)
        timer.daemon = True
        timer.start()
        self._connection.close()
        timer.cancel()

    def _cut_off(self) -> None:
        self._is_late = True
        self._shut()

    def _shut(self) -> None:
        if self._reached.exception() is None:
            with suppress(OSError):  # it is closed already
                self._reached.result().shutdown(socket.SHUT_RDWR)

    def _connect(self, nonce: str | None) -> PacedClient:
        limit_s = time.monotonic() + self._timeout_s
        threading.Thread(target=self._reach, name="connect", daemon=True).start()
        try:
            # With a socket of our own websockets goes nowhere else when a server tells it to.
            # Entered, not only called: websockets 17.1 warns of what later will not connect.
            found = connect(
                str(self._address),
                sock=self._await_socket(),
                additional_headers=None if nonce is None else {NONCE_HEADER: nonce},
                compression=None,
                # What the environment says of proxies is meant for the web.
                proxy=None,
                open_timeout=limit_s - time.monotonic(),
                close_timeout=_CLOSE_S,
                max_size=wire.MAX_ANSWER_BYTES,
                max_queue=1,
                create_connection=PacedClient,
            ).__enter__()
            assert isinstance(found, PacedClient)
            return found
        except InvalidStatus as error:
            raise RemoteError(_why_refused(self._name, error.response.status_code)) from None
        # A ValueError: a host's name that is none, or a server that names a place to go to instead.
        except (OSError, EOFError, WebSocketException, ValueError) as error:
            why = wire.one_line(str(error)) or type(error).__name__
            raise RemoteError(
                f"no policy server on {self._address} ({why}); start python -m "
                "vla_ros.policy.server there, and the ssh tunnel if there is one"
            ) from None

    def _reach(self) -> None:
        """Connect a socket, in a thread of its own: looking up a name cannot be interrupted."""
        try:
            address = self._address.host, self._address.port
            sock = socket.create_connection(address, self._timeout_s)
            sock.settimeout(None)
        except Exception as error:
            if self._reached.set_running_or_notify_cancel():
                self._reached.set_exception(error)
        else:
            if self._reached.set_running_or_notify_cancel():
                self._reached.set_result(sock)
            else:
                sock.close()

    def _await_socket(self) -> socket.socket:
        """Return the socket once it is connected.

        Raises:
            RemoteError: `close` was called.
            OSError, ValueError: it cannot be connected, or not in time.
        """
        try:
            return self._reached.result(self._timeout_s)
        except CancelledError:
            raise RemoteError("the connection was closed") from None
        except NotInTime:
            if self._reached.cancel():
                raise TimeoutError("timed out") from None
            return self._reached.result()

    def _proof(self, connection: PacedClient, token: str, nonce: str) -> str:
        """Return our proof of the token, once the server has given its own.

        Raises:
            RemoteError: it has not: who does not know the token is neither told nor asked anything.
        """
        response = connection.response
        assert response is not None  # of a connection that is open
        theirs = nonce_of(response.headers.get_all(NONCE_HEADER))
        given = response.headers.get_all(PROOF_HEADER)
        if theirs is not None and len(given) == 1:
            nonces = nonce, theirs
            if is_proof(given[0], proof_of(token, "server", nonces)):
                return proof_of(token, "client", nonces)
        raise RemoteError(
            f"it has another token than we have, or none; give the same {_SAME_TOKEN}"
        )

    def _check_welcome(self) -> None:
        if self.welcome.get("kind") == "refused":
            raise RemoteError(wire.line_of(self.welcome, "message"))
        protocol = wire.count_of(self.welcome, "protocol")
        if protocol != wire.PROTOCOL:
            raise RemoteError(
                f"it speaks version {protocol} (vla_ros {wire.line_of(self.welcome, 'version')})"
                f", we speak {wire.PROTOCOL} (vla_ros {wire.package_version()}); "
                "install the same vla_ros on both machines"
            )


def _hello() -> dict:
    return {"protocol": wire.PROTOCOL, "version": wire.package_version()}


def _why_refused(name: str, status: int) -> str:
    if status == 401:
        return f"{name} wants a token; give the one that it was started with {_SAME_TOKEN}"
    return f"{name} answers with HTTP status {status}; is that the policy server's port?"


def _why_closed(error: ConnectionClosed) -> str:
    if error.rcvd is not None and error.rcvd.code == 1001:
        return "it was stopped"
    if error.sent is not None and error.sent.code == 1009:
        return f"its answer is larger than {wire.MAX_ANSWER_BYTES / 1e6:.1f} MB"
    return f"the link broke ({wire.one_line(str(error))})"
