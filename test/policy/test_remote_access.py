import pytest

from vla_ros.core.errors import RemoteError
from vla_ros.policy.remote_access import (
    Address,
    address_of,
    is_address,
    is_proof,
    new_nonce,
    nonce_of,
    proof_of,
    read_token,
)

TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "host", "port", "again"),
    [
        ("ws://localhost", "localhost", 8765, "ws://localhost:8765"),
        ("ws://10.0.0.2:99/", "10.0.0.2", 99, "ws://10.0.0.2:99"),
        ("ws://[::1]:7", "::1", 7, "ws://[::1]:7"),
    ],
)
def test_an_address_is_host_and_port(text, host, port, again):
    assert address_of(text) == Address(host, port)
    assert str(address_of(text)) == again


@pytest.mark.parametrize(
    "text",
    ["http://a:1", "ws://", "ws://a:0", "ws://a:99999", "ws://a:b", "ws://a/b"],
)  # fmt: skip
def test_what_is_no_address_is_refused(text):
    with pytest.raises(RemoteError, match=r"no address of a policy server: give ws://HOST:PORT"):
        address_of(text)


@pytest.mark.parametrize("user", ["u:secret@", ":secret@", "secret@", "@", "u@:secret@"])
@pytest.mark.parametrize("host", ["gpu", "gpu:8765", "gpu:port"])
def test_an_address_holds_no_password_and_none_is_said_again(user, host):
    with pytest.raises(RemoteError, match="no user and no password: give ws://") as raised:
        address_of(f"ws://{user}{host}")
    assert "secret" not in str(raised.value)


def test_a_folder_is_no_address():
    assert is_address("ws://gpu:8765")
    assert is_address("tcp://gpu:8765")  # refused later, by its scheme
    assert not is_address("runs/tap/best")


@pytest.mark.parametrize(
    ("host", "expected"),
    [("localhost", True), ("127.3.2.1", True), ("::1", True)]
    + [(host, False) for host in ("0.0.0.0", "::", "192.168.1.2", "gpu", "localhost.evil.example")],
)
def test_loopback_is_told_from_the_rest(host, expected):
    assert Address(host, 1).is_loopback is expected


def test_the_token_is_of_the_file_before_the_environment(tmp_path, monkeypatch):
    monkeypatch.delenv("VLA_POLICY_TOKEN", raising=False)
    monkeypatch.delenv("VLA_POLICY_TOKEN_FILE", raising=False)
    assert read_token() is None
    monkeypatch.setenv("VLA_POLICY_TOKEN", TOKEN)
    assert read_token() == TOKEN
    file = tmp_path / "token"
    file.write_text(TOKEN[::-1] + "\n")
    file.chmod(0o600)
    assert read_token(file) == TOKEN[::-1]
    monkeypatch.setenv("VLA_POLICY_TOKEN_FILE", str(file))
    assert read_token() == TOKEN[::-1]


@pytest.mark.parametrize("text", ["", "short", "with blank in between", "ü" * 20, "x" * 257])
def test_a_token_that_is_none_is_refused(text, tmp_path, monkeypatch):
    monkeypatch.setenv("VLA_POLICY_TOKEN", text)
    with pytest.raises(RemoteError, match="16 to 256 printable"):
        read_token()
    file = tmp_path / "token"
    file.write_text(text)
    file.chmod(0o600)
    with pytest.raises(RemoteError, match="token file"):
        read_token(file)


def test_a_token_file_that_others_can_read_is_refused(tmp_path):
    file = tmp_path / "token"
    with pytest.raises(RemoteError, match="cannot be read"):
        read_token(file)
    file.write_text(TOKEN)
    file.chmod(0o640)
    with pytest.raises(RemoteError, match="chmod 600"):
        read_token(file)


NONCES = "a" * 64, "b" * 64


def test_a_proof_is_of_token_side_and_connection():
    # printf 'vla_ros\nserver\naaa…\nbbb…' | openssl dgst -sha256 -hmac 0123456789abcdef
    proof = proof_of(TOKEN, "server", NONCES)
    assert proof == "ee8641e14b6f5572392ec548fbf6338895b25cdd4ad0120556ced9919a28eac6"
    others = [
        proof_of(TOKEN[::-1], "server", NONCES),
        proof_of(TOKEN, "client", NONCES),
        proof_of(TOKEN, "server", NONCES[::-1]),
        proof_of(TOKEN, "server", ("a" * 64, "c" * 64)),
    ]
    assert len({proof, *others}) == 5
    assert is_proof(proof, proof)
    for given in (None, b"", "", proof[:-1], proof + "0", proof.upper(), "\udcff", 1):
        assert not is_proof(given, proof)


def test_a_nonce_is_one_and_new():
    assert nonce_of([NONCES[0]]) == NONCES[0]
    assert nonce_of([new_nonce()]) != nonce_of([new_nonce()]) is not None
    for headers in ([], list(NONCES), ["a" * 63], ["a" * 65], ["A" * 64], ["a" * 64 + "\n"]):
        assert nonce_of(headers) is None
