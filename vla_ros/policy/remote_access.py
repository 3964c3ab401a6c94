"""Where a policy's server listens, and the token that it and its clients know each other by."""

import hmac
import ipaddress
import os
import re
import secrets
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlsplit

from vla_ros.core.errors import RemoteError

SCHEME = "ws://"
DEFAULT_PORT = 8765
TOKEN_VARIABLE, TOKEN_FILE_VARIABLE = "VLA_POLICY_TOKEN", "VLA_POLICY_TOKEN_FILE"
# Long enough that nobody guesses it, also who has overheard a proof of it.
_TOKEN = re.compile(r"[\x21-\x7e]{16,256}")
NONCE_HEADER, PROOF_HEADER = "Vla-Nonce", "Vla-Proof"
_NONCE = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True)
class Address:
    """Host, a name or an IPv4 or IPv6 address, and port."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{SCHEME}{host}:{self.port}"

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine reaches it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def is_address(checkpoint: str) -> bool:
    """Return whether what was given for a checkpoint is a server's address."""
    return "://" in checkpoint


def address_of(text: str) -> Address:
    """Return the address in "ws://HOST:PORT"; without port: the default one.

    Raises:
        RemoteError: there is none, or a user or a password in it.
    """
    if "@" in text:  # not said again: it may hold what nobody else shall see
        raise RemoteError(
            f"an address of a policy server has no user and no password: give {SCHEME}HOST:PORT, "
            f"and the token in a file that {TOKEN_FILE_VARIABLE} names"
        )
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        parts, host, port = urlsplit(""), None, None
    is_bare = not (parts.path.strip("/") or parts.query or parts.fragment)
    if not text.startswith(SCHEME) or not host or port == 0 or not is_bare:
        raise RemoteError(
            f"{text!r} is no address of a policy server: give {SCHEME}HOST:PORT, for example "
            f"{SCHEME}localhost:{DEFAULT_PORT}; through ssh where a secret link is wanted"
        )
    return Address(host, DEFAULT_PORT if port is None else port)


def read_token(file: str | Path = "") -> str | None:
    """Return the token in `file`, else in the environment, None where neither has one.

    Never an argument of a command or a node's parameter: others see those.

    Args:
        file: for its owner's eyes only; "": the one that the environment names, if it does.

    Raises:
        RemoteError: the file cannot be read or others may read it, or the token is too short.
    """
    where, token = f"the environment's {TOKEN_VARIABLE}", os.environ.get(TOKEN_VARIABLE)
    if file := str(file) or os.environ.get(TOKEN_FILE_VARIABLE, ""):
        where, token = f"token file {file}", _read_private(Path(file)).strip()
    if token is None:
        return None
    if not _TOKEN.fullmatch(token):
        raise RemoteError(
            f"{where} holds no token of 16 to 256 printable characters without blanks; make one "
            "with: openssl rand -hex 32"
        )
    return token


def _read_private(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise RemoteError(
            f"token file {path} cannot be read ({error}); give a text file with the token"
        ) from None
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise RemoteError(
            f"token file {path} can be read by others on this machine; chmod 600 it, and make a "
            "new token if somebody may have"
        )
    return text


def require_token(address: Address, token: str | None) -> None:
    """Raise RemoteError if others than this machine could come in without a token."""
    if token is None and not address.is_loopback:
        raise RemoteError(
            f"{address.host} is reached from other machines, and there is no token: give "
            f"--token-file FILE or {TOKEN_VARIABLE}, or stay on 127.0.0.1 and use an ssh tunnel"
        )


def new_nonce() -> str:
    """Return what nobody has said before: 64 hexadecimal digits."""
    return secrets.token_hex(32)


def nonce_of(headers: Iterable[str]) -> str | None:
    """Return the nonce of a request, of all its headers of that name; None where there is none."""
    given = list(headers)
    return given[0] if len(given) == 1 and _NONCE.fullmatch(given[0]) else None


def proof_of(token: str, whose: Literal["server", "client"], nonces: tuple[str, str]) -> str:
    """Return what shows that `whose` end has the token, and says nothing of it.

    Args:
        token: that both have.
        whose: so that nobody can hand the other's proof back.
        nonces: the client's and the server's, of this connection: a proof that was overheard is
            none in another.
    """
    said = "\n".join(("vla_ros", whose, *nonces))
    return hmac.new(token.encode(), said.encode(), "sha256").hexdigest()


def is_proof(given: object, expected: str) -> bool:
    """Return whether what the other end gave is the proof; takes as long for any that is none."""
    return isinstance(given, str) and hmac.compare_digest(
        given.encode("utf-8", "surrogatepass"), expected.encode()
    )
