"""The short-lived SSH user certificate, renewed before ssh needs it.

In `<config>/ssh` (a profile other than the default has `<config>/ssh-NAME`): the key pair
`id_ed25519[.pub]`, `id_ed25519-cert.pub`, `known_hosts` with the coordinator's CA, and
`certificate.json`, which says whose the certificate is and when it ends. Blocking, no asyncssh.
"""
# ruff: noqa: PTH110, PTH118, PTH120, PTH123
# `kled stream` uses this; pathlib would add 5 ms to every ssh connection.

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from typing import Any, NamedTuple

from kled_client.account import http
from kled_client.account.endpoint import proxy_for
from kled_client.account.files import ensure_private_dir, write_private
from kled_client.account.profile import DEFAULT_PROFILE, Profile, config_dir
from kled_wire.errors import KledError, ProtocolError, decode_error
from kled_wire.transport.address import parse_url

# A connection that begins now must still find the certificate valid after a slow dial-back; and so
# must programs that read it some minutes before they connect (the ten are docs/architecture.md's).
RENEW_BEFORE_S = 240.0
HOST_PATTERN = "*.kled"


class SshIdentityFiles(NamedTuple):
    """The files of one profile's SSH identity."""

    directory: str
    key: str
    certificate: str
    known_hosts: str
    state: str

    @property
    def public(self) -> str:
        return f"{self.key}.pub"


def identity_of(env: Mapping[str, str], profile_name: str) -> SshIdentityFiles:
    """Where the SSH files of a profile are."""
    folder = "ssh" if profile_name == DEFAULT_PROFILE else f"ssh-{profile_name}"
    directory = os.path.join(config_dir(env), folder)
    return SshIdentityFiles(
        directory=directory,
        key=os.path.join(directory, "id_ed25519"),
        certificate=os.path.join(directory, "id_ed25519-cert.pub"),
        known_hosts=os.path.join(directory, "known_hosts"),
        state=os.path.join(directory, "certificate.json"),
    )


def ensure_certificate(
    env: Mapping[str, str], profile: Profile, token: str, *, now: float | None = None
) -> SshIdentityFiles:
    """Leave a certificate on disk that is good for two more minutes; renews it if it is not.

    `now` is seconds since the epoch, the clock's by default. Raises what the coordinator says,
    UnavailableError, ConfigError.
    """
    identity = identity_of(env, profile.name)
    at = time.time() if now is None else now
    owner = _fingerprint(profile.url, token)
    if is_fresh(_read_state(identity), owner=owner, now=at) and os.path.exists(
        identity.certificate
    ):
        return identity
    ensure_key(identity)
    _renew(env, profile, token, identity, owner=owner, now=at)
    return identity


def ensure_key(identity: SshIdentityFiles) -> None:
    """Make the key pair if there is none. Raises ConfigError."""
    if os.path.exists(identity.key) and os.path.exists(identity.public):
        return
    # Half a second once, at login or where a script runs with KLED_TOKEN alone.
    from kled_client.account.ssh_keys import generate_key_pair  # noqa: PLC0415

    ensure_private_dir(os.path.dirname(identity.directory))
    ensure_private_dir(identity.directory)
    private, public = generate_key_pair("kled")
    write_private(identity.key, private)
    write_private(identity.public, public)


def is_fresh(state: Mapping[str, Any], *, owner: str, now: float) -> bool:
    """Whether the certificate of `certificate.json` still serves.

    Its age is what counts, by this machine's clock alone: laptops whose clock is wrong work.
    """
    if state.get("owner") != owner:
        return False
    issued, lifetime = state.get("issued_at"), state.get("lifetime_s")
    if not isinstance(issued, int | float) or not isinstance(lifetime, int | float):
        return False
    return 0 <= now - issued < lifetime - RENEW_BEFORE_S


def _renew(  # each is one fact the request or the state file needs
    env: Mapping[str, str],
    profile: Profile,
    token: str,
    identity: SshIdentityFiles,
    *,
    owner: str,
    now: float,
) -> None:
    with open(identity.public, encoding="utf-8") as file:
        public = file.read().strip()
    answer, headers = _post(env, profile, token, {"public_key": public})
    try:
        certificate, authority = str(answer["certificate"]), str(answer["ca_public_key"])
        lifetime = _lifetime(str(answer["valid_until"]), headers.get("date"), now)
    except (KeyError, TypeError, ValueError) as exc:
        raise ProtocolError(
            "answer_malformed", f"{profile.url} sent no usable SSH certificate: {exc!r}"
        ) from exc
    key = " ".join(authority.split()[:2])
    known = f"@cert-authority {HOST_PATTERN} {key}\n"
    write_private(identity.known_hosts, known.encode())
    write_private(identity.certificate, certificate.strip().encode() + b"\n")
    state = {"owner": owner, "issued_at": now, "lifetime_s": lifetime}
    write_private(identity.state, json.dumps(state).encode())


def _post(
    env: Mapping[str, str], profile: Profile, token: str, body: dict[str, str]
) -> tuple[Any, Mapping[str, str]]:
    address = parse_url(profile.url)
    sock = http.connect(address, proxy_for(address, env), ca_file=profile.ca_file)
    with sock:
        data = json.dumps(body).encode()
        headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            "Connection": "close",
        }
        http.send_request(sock, address, "POST /api/v1/ssh/certificates", headers, data)
        answer = http.read_answer(sock, address.authority)
        content = http.read_body(sock, answer, address.authority)
    status = answer.head.status
    if status // 100 != 2:
        raise decode_error(status, content) or KledError(
            "answer_malformed", f"{profile.url} answers {status} to a certificate request"
        )
    try:
        return json.loads(content), answer.head.headers
    except ValueError as exc:
        raise ProtocolError("answer_malformed", f"{profile.url} does not answer JSON") from exc


def _lifetime(valid_until: str, date: str | None, now: float) -> float:
    """Seconds from the server's own now (its Date header) to the end of the certificate."""
    # Only a renewal needs these.
    from datetime import datetime  # noqa: PLC0415
    from email.utils import parsedate_to_datetime  # noqa: PLC0415

    end = datetime.fromisoformat(valid_until).timestamp()
    return end - (parsedate_to_datetime(date).timestamp() if date else now)


def _read_state(identity: SshIdentityFiles) -> Mapping[str, Any]:
    try:
        with open(identity.state, "rb") as file:
            state = json.loads(file.read())
    except (OSError, ValueError):
        # Missing or damaged: the certificate is renewed and this written anew.
        return {}
    return state if isinstance(state, dict) else {}


def _fingerprint(url: str, token: str) -> str:
    """Whose certificate it is, without giving the token away."""
    from hashlib import sha256  # noqa: PLC0415  # kept beside its only use

    return sha256(f"{url}\0{token}".encode()).hexdigest()[:32]
