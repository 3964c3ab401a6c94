"""A checkpoint behind vla-eval's protocol, so that anybody's harness can score it.

    python -m vla_ros.policy.vla_eval_server CHECKPOINT [--port PORT] [--image CAMERA=NAME ...]
        [--cameras FILE] [--steps N] [--device DEVICE] [--threads N] [--seed SEED]

The protocol knows no token, so only this machine may ask; a harness elsewhere comes through ssh:
docs/benchmarks.md. Which benchmark it can be scored on follows from the checkpoint's arm.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from websockets.http11 import Request, Response
from websockets.sync.server import ServerConnection

from vla_ros.core.errors import RemoteError, VlaError
from vla_ros.policy import remote_wire as wire
from vla_ros.policy import vla_eval_wire as messages
from vla_ros.policy.checkpoint_folder import require_folder
from vla_ros.policy.checkpoint_hash import checkpoint_sha256
from vla_ros.policy.remote_access import Address
from vla_ros.policy.remote_door import Door
from vla_ros.policy.remote_pace import PacedServer
from vla_ros.policy.server import PolicyServer, serve_until_stopped
from vla_ros.policy.vla_eval_cameras import read_eyes
from vla_ros.policy.vla_eval_session import DEFAULT_STEPS, Manner, Session, manner_of, names_of

if TYPE_CHECKING:
    from vla_ros.policy.runner import PolicyRunner

NAME = "vla_eval_server"
DEFAULT_PORT = 8000
_HELLO_S = 5.0


class HealthDoor(Door):
    """A door that also says that there is somebody behind it."""

    def require_nonce(self, connection: ServerConnection, request: Request) -> Response | None:
        """Answer GET /health; everything else is vla-eval's websocket."""
        if request.path != "/health":
            return super().require_nonce(connection, request)
        response = connection.respond(200, '{"status": "ok"}\n')
        del response.headers["Content-Type"]
        response.headers["Content-Type"] = "application/json"
        return response


class VlaEvalServer(PolicyServer):
    """Answers each observation of a benchmark's episode with the action of one step.

    Args:
        runner, sha256, address: as of `PolicyServer`.
        manner: how the checkpoint takes part.

    Raises:
        RemoteError: others than this machine would reach it, or it cannot listen there.
    """

    _door_type = HealthDoor
    # A harness that makes its world answers nothing meanwhile, for minutes on a slow machine.
    _ping_s = None

    def __init__(self, runner: "PolicyRunner", sha256: str, address: Address, manner: Manner):
        require_loopback(address)
        self._manner = manner
        self._sessions: WeakKeyDictionary[PacedServer, Session] = WeakKeyDictionary()
        super().__init__(runner, sha256, address)

    def _greet(self, connection: PacedServer) -> str:
        """Answer a harness's hello; return what it calls itself.

        Raises:
            RemoteError: it speaks another version; it was told.
        """
        hello = messages.unpack(connection.recv(_HELLO_S))
        version = hello.payload.get("protocol_version")
        try:
            if hello.kind != "hello" or version != messages.PROTOCOL:
                raise RemoteError(
                    f"this server speaks version {messages.PROTOCOL} of vla-eval's protocol and "
                    f"wants a hello first, got {hello.kind} of version "
                    f"{wire.one_line(str(version))}; take vla-eval 0.8"
                )
            self._listener.let_in(connection.socket)
        except RemoteError as error:
            connection.send(_error(hello.number, error))
            raise
        connection.let_in(wire.MAX_REQUEST_BYTES)
        self._sessions[connection] = Session(self._runner, self._manner)
        connection.send(messages.pack("hello", self._welcome(), hello.number))
        return f"vla-eval {wire.one_line(str(hello.payload.get('harness_version')))}"

    def _welcome(self) -> Mapping:
        """Return what the server says of itself."""
        names = tuple(self._manner.names.values())
        specs = self._manner.arm.specs(names, self._runner.contract.needs_extrinsics)
        return {
            "harness_version": wire.package_version(),
            "protocol_version": messages.PROTOCOL,
            "model_server": "vla_ros",
            "capabilities": {},
            "checkpoint_sha256": self.sha256,
            **specs,
        }

    def _answer(self, connection: PacedServer, data: bytes | str) -> bytes | None:
        """Return the answer to an observation; what else a harness says wants none.

        Raises:
            RemoteError: it is no message of the protocol.
        """
        message, session = messages.unpack(data), self._sessions[connection]
        if message.kind in ("episode_start", "episode_end"):
            session.begin()
        elif message.kind == "hello":
            return messages.pack("hello", self._welcome(), message.number)
        elif message.kind == "error":
            said = wire.one_line(str(message.payload.get("error")))
            self._refused.tell(f"a harness says: {said}")
        elif message.kind == "observation":
            action = self._infer(connection, lambda: session.act(message.payload))
            if isinstance(action, VlaError):
                self._refused.tell(f"no action: {action}")
                return _error(message.number, action)
            # A harness that renders may leave pictures out so often; vla-eval's own sends them.
            told = {"actions": action, "steps_left": session.steps_left}
            return messages.pack("action", told, message.number)
        return None


def require_loopback(address: Address) -> None:
    """Raise RemoteError if others than this machine could come in."""
    if not address.is_loopback:
        raise RemoteError(
            f"{address.host} is reached from other machines, and vla-eval's protocol knows no "
            "token: stay on 127.0.0.1 and use an ssh tunnel"
        )


def _error(number: int, error: VlaError) -> bytes:
    return messages.pack("error", {"error": str(error)}, number)


def parse_arguments(argv: list[str] | None = None) -> argparse.Namespace:
    """Return the command line's options."""
    parser = argparse.ArgumentParser(
        prog=NAME, description="Serve a checkpoint to a harness that speaks vla-eval's protocol."
    )
    add = parser.add_argument
    add("checkpoint", type=Path, help="folder of a Stage 2 checkpoint")
    add("--host", default="127.0.0.1", help="address of this machine alone (%(default)s)")
    add("--port", type=int, default=DEFAULT_PORT, help="0: any (%(default)s)")
    add("--image", nargs="+", default=[], metavar="CAMERA=NAME", help="harness's image of a camera")
    add("--cameras", default="", help="JSON file that says where cameras are, which APT must know")
    add("--steps", type=int, default=DEFAULT_STEPS, help="of a chunk that are done (%(default)s)")
    add("--device", default="cpu", help="cpu or cuda (%(default)s)")
    add("--threads", type=int, default=0, help="CPU threads; 0: all")
    add("--seed", type=int, default=0, help="of APT's noise (%(default)s)")
    return parser.parse_args(argv)


def open_server(args: argparse.Namespace) -> VlaEvalServer:
    """Load the checkpoint, have it act once, and listen.

    Raises:
        VlaError: one of these cannot be done.
    """
    address = Address(args.host, args.port)
    require_loopback(address)
    require_folder(args.checkpoint)
    names, eyes = names_of(args.image), read_eyes(args.cameras) if args.cameras else {}
    import torch  # takes seconds: who mistyped is told before

    from vla_ros.policy.runner import PolicyRunner

    if args.threads > 0:
        torch.set_num_threads(args.threads)
    sha256 = checkpoint_sha256(args.checkpoint)
    runner = PolicyRunner.load(args.checkpoint, device=args.device, seed=args.seed)
    manner = manner_of(runner.contract, runner.cameras, names, eyes, args.steps)
    return VlaEvalServer(runner, sha256, address, manner)


def main(argv: list[str] | None = None) -> int:
    """Serve as the command line says until stopped; an error is one sentence and exit code 1."""
    args = parse_arguments(argv)
    try:
        server = open_server(args)
    except VlaError as error:
        print(f"{NAME}: {error}", file=sys.stderr)
        return 1
    return serve_until_stopped(server, NAME, args.checkpoint)


if __name__ == "__main__":
    sys.exit(main())
