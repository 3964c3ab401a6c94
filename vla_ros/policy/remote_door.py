"""The door of a policy's server: how many come in at once, and that they have the token."""

import socket
import struct

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

# Robots, and who has not shown a token yet. Each takes two threads, and one message at a time.
MAX_CONNECTIONS = 16
# How long one that reads nothing of what it is sent keeps its place, and the server from ending.
_DEAF_S = 5


class Listener(socket.socket):
    """A listening socket that hangs up on who comes while as many are connected as may be."""

    def __init__(self, listening: socket.socket):
        super().__init__(fileno=listening.detach())
        self._connected: list[socket.socket] = []
        self._was_full = False

    def accept(self) -> tuple[socket.socket, tuple]:
        """Return a connection and where it is from; one that is too many is closed already.

        It is returned all the same, since nobody but the caller can wait for the next one and be
        woken at the end; websockets leaves what it finds closed.
        """
        sock, address = super().accept()
        self._connected = [one for one in self._connected if one.fileno() >= 0]
        is_full = len(self._connected) >= MAX_CONNECTIONS
        if not is_full:
            self._connected.append(sock)
            # Whoever only sends pings is answered too, before it has proved anything.
            limit = struct.pack("ll", _DEAF_S, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        else:
            sock.close()
            if not self._was_full:  # whoever goes on knocking does not fill the terminal
                print(f"refused {address[0]}: {MAX_CONNECTIONS} are connected", flush=True)
        self._was_full = is_full
        return sock, address


def listen(address: Address) -> Listener:
    """Return a socket that listens there.

    Raises:
        OSError, OverflowError: it cannot.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    return Listener(socket.create_server((address.host, address.port), family=family))


class Door:
    """Lets in who has the token, once it has shown that the server has it; nobody says it.

    Args:
        token: None: everybody may come in.
    """

    def __init__(self, token: str | None):
        self._token = token

    def require_nonce(self, connection: ServerConnection, request: Request) -> Response | None:
        """Return what to answer to a client that knows of no token, before it has said anything."""
        if self._token is None or nonce_of(request.headers.get_all(NONCE_HEADER)):
            return None
        print(f"refused {peer_of(connection)}: no token", flush=True)
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
