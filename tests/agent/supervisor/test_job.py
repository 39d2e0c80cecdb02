"""What the supervisor is told: one reading, and secrets that no error shows."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_agent.supervisor.job import decode_job
from kled_wire.errors import ConfigError


def test_a_job_with_a_command_and_one_without() -> None:
    agent = {"argv": ["/opt/kled/bin/kled-agent"], "env": {"KLED_AGENT_TOKEN_FILE": "/run/t"}}
    command = {"argv": ["nginx", "-g", "daemon off;"], "user": "www:www", "cwd": "/srv"}
    job = decode_job(json.dumps({"agent": agent, "command": command}).encode())
    assert job.command is not None
    assert (job.command.argv[0], job.command.user, job.command.cwd) == ("nginx", "www:www", "/srv")
    assert decode_job(json.dumps({"agent": agent}).encode()).command is None
    assert decode_job(json.dumps({"command": command}).encode()).agent is None


@pytest.mark.parametrize(
    "job",
    [
        [],
        {},
        {"agent": None, "command": None},
        {"agent": {"argv": []}},
        {"agent": {"argv": [""]}},
        {"agent": {"argv": ["a\0b"]}},
        {"agent": {"argv": ["a"], "env": {"A=B": "secret"}}},
        {"agent": {"argv": ["a"], "env": {"A": 1}}},
        {"agent": {"argv": ["a"], "env": ["secret"]}},
        {"agent": {"argv": ["a"], "cwd": "relative"}},
        {"agent": {"argv": ["a"], "user": 7}},
        {"agent": {"argv": ["a"]}, "command": "sh"},
    ],
)
def test_a_malformed_job_is_refused_and_shows_no_value(job: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        decode_job(json.dumps(job).encode())
    assert caught.value.code == "supervisor_job_malformed"
    assert "secret" not in str(caught.value)


@given(st.binary(max_size=200))
def test_garbage_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError):
        decode_job(text)


def test_secrets_are_in_no_repr() -> None:
    job = decode_job(b'{"agent": {"argv": ["a"], "env": {"TOKEN": "secret"}}}')
    assert "secret" not in repr(job)
