"""Three sources of settings, and errors that name them."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_agent.config import AgentConfig, load_config, parse_bind
from kled_wire.errors import ConfigError

URL = "https://coordinator.example"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "agent.toml"


def _load(
    file: Path, text: str = "", environ: dict[str, str] | None = None, **flags: str | None
) -> AgentConfig:
    file.write_text(text)
    return load_config(file, environ or {}, flags)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(file: Path) -> None:
    text = f'coordinator_url = "{URL}/file"\nuser = "file"\nshell = "/bin/file"\n'
    environ = {"KLED_COORDINATOR_URL": URL + "/env", "KLED_AGENT_USER": "env"}
    config = _load(file, text, environ, coordinator_url=URL + "/flag", user=None)
    assert (config.coordinator_url, config.user, config.shell) == (
        URL + "/flag",
        "env",
        "/bin/file",
    )


def test_the_token_comes_from_a_file_unless_it_is_given(file: Path, tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from-file\n")
    text = f'coordinator_url = "{URL}"\ntoken_file = "{tmp_path}/token"\n'
    assert _load(file, text).token == "from-file"
    assert _load(file, text, {"KLED_AGENT_TOKEN": "given"}).token == "given"
    assert "from-file" not in repr(_load(file, text))


@pytest.mark.parametrize(
    ("text", "environ", "flags", "code", "source"),
    [
        ("", {}, {}, "coordinator_url_missing", "KLED_COORDINATOR_URL"),
        ('coordinator_url = "h"', {}, {}, "url_invalid", "the configuration file"),
        ("", {"KLED_COORDINATOR_URL": "ftp://h"}, {}, "url_invalid", "KLED_COORDINATOR_URL"),
        ("", {}, {"coordinator_url": "h:1"}, "url_invalid", "--coordinator-url"),
        ("colour = 'x'", {}, {}, "config_unknown", "agent.toml"),
        ("user = 1", {}, {}, "config_malformed", "agent.toml"),
        ("user = ", {}, {}, "config_malformed", "agent.toml"),
        ("", {"KLED_AGENT_LOG_LEVEL": "loud"}, {}, "config_malformed", "KLED_AGENT_LOG_LEVEL"),
        ("", {"KLED_AGENT_TOKEN_FILE": "/no/file"}, {}, "token_unreadable",
         "KLED_AGENT_TOKEN_FILE"),
        ("", {"KLED_AGENT_DIRECT_LISTEN": "yes"}, {}, "config_malformed",
         "KLED_AGENT_DIRECT_LISTEN"),
        ("", {"KLED_AGENT_DIRECT_BIND": "40022"}, {}, "config_malformed",
         "KLED_AGENT_DIRECT_BIND"),
        ("", {}, {"token_file": "/no/file"}, "token_unreadable", "--token-file"),
    ],
)  # fmt: skip
def test_an_error_names_the_source_of_the_setting(
    file: Path, text: str, environ: dict[str, str], flags: dict[str, str], code: str, source: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(file, text, environ, **flags)
    assert caught.value.code == code
    assert source in caught.value.line()


def test_a_file_that_is_not_there_is_an_error_only_where_it_was_named(tmp_path: Path) -> None:
    missing = tmp_path / "none.toml"
    environ = {"KLED_COORDINATOR_URL": URL}
    with pytest.raises(ConfigError, match="--config: there is no file"):
        load_config(missing, environ, {})
    with pytest.raises(ConfigError, match="KLED_AGENT_CONFIG: there is no file"):
        load_config(None, {**environ, "KLED_AGENT_CONFIG": str(missing)}, {})
    assert load_config(None, environ, {}).coordinator_url == URL


def test_a_file_that_is_no_text_is_malformed(file: Path) -> None:
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError) as caught:
        load_config(file, {}, {})
    assert caught.value.code == "config_malformed"


@pytest.mark.parametrize(
    ("text", "bind"),
    [
        ("[::]:0", ("::", 0)),
        ("0.0.0.0:40022", ("0.0.0.0", 40022)),
        ("[fd00::5]:40022", ("fd00::5", 40022)),
    ],
)
def test_where_to_listen_is_an_address_and_a_port(text: str, bind: tuple[str, int]) -> None:
    assert parse_bind(text) == bind


@pytest.mark.parametrize(
    "text", ["", ":0", "::0", "[10.0.0.1]:0", "10.0.0.1:x", "h:1", "[::]:70000"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="direct_bind"):
        parse_bind(text)


def test_what_a_template_for_coder_gives_is_taken_and_ours_comes_first() -> None:
    coder = {"CODER_AGENT_URL": "https://c/", "CODER_AGENT_TOKEN": "kled_agent_c"}
    config = load_config(None, coder, {})
    assert (config.coordinator_url, config.token) == ("https://c/", "kled_agent_c")
    ours = {"KLED_COORDINATOR_URL": "https://k", "KLED_AGENT_TOKEN": "kled_agent_k"}
    config = load_config(None, {**coder, **ours}, {})
    assert (config.coordinator_url, config.token) == ("https://k", "kled_agent_k")
