"""The identity on disk and from the coordinator."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest
import trio

from kled_agent.config import AgentConfig
from kled_agent.identity import (
    Identity,
    enroll,
    load_identity,
    make_identity,
    save_identity,
)
from kled_wire.errors import (
    ConfigError,
    KledError,
    ProtocolError,
    UnauthenticatedError,
    UnavailableError,
)
from kled_wire.http import upgrade
from tests.agent.control.coordinator import say, serving

ANSWER = {
    "host_certificate": "cert", "user_ca": "ca", "agent_id": "agt_1", "workspace_id": "ws_1",
    "workspace": "dev", "owner": "alice", "principals": ["user:usr_1"], "names": [], "more": 1,
}  # fmt: skip


@pytest.fixture
def config(tmp_path: Path) -> AgentConfig:
    return AgentConfig(
        coordinator_url="http://127.0.0.1:1", token="kled_agent_x", state_dir=tmp_path / "a" / "b"
    )


@pytest.fixture
def identity(config: AgentConfig) -> Identity:
    return Identity(
        coordinator_url=config.coordinator_url, token=config.token, host_key="private",
        host_public_key="public", host_certificate="cert", principals=("user:usr_1",),
    )  # fmt: skip


def test_what_was_saved_is_loaded_and_nobody_else_can_read_it(
    config: AgentConfig, identity: Identity
) -> None:
    save_identity(config, identity)
    assert load_identity(config) == identity
    file = config.state_dir / "identity.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(config.state_dir.stat().st_mode) == 0o700
    assert [p.name for p in config.state_dir.iterdir()] == ["identity.json"]
    assert "private" not in repr(identity)
    assert "kled_agent_x" not in repr(identity)


def test_a_save_that_fails_leaves_the_old_one(
    config: AgentConfig, identity: Identity, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_identity(config, identity)

    def full(_number: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ConfigError, match="No space left") as caught:
        save_identity(config, dataclasses.replace(identity, owner="bob"))
    assert caught.value.code == "identity_unwritable"
    assert load_identity(config) == identity


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "7", "null", "{}", '{"principals": 1}', "\xff",
     '{"principals": [], "coordinator_url": 1, "token": 2, "host_key": 3, "host_public_key": 4}'],
)  # fmt: skip
def test_a_damaged_file_is_as_none(config: AgentConfig, text: str) -> None:
    config.state_dir.mkdir(parents=True)
    (config.state_dir / "identity.json").write_bytes(text.encode("latin-1"))
    assert load_identity(config) is None


def test_fields_of_a_newer_agent_are_as_none(config: AgentConfig, identity: Identity) -> None:
    save_identity(config, identity)
    file = config.state_dir / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "later": "x"}))
    assert load_identity(config) is None


def test_another_token_or_coordinator_makes_the_old_identity_void(
    config: AgentConfig, identity: Identity
) -> None:
    save_identity(config, identity)
    assert load_identity(dataclasses.replace(config, token="")) == identity
    assert load_identity(dataclasses.replace(config, token="kled_agent_y")) is None
    assert load_identity(dataclasses.replace(config, coordinator_url="http://other")) is None


async def test_a_new_identity_has_a_key_that_openssh_reads(
    config: AgentConfig, tmp_path: Path
) -> None:
    made = await make_identity(config)
    key = tmp_path / "key"
    key.write_text(made.host_key)
    key.chmod(0o600)
    shown = await trio.run_process(["ssh-keygen", "-y", "-f", str(key)], capture_stdout=True)
    assert shown.stdout.decode().split()[:2] == made.host_public_key.split()[:2]
    assert not made.enrolled


async def test_no_token_and_no_identity_says_what_to_do(config: AgentConfig) -> None:
    with pytest.raises(ConfigError) as caught:
        await make_identity(dataclasses.replace(config, token=""))
    assert caught.value.code == "token_missing"
    assert "KLED_AGENT_TOKEN" in str(caught.value.hint)


def _ok(body: object) -> bytes:
    text = json.dumps(body).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text) + text


async def test_enrolling_fills_in_who_we_are(identity: Identity) -> None:
    async with serving(say(_ok(ANSWER))) as coordinator:
        mine = dataclasses.replace(identity, coordinator_url=coordinator.url + "/")
        enrolled = await enroll(mine)
    assert enrolled.enrolled
    assert (enrolled.workspace, enrolled.owner, enrolled.agent_id) == ("dev", "alice", "agt_1")
    assert (enrolled.principals, enrolled.host_key) == (("user:usr_1",), "private")
    [head] = coordinator.heads
    assert (head.method, head.path) == ("POST", "/api/v1/agent/enroll")
    assert head.headers["authorization"] == "Bearer kled_agent_x"


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (upgrade.encode_error(UnauthenticatedError("token_revoked", "x")), UnauthenticatedError),
        (upgrade.encode_error(UnavailableError("starting", "x")), UnavailableError),
        (_ok({**ANSWER, "user_ca": 5}), ProtocolError),
        (_ok({**ANSWER, "principals": "user:usr_1"}), ProtocolError),
        (_ok({}), ProtocolError),
        (_ok([]), ProtocolError),
        (b"", UnavailableError),
    ],
)
async def test_a_refused_or_strange_enrolment_is_a_kled_error(
    identity: Identity, said: bytes, kind: type[KledError]
) -> None:
    async with serving(say(said)) as coordinator:
        with pytest.raises(kind):
            await enroll(dataclasses.replace(identity, coordinator_url=coordinator.url))


async def test_a_coordinator_that_is_silent_is_given_up(identity: Identity) -> None:
    async def silent(_head: object, _stream: object) -> None:
        await trio.sleep_forever()

    async with serving(silent) as coordinator:
        asking = dataclasses.replace(identity, coordinator_url=coordinator.url)
        with pytest.raises(KledError) as caught:
            await enroll(asking, timeout_s=0.05)
    assert caught.value.code == "enroll_timeout"
