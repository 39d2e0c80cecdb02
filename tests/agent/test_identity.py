"""What an agent keeps of its enrolment, and what it makes of odd answers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kled_agent.config import Config
from kled_agent.identity import Identity, _enrolled, load_identity, save_identity
from kled_wire.errors import ProtocolError

ANSWER: dict[str, object] = {
    "agent_id": "agt_1",
    "workspace_id": "ws_1",
    "workspace": "dev",
    "owner": "alice",
    "host_certificate": "cert",
    "user_ca": "ca",
    "principals": ["user:usr_1"],
    "names": ["dev.kled"],
}
NEW = Identity(coordinator_url="http://c", token="t", host_key="k", host_public_key="p")


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return Config(coordinator_url="http://c", token="t", state_dir=tmp_path)


def test_what_sessions_get_is_kept(config: Config) -> None:
    told = {**ANSWER, "environment": {"A": "b"}, "directory": "src"}
    identity = _enrolled(NEW, told)
    assert (identity.environment, identity.directory) == ({"A": "b"}, "src")
    save_identity(config, identity)
    assert load_identity(config) == identity


def test_an_older_coordinator_says_nothing_about_sessions(config: Config) -> None:
    identity = _enrolled(NEW, ANSWER)
    assert (identity.environment, identity.directory) == ({}, "")
    save_identity(config, identity)
    file = config.state_dir / "identity.json"
    kept = json.loads(file.read_text())
    del kept["environment"], kept["directory"]
    file.write_text(json.dumps(kept))
    assert load_identity(config) == identity


@pytest.mark.parametrize("environment", [None, [], "A=b", {"": "x", "A=B": "x", "N": "a\0b"}])
def test_variables_that_no_program_can_get_are_left_out(environment: object) -> None:
    assert _enrolled(NEW, {**ANSWER, "environment": environment}).environment == {}


@pytest.mark.parametrize("damage", [{"environment": {"A": 1}}, {"environment": 1}, {"token": 1}])
def test_a_damaged_file_is_no_identity(config: Config, damage: dict[str, object]) -> None:
    save_identity(config, _enrolled(NEW, ANSWER))
    file = config.state_dir / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **damage}))
    assert load_identity(config) is None


def test_an_answer_without_its_fields_is_refused() -> None:
    with pytest.raises(ProtocolError):
        _enrolled(NEW, {**ANSWER, "owner": None})
