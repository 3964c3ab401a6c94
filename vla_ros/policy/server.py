"""A policy for robots whose GPU is elsewhere: observations in, chunks out, over a websocket.

python -m vla_ros.policy.server CHECKPOINT [--host HOST] [--port PORT] [--token-file FILE]
                                [--device DEVICE] [--threads N] [--seed SEED]

Only this machine reaches it unless --host says otherwise, and then it wants a token. Whoever is
elsewhere comes through ssh: docs/policy.md.
"""

import argparse
import logging
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from websockets.exceptions import ConnectionClosed
from websockets.frames import CloseCode
from websockets.protocol import State
from websockets.sync.server import ServerConnection, serve

from vla_ros.core.errors import RemoteError, VlaError
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.checkpoint_folder import require_folder
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.remote_access import (
    DEFAULT_PORT,
    TOKEN_VARIABLE,
    Address,
    read_token,
    require_token,
)
from vla_ros.policy.remote_door import MAX_HELLO_BYTES, Door, Sparingly, listen, peer_of
from vla_ros.policy.remote_pace import PacedServer

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

Acted = TypeVar("Acted")
# How long a client may take for its HTTP request, to say who it is, and to say goodbye; and how
# long the server's end waits for all of them: one may read so slowly that it would be for ever.
_OPEN_S, _HELLO_S, _CLOSE_S, _END_S = 2.0, 5.0, 1.0, 2.0
# The protocol's limit is 123.
_MAX_REASON_BYTES = 120


class PolicyServer:
    """Answers observations with the chunks of one runner.

    All inference is in one thread, one observation after the other, whoever asks.

    Args:
        runner: who acts; it is warmed up before anybody can reach it.
        sha256: of its checkpoint, which clients hold against the one they began with.
        address: where to listen; port 0: any that is free.
        token: what clients must have as well; None: nothing.

    Attributes:
        address: where it listens.
        sha256: of the checkpoint.

    Raises:
        RemoteError: it may not listen there without a token, or cannot.
    """

    _door_type: type[Door] = Door
    _ping_s: float | None = 20.0

    def __init__(
        self, runner: "PolicyRunner", sha256: str, address: Address, token: str | None = None
    ):
        require_token(address, token)
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inference")
        self._worker.submit(runner.warm_up).result()
        self._runner, self.sha256 = runner, sha256
        self._refused, self._failed = Sparingly(), Sparingly()
        self._door = self._door_type(token, self._refused)
        self._connections: set[PacedServer] = set()
        quiet = logging.getLogger("vla_ros.policy.server")
        quiet.setLevel(logging.CRITICAL)  # no traceback of each that knocks
        try:
            self._listener = listen(address, self._refused)
            self._server = serve(
                self._serve_one,
                sock=self._listener,
                process_request=self._door.require_nonce,
                process_response=self._door.show_token,
                # A page in somebody's browser can reach loopback too; browsers say where it is of.
                origins=[None],
                compression=None,
                max_size=MAX_HELLO_BYTES,  # until it is let in
                max_queue=1,
                open_timeout=_OPEN_S,
                close_timeout=_CLOSE_S,
                ping_interval=self._ping_s,
                logger=quiet,
                create_connection=PacedServer,
            )
        except (OSError, OverflowError) as error:
            self._worker.shutdown()
            raise RemoteError(
                f"cannot listen on {address} ({error}); give another --port, or "
                "a --host of this machine"
            ) from None
        self.address = Address(address.host, self._server.socket.getsockname()[1])

    def serve_forever(self) -> None:
        """Serve until `close` is called from another thread."""
        self._server.serve_forever()

    def close(self) -> None:
        """Say goodbye to all clients and let what is being inferred end."""
        ending = threading.Timer(_END_S, self._listener.hang_up)
        ending.start()
        self._server.shutdown()
        for connection in tuple(self._connections):  # that websockets below 17 leaves open
            connection.close(CloseCode.GOING_AWAY)
        ending.cancel()
        self._worker.shutdown(wait=True, cancel_futures=True)
        self._refused.tell_rest()
        self._failed.tell_rest()

    def _serve_one(self, connection: ServerConnection) -> None:
        assert isinstance(connection, PacedServer)
        peer = peer_of(connection)
        self._connections.add(connection)
        is_in = False
        try:
            name = self._greet(connection)
            is_in = True
            print(f"serving {peer}, {name}", flush=True)
            for data in connection:
                if (answer := self._answer(connection, data)) is not None:
                    connection.send(answer)
                connection.renew()
            print(f"{peer} has left", flush=True)
        except RemoteError as error:
            self._refused.tell(f"refused {peer}: {error}")
            reason = str(error).encode("ascii", "replace")[:_MAX_REASON_BYTES].decode()
            connection.close(CloseCode.POLICY_VIOLATION, reason)
        except (ConnectionClosed, TimeoutError) as error:
            gone = f"{peer} is gone ({wire.one_line(str(error))})"
            print(gone, flush=True) if is_in else self._refused.tell(gone)
        except Exception:
            # websockets closes the connection, and is told to be quiet.
            self._failed.tell(traceback.format_exc().rstrip(), is_error=True)
            raise
        finally:
            self._connections.discard(connection)

    def _greet(self, connection: PacedServer) -> str:
        """Tell a client what is served, if it speaks as we do; return what it calls itself.

        Raises:
            RemoteError: it does not; it was told.
        """
        try:
            hello = wire.unpack(connection.recv(_HELLO_S))
            protocol = wire.count_of(hello, "protocol")
            version = wire.line_of(hello, "version")
            if protocol != wire.PROTOCOL:
                raise RemoteError(
                    f"this server (vla_ros {wire.package_version()}) speaks version "
                    f"{wire.PROTOCOL} and the client (vla_ros {version}) version {protocol}; "
                    "install the same vla_ros on both machines"
                )
            self._door.require_proof(connection, hello.get("proof"))
            self._listener.let_in(connection.socket)
        except RemoteError as error:
            connection.send(_refusal(0, error))
            raise
        connection.let_in(wire.MAX_REQUEST_BYTES)
        connection.send(wire.pack(messages.welcome_to_map(self._runner, self.sha256)))
        ours = wire.package_version()
        same = "" if version == ours else f" (here {ours}: install the same on both machines)"
        return f"vla_ros {version}{same}"

    def _answer(self, connection: PacedServer, data: bytes | str) -> bytes | None:
        """Return the answer to what a client sent; None: it waits for none.

        Raises:
            RemoteError: it was no observation; whoever sends such a thing is not listened to.
        """
        message = wire.unpack(data)
        number = wire.count_of(message, "number")
        observation = messages.observation_from_map(message.get("observation"))
        decided = messages.decided_from_map(message.get("decided"))
        chunk = self._infer(connection, lambda: self._runner.act(observation, decided))
        if isinstance(chunk, VlaError):
            return _refusal(number, chunk)
        answer = {"kind": "chunk", "number": number, "chunk": messages.chunk_to_map(chunk)}
        return wire.pack(answer)

    def _infer(self, connection: PacedServer, act: Callable[[], Acted]) -> Acted | VlaError:
        """Return what `act` does in the one thread that infers, or what is to be said instead."""

        def act_if_awaited() -> Acted:
            if connection.state is not State.OPEN:
                raise RemoteError("nobody waits for this chunk")
            return act()

        try:
            return self._worker.submit(act_if_awaited).result()
        except VlaError as error:
            return error
        except Exception as error:
            # A bug, or a GPU out of memory: said to the client, and the next one may go well.
            self._failed.tell(traceback.format_exc().rstrip(), is_error=True)
            failed = f"the policy failed with {type(error).__name__}; the server's terminal has it"
            return RemoteError(failed)


def _refusal(number: int, error: VlaError) -> bytes:
    said = {"kind": "refused", "number": number, "error": type(error).__name__}
    return wire.pack({**said, "message": str(error)})


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        prog="policy_server", description="Serve a policy to a robot whose GPU is elsewhere."
    )
    parser.add_argument("checkpoint", type=Path, help="folder of a Stage 2 checkpoint")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0: any (%(default)s)")
    parser.add_argument(
        "--token-file", default="", help=f"file with the token; else ${TOKEN_VARIABLE}"
    )
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--threads", type=int, default=0, help="CPU threads; 0: all")
    parser.add_argument("--seed", type=int, default=0, help="of APT's noise (%(default)s)")
    return parser.parse_args(argv)


def open_server(args: argparse.Namespace) -> PolicyServer:
    """Load the checkpoint, have it act once, and listen.

    Raises:
        VlaError: one of these cannot be done.
    """
    address, token = Address(args.host, args.port), read_token(args.token_file)
    require_token(address, token)
    require_folder(args.checkpoint)
    # Importing torch takes seconds: whoever forgot the token is told before.
    import torch

    from vla_ros.policy.runner import PolicyRunner

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    sha256 = checkpoint_sha256(args.checkpoint)
    runner = PolicyRunner.load(args.checkpoint, device=args.device, seed=args.seed)
    return PolicyServer(runner, sha256, address, token)


def main(argv: list[str] | None = None) -> int:
    """Serve as the command line says until stopped; an error is one sentence and exit code 1."""
    args = parse_arguments(argv)
    try:
        server = open_server(args)
    except VlaError as error:
        print(f"policy_server: {error}", file=sys.stderr)
        return 1
    return serve_until_stopped(server, "policy_server", args.checkpoint)


def serve_until_stopped(server: PolicyServer, name: str, checkpoint: Path) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code of the command `name`."""
    asked, over = threading.Event(), threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: (asked.set(), over.set()))

    def listen_on() -> None:
        server.serve_forever()  # websockets leaves it without a word where `accept` fails, too
        over.set()

    thread = threading.Thread(target=listen_on)
    thread.start()
    print(f"policy {checkpoint} is served on {server.address}", flush=True)
    print(f"checkpoint_sha256 {server.sha256}", flush=True)
    over.wait()
    if not asked.is_set():
        print(
            f"{name}: {server.address} listens no longer, perhaps too many files are open "
            "(ulimit -n); start it again",
            file=sys.stderr,
        )
    server.close()
    thread.join()
    return 0 if asked.is_set() else 1


if __name__ == "__main__":
    sys.exit(main())
