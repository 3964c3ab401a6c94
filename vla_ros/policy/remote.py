"""Has a policy's server act: `RemoteRunner` does for its caller what a `PolicyRunner` does.

Free of torch: a robot's small computer needs none.
"""

import json
import time

from vla_ros.core.contract import Contract
from vla_ros.core.errors import ContractError, RemoteError
from vla_ros.core.observation import Chunk, Decided, Observation
from vla_ros.policy import remote_messages as messages
from vla_ros.policy import remote_wire as wire
from vla_ros.policy.remote_access import address_of
from vla_ros.policy.remote_link import Link

DEFAULT_TIMEOUT_S = 3.0
# A server that is gone is looked for at once, then after these times, and doubling.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 4.0
# A robot keeps as many joint states.
_MAX_PAST = 1000
# What must be the same when a server comes back.
_STAYS = ("sha256", "contract", "cameras", "num_past", "goes_on")


class RemoteRunner:
    """A checkpoint that a server runs. One caller at a time; `close` may come from another thread.

    While the link is down `act` raises, at once as long as it is not time to look for the server
    again, and later connects anew by itself. A server that came back must serve what it served.

    Args:
        address: "ws://HOST:PORT".
        expected_contract: the contract it must have; None: any.
        token: what the server must have as well; None: nothing.
        timeout_s: how long the server may take to be reached, and then to answer [s].

    Attributes:
        contract, run, num_past, goes_on, cameras: as of `PolicyRunner`.
        sha256: of the server's checkpoint.
        server_version: of its vla_ros.

    Raises:
        RemoteError: there is no server, it speaks another version, or it wants another token.
        ContractError: its contract is not `expected_contract`.
    """

    def __init__(
        self,
        address: str,
        expected_contract: Contract | None = None,
        token: str | None = None,
        timeout_s: float = DEFAULT_TIMEOUT_S,
    ):
        self._address, self._token, self._timeout_s = address_of(address), token, timeout_s
        self._link: Link | None = None
        self._opening: Link | None = None
        self._number = self._failures = 0
        self._is_closed = False
        self._next_try_s = time.monotonic()
        link = Link(self._address, token, timeout_s)
        link.open()
        self._welcome = link.welcome
        try:
            self._read_welcome(self._welcome)
            if expected_contract is not None:
                expected_contract.require_match(self.contract, self._name)
        except RemoteError as error:
            link.close()
            raise RemoteError(f"{self._name}: {error}; is its vla_ros ours?") from None
        except ContractError:
            link.close()
            raise
        self._link = link

    def _read_welcome(self, welcome: dict) -> None:
        self.contract = messages.contract_from_text(wire.text_of(welcome, "contract"))
        self.sha256 = wire.line_of(welcome, "sha256")
        self.server_version = wire.line_of(welcome, "version")
        self.num_past = wire.count_of(welcome, "num_past", _MAX_PAST)
        self.goes_on = welcome.get("goes_on") is True
        self.cameras = _cameras_of(welcome, self.contract)
        self.run = _run_of(welcome)

    def act(self, observation: Observation, decided: Decided | None = None) -> Chunk:
        """Return what to do from the moment of `observation` on; arguments as of `PolicyRunner`.

        Raises:
            ContractError: the server's runner refuses the observation, or what it answers fits the
                contract not.
            RemoteError: the link is down, the server is slow, failed, or answers no chunk.
        """
        link = self._link or self._connect_again()
        self._number += 1
        request = {
            "number": self._number,
            "observation": messages.observation_to_map(observation),
            "decided": messages.decided_to_map(decided),
        }
        data = wire.pack(request)
        if len(data) > wire.MAX_REQUEST_BYTES:
            raise RemoteError(
                f"the observation has {len(data) / 1e6:.1f} MB, and a policy server takes "
                f"{wire.MAX_REQUEST_BYTES / 1e6:.1f} MB; have the cameras send JPEG"
            )
        try:
            answer = link.ask(data, self._timeout_s)
            if answer.get("number") != self._number:
                raise RemoteError("it answered another question")
            if answer.get("kind") != "refused":
                return messages.chunk_from_map(answer.get("chunk"), self.contract)
            reason = wire.line_of(answer, "message")
        except (RemoteError, ContractError) as error:
            # Who says such a thing is not believed in what follows either.
            self._drop(link)
            raise RemoteError(f"{self._name}: {error}; the arm gets nothing of it") from None
        kind = ContractError if answer.get("error") == "ContractError" else RemoteError
        raise kind(f"{reason} ({self._name})")

    def warm_up(self) -> None:
        """Do nothing: a server has acted before anybody could reach it."""

    def close(self) -> None:
        """End the connection for good; an `act` that waits, or connects anew, raises."""
        self._is_closed = True
        opening, link, self._link = self._opening, self._link, None
        for one in (opening, link):
            if one is not None:
                one.close()

    @property
    def _name(self) -> str:
        return f"policy server {self._address}"

    def _drop(self, link: Link) -> None:
        """Leave a connection, so that an answer that comes late is nobody's."""
        self._link = None
        link.close()

    def _connect_again(self) -> Link:
        """Connect anew, if it is time to.

        Raises:
            RemoteError: it is not, there is no server, or it serves something else now.
        """
        if self._is_closed:
            raise RemoteError(f"the connection to {self._name} was closed; start anew")
        left_s = self._next_try_s - time.monotonic()
        if left_s > 0:
            raise RemoteError(
                f"no connection to {self._name}; {self._failures} tries failed, the next one is in "
                f"{left_s:.1f} s"
            )
        link = self._opening = Link(self._address, self._token, self._timeout_s)
        try:
            if self._is_closed:  # just now, by another thread, which found nothing to close
                link.close()
            link.open()
            changed = [key for key in _STAYS if link.welcome.get(key) != self._welcome.get(key)]
            if changed:
                link.close()
                raise RemoteError(
                    f"{self._name} came back with another checkpoint ({', '.join(changed)} "
                    "changed); start it with the one from before, or start the node anew"
                )
        except RemoteError:
            # Bounded first: after a night of tries the power is too large for a float.
            wait_s = min(_FIRST_WAIT_S * 2 ** min(self._failures, 10), _LONGEST_WAIT_S)
            self._failures, self._next_try_s = self._failures + 1, time.monotonic() + wait_s
            raise
        finally:
            self._opening = None
        self._failures, self._link = 0, link
        if self._is_closed:  # meanwhile, by another thread, which may have found no link to close
            link.close()
        return link


def _cameras_of(welcome: dict, contract: Contract) -> tuple[str, ...]:
    """Return whose pictures the server looks at; RemoteError if these are not the contract's."""
    cameras = welcome.get("cameras")
    if not isinstance(cameras, list) or not cameras:
        raise RemoteError("cameras of a message must be a list")
    if not all(name in contract.cameras for name in cameras):
        raise RemoteError("cameras of a message must be some of the contract's")
    return tuple(cameras)


def _run_of(welcome: dict) -> dict:
    """Return the checkpoint's provenance; RemoteError if there is none."""
    try:
        run = json.loads(wire.text_of(welcome, "run"))
    except (ValueError, RecursionError):
        run = None
    if not isinstance(run, dict):
        raise RemoteError("run of a message must be a JSON object")
    return run
