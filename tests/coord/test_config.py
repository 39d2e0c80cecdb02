"""Settings and their sources."""

from __future__ import annotations

import pytest

from kled_coord.config import load_config
from kled_wire.errors import ConfigError


@pytest.fixture
def environment(monkeypatch, tmp_path):
    """Set variables for this test; gives the environment as a dict."""
    env = {"HOME": str(tmp_path)}

    def set_variables(**values: str) -> dict[str, str]:
        for name, value in values.items():
            monkeypatch.setenv(name, value)
        return env | values

    return set_variables


def test_flags_win_over_the_environment_and_that_over_the_file(environment, tmp_path) -> None:
    file = tmp_path / "coord.toml"
    file.write_text('port = 1\nhost = "a"\nworkers = 7\n')
    env = environment(KLED_COORD_PORT="2", KLED_COORD_HOST="b")
    config = load_config({"port": 3, "host": None}, file=file, environment=env)
    assert (config.port, config.host, config.workers) == (3, "b", 7)


def test_the_file_is_found_at_home(environment, tmp_path) -> None:
    (tmp_path / ".config/kled").mkdir(parents=True)
    (tmp_path / ".config/kled/coord.toml").write_text("workers = 9")
    assert load_config({}, file=None, environment=environment()).workers == 9


@pytest.mark.parametrize(
    ("flags", "variables", "toml", "words"),
    [
        ({"port": "x"}, {}, "", "port, from the flag --port"),
        ({}, {"KLED_COORD_WORKERS": "-1"}, "", "environment variable KLED_COORD_WORKERS"),
        ({}, {}, "drain_s = 'soon'", "drain_s, from the file"),
        ({}, {}, "prot = 1", "prot, from the file .*no such setting"),
        ({}, {}, "port = ", "coord.toml"),
        ({"access_url": "ftp://x"}, {}, "", "http"),
        ({"database_url": "mysql://x"}, {}, "", "database_url"),
        ({"tls_cert_file": "x"}, {}, "", "tls_key_file"),
        ({}, {"KLED_COORD_TRUSTED_PROXIES": "nginx"}, "", "trusted_proxies, .*PROXIES.*'nginx'"),
        ({}, {"KLED_COORD_TRUSTED_PROXIES": "10.0.0.1/8"}, "", "host bits"),
        ({}, {}, 'trusted_proxies = ["::1", ""]', "trusted_proxies, from the file"),
        ({}, {}, "trusted_proxies = 10", "trusted_proxies, from the file .*list"),
    ],
)
def test_a_wrong_setting_is_named_with_its_source(
    environment, tmp_path, flags, variables, toml, words
) -> None:
    file = tmp_path / "coord.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError, match=words):
        load_config(flags, file=file, environment=environment(**variables))


def test_a_missing_file_is_said(environment, tmp_path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        load_config({}, file=tmp_path / "no", environment=environment())


@pytest.mark.parametrize(
    ("variables", "toml", "shown"),
    [
        ({}, "", ""),
        ({"KLED_COORD_TRUSTED_PROXIES": ""}, "", ""),
        ({"KLED_COORD_TRUSTED_PROXIES": "::1, 10.0.0.0/8"}, "", "::1/128, 10.0.0.0/8"),
        ({}, 'trusted_proxies = ["127.0.0.1", "::1"]', "127.0.0.1/32, ::1/128"),
        ({}, 'trusted_proxies = "127.0.0.1"', "127.0.0.1/32"),
    ],
)
def test_trusted_proxies_are_a_list_in_the_file_and_commas_in_a_variable(
    environment, tmp_path, variables, toml, shown
) -> None:
    file = tmp_path / "coord.toml"
    file.write_text(toml)
    config = load_config({}, file=file, environment=environment(**variables))
    assert config.shown()["trusted_proxies"] == shown


def test_what_is_shown_has_no_password(environment) -> None:
    url = "postgresql://kled:hunter2@db/kled"
    config = load_config({"database_url": url}, file=None, environment=environment())
    assert config.shown()["database_url"] == "postgresql://kled:***@db/kled"


@pytest.mark.parametrize(
    ("flags", "url"),
    [
        ({"port": 80}, "http://127.0.0.1:80"),
        ({"host": "::"}, "http://127.0.0.1:7080"),
        ({"host": "::1"}, "http://[::1]:7080"),
        ({"tls_cert_file": "c", "tls_key_file": "k"}, "https://127.0.0.1:7080"),
        ({"access_url": "https://kled.example/"}, "https://kled.example"),
        ({"port": 0}, ""),
    ],
)
def test_the_access_url_follows_from_the_rest(environment, flags, url) -> None:
    config = load_config(flags, file=None, environment=environment())
    assert config.with_defaults().access_url == url


def test_what_is_private_is_known_by_the_settings_alone(environment, tmp_path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    flags = {"data_dir": tmp_path / "link", "database_url": f"sqlite:///{tmp_path}/db"}
    config = load_config(flags, file=None, environment=environment())
    assert config.data_dir == tmp_path / "real"
    assert config.private_paths() == [
        tmp_path / "real",
        tmp_path / "real/sealing.key",
        *(tmp_path / f"db{end}" for end in ("", "-wal", "-shm", "-journal")),
    ]


def test_the_settings_file_is_private_because_it_may_hold_passwords(environment, tmp_path) -> None:
    file = tmp_path / "coord.toml"
    file.write_text("port = 80\n")
    assert file in load_config({}, file=file, environment=environment()).private_paths()
    variable = environment(KLED_COORD_CONFIG=str(file))
    assert file in load_config({}, file=None, environment=variable).private_paths()
