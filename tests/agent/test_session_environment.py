"""What the enrolment says about sessions: kept, and harmless whatever it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from kled_agent.config import AgentConfig
from kled_agent.identity import Identity, _enrolled, load_identity, save_identity

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
def config(tmp_path: Path) -> AgentConfig:
    return AgentConfig(coordinator_url="http://c", token="t", state_dir=tmp_path)


def test_what_sessions_get_is_kept(config: AgentConfig) -> None:
    identity = _enrolled(NEW, {**ANSWER, "environment": {"A": "b"}, "directory": "src"})
    assert (identity.environment, identity.directory) == ({"A": "b"}, "src")
    save_identity(config, identity)
    assert load_identity(config) == identity


def test_older_coordinators_and_files_say_nothing_about_sessions(config: AgentConfig) -> None:
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


@pytest.mark.parametrize("environment", [{"A": 1}, 1, ["A"]])
def test_a_damaged_file_is_no_identity(config: AgentConfig, environment: object) -> None:
    save_identity(config, _enrolled(NEW, ANSWER))
    file = config.state_dir / "identity.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "environment": environment}))
    assert load_identity(config) is None
