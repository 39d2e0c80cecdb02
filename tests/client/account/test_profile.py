"""Profiles, tokens and certificates on disk."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import keyring
import pytest
from hypothesis import given
from hypothesis import strategies as st
from keyring.backends import fail, null

from kled_client.account import credentials, profile
from kled_client.account.certificate import (
    RENEW_BEFORE_S,
    ensure_certificate,
    identity_of,
    is_fresh,
)
from kled_client.account.profile import Profile
from kled_wire.errors import ConfigError, KledError, UnauthenticatedError
from tests.client.fake import TOKEN, Fake

WORK = Profile(name="work", url="https://kled.example.com", user="alice")


def environment(home: Path, **extra: str) -> dict[str, str]:
    return {"HOME": str(home), "KLED_KEYRING": "off", **extra}


def mode(path: str | Path) -> int:
    return stat.S_IMODE(Path(path).stat().st_mode)


def test_a_saved_profile_is_the_current_one(home: Path) -> None:
    env = environment(home)
    profile.save(env, WORK)
    assert profile.load(env) == WORK
    profile.save(env, WORK._replace(name="other", ca_file="/ca"))
    assert profile.load(env).name == "other"
    assert profile.load(env, "work") == WORK
    assert profile.load({**env, "KLED_PROFILE": "work"}) == WORK
    profile.forget(env, "other")
    assert profile.load(env) == WORK


def test_what_was_written_beside_the_url_by_hand_outlives_the_next_login(home: Path) -> None:
    env = environment(home)
    profile.save(env, WORK._replace(direct="off"))
    profile.save(env, WORK._replace(user="bob"))
    assert profile.load(env) == WORK._replace(user="bob", direct="off")
    profile.save(env, WORK._replace(direct="auto"))
    assert profile.load(env).direct == "auto"


def test_another_url_does_not_get_the_profiles_token(home: Path) -> None:
    env = environment(home)
    credentials.store_token(env, "work", TOKEN)
    profile.save(env, WORK)
    assert credentials.load_token(env, profile.load(env)) == TOKEN
    elsewhere = {**env, "KLED_URL": "https://evil.example.com"}
    with pytest.raises(UnauthenticatedError):
        credentials.load_token(elsewhere, profile.load(elsewhere))
    given_token = {**elsewhere, "KLED_TOKEN": "kled_other"}
    assert credentials.load_token(given_token, profile.load(given_token)) == "kled_other"


def test_secrets_are_for_their_owner_only(home: Path) -> None:
    env = environment(home)
    credentials.store_token(env, "work", TOKEN)
    path = credentials.token_path(env, "work")
    assert mode(path) == 0o600
    assert mode(Path(path).parent) == 0o700
    assert mode(profile.config_dir(env)) == 0o700
    Path(path).chmod(0o644)
    with pytest.raises(ConfigError) as caught:
        credentials.load_token(env, WORK)
    assert caught.value.code == "secret_readable"
    assert TOKEN not in caught.value.line()


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"profiles": 1}',
        '{"profiles": {"default": {}}}',
        '{"profiles": {"default": {"url": "x"}}}',
        '{"profiles": {"default": {"url": "http://h", "user": 1}}}',
        '{"current": "../x"}',
    ],
)
def test_a_damaged_configuration_is_one_error(home: Path, content: str) -> None:
    env = environment(home)
    path = Path(profile.config_path(env))
    path.parent.mkdir(parents=True)
    path.write_text(content)
    with pytest.raises(ConfigError):
        profile.load(env)


def test_directories(home: Path) -> None:
    assert profile.config_dir({"HOME": "/h"}) == "/h/.config/kled"
    assert profile.config_dir({"HOME": "/h", "XDG_CONFIG_HOME": "/x"}) == "/x/kled"
    assert profile.config_dir({"HOME": "/h", "KLED_CONFIG_DIR": "/k"}) == "/k"


def test_useless_keyrings_are_known() -> None:
    useless: list[Any] = [fail, null]
    for module in useless:
        assert not credentials._usable(module.Keyring())


def test_a_keyring_is_used_where_it_works(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept: dict[tuple[str, str], str] = {}
    monkeypatch.setattr(credentials, "_usable", lambda _: True)
    monkeypatch.setattr(keyring, "set_password", lambda s, u, p: kept.update({(s, u): p}))
    monkeypatch.setattr(keyring, "get_password", lambda s, u: kept.get((s, u)))
    monkeypatch.setattr(keyring, "delete_password", lambda s, u: kept.pop((s, u)))
    env = {"HOME": str(home)}
    assert credentials.store_token(env, "work", TOKEN) == "keyring"
    assert not Path(credentials.token_path(env, "work")).exists()
    stored = WORK._replace(token_store="keyring")
    assert credentials.load_token(env, stored) == TOKEN
    credentials.forget_token(env, stored)
    assert kept == {}


@given(st.dictionaries(st.text(max_size=12), st.floats() | st.text(max_size=3) | st.none()))
def test_any_damaged_state_means_renewal(state: dict[str, object]) -> None:
    assert not is_fresh({**state, "owner": "x"}, owner="y", now=0)


def test_freshness_is_an_age() -> None:
    state = {"owner": "x", "issued_at": 1000.0, "lifetime_s": 600.0}
    assert is_fresh(state, owner="x", now=1000)
    assert is_fresh(state, owner="x", now=1000 + 600 - RENEW_BEFORE_S - 1)
    assert not is_fresh(state, owner="x", now=1000 + 600 - RENEW_BEFORE_S)
    assert not is_fresh(state, owner="x", now=999)
    assert not is_fresh(state, owner="y", now=1000)


def test_a_certificate_is_renewed_when_due(signed_in: Fake) -> None:
    env = signed_in.env()
    used = profile.load(env)
    identity = ensure_certificate(env, used, TOKEN)
    ensure_certificate(env, used, TOKEN)
    assert signed_in.certificates == 1
    for path in (identity.key, identity.certificate, identity.known_hosts, identity.state):
        assert mode(path) == 0o600
    assert Path(identity.known_hosts).read_text().startswith("@cert-authority *.kled ssh-ed25519 ")
    state = json.loads(Path(identity.state).read_text())
    assert 595 < state["lifetime_s"] < 605
    assert TOKEN not in Path(identity.state).read_text()
    ensure_certificate(env, used, TOKEN, now=state["issued_at"] + 481)
    assert signed_in.certificates == 2
    Path(identity.certificate).unlink()
    ensure_certificate(env, used, TOKEN, now=state["issued_at"] + 482)
    assert signed_in.certificates == 3


def test_profiles_do_not_share_an_identity() -> None:
    env = {"HOME": "/h"}
    assert identity_of(env, "default").directory == "/h/.config/kled/ssh"
    assert identity_of(env, "work").directory == "/h/.config/kled/ssh-work"


def test_a_refused_certificate_says_what_the_coordinator_said(signed_in: Fake) -> None:
    with pytest.raises(UnauthenticatedError) as caught:
        ensure_certificate(signed_in.env(), profile.load(signed_in.env()), "kled_bad")
    assert caught.value.code == "token_revoked"
    signed_in.routes["POST", "/api/v1/ssh/certificates"] = (200, {"certificate": 1})
    with pytest.raises(KledError) as malformed:
        ensure_certificate(signed_in.env(), profile.load(signed_in.env()), TOKEN)
    assert malformed.value.code == "answer_malformed"
