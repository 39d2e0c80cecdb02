"""The grammar of names, and every way to refer to a workspace."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import InputError
from kled_wire.names import (
    SSH_SUFFIX,
    WorkspaceId,
    WorkspaceRef,
    check_name,
    check_new_workspace_name,
    parse_workspace_ref,
    ssh_names,
    user_principal,
)

names = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?", fullmatch=True).filter(
    lambda name: name != SSH_SUFFIX
)


@given(names)
def test_a_legal_name_is_returned(name: str) -> None:
    assert check_name("workspace", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "-a", "a-", "A", "a_b", "a.b", "kled", "a" * 33, "a\n", "ä", "\u0661", " a", "a/b"],
)
def test_an_illegal_name_is_refused_with_the_rule(name: str) -> None:
    with pytest.raises(InputError, match="is not a user name") as caught:
        check_name("user", name)
    assert caught.value.code == "name_invalid"
    assert "1 to 32" in str(caught.value.hint)


@given(names, names)
def test_every_spelling_of_a_workspace_means_the_same(name: str, owner: str) -> None:
    wanted = WorkspaceRef(name=name, owner=owner)
    spellings = [f"{owner}/{name}", f"{name}.{owner}", f"{name}.{owner}.kled"]
    assert [parse_workspace_ref(text) for text in spellings] == [wanted] * 3
    assert parse_workspace_ref(name) == WorkspaceRef(name=name)
    assert [parse_workspace_ref(host) for host in ssh_names(name, owner, "db")[:2]] == [
        WorkspaceRef(name=name),
        wanted,
    ]


@given(names, st.none() | names)
def test_a_reference_survives_its_text(name: str, owner: str | None) -> None:
    ref = WorkspaceRef(name=name, owner=owner)
    assert parse_workspace_ref(str(ref)) == ref


def test_an_id_is_a_reference() -> None:
    ref = parse_workspace_ref("ws_abcdefgh234567abcdef")
    assert ref == WorkspaceRef(id=WorkspaceId("ws_abcdefgh234567abcdef"))
    assert str(ref) == "ws_abcdefgh234567abcdef"


@given(st.text(max_size=80))
def test_any_text_is_a_reference_or_an_input_error(text: str) -> None:
    try:
        ref = parse_workspace_ref(text)
    except InputError:
        return
    assert parse_workspace_ref(str(ref)) == ref


@pytest.mark.parametrize(
    "text", ["a.b.c", "a/b/c", "/", "a/", "/a", "a.", ".a", ".kled", "ws_", "kled"]
)
def test_half_a_reference_is_refused(text: str) -> None:
    with pytest.raises(InputError):
        parse_workspace_ref(text)


def test_the_principal_names_the_user() -> None:
    assert user_principal("usr_1") == "user:usr_1"


@given(names, names, st.none() | names)
def test_an_agent_of_a_workspace_is_a_reference_in_every_spelling(
    agent: str, workspace: str, owner: str | None
) -> None:
    place = f"{agent}--{workspace}"
    for text in (place, f"{place}.kled") if owner is None else (
        f"{owner}/{place}", f"{place}.{owner}", f"{place}.{owner}.kled"
    ):  # fmt: skip
        ref = parse_workspace_ref(text)
        assert (ref.name, ref.owner) == (place, owner)
        assert ref.readings()[0] == (place, None), "an old workspace of exactly that name wins"
        assert (workspace, agent) in ref.readings()
        assert parse_workspace_ref(str(ref)) == ref


def test_the_first_mark_is_tried_first_and_halves_that_are_no_names_are_none() -> None:
    readings = WorkspaceRef(name="a--b--c").readings()
    assert readings == [("a--b--c", None), ("b--c", "a"), ("c", "a--b")], "b--c can only be old"
    for text in ("--", "a--", "--a", f"{'a' * 33}--b", "A--b", "a--b--"):
        with pytest.raises(InputError):
            parse_workspace_ref(text)


def test_a_new_workspace_has_no_mark_in_its_name() -> None:
    assert check_new_workspace_name("a-b") == "a-b"
    with pytest.raises(InputError, match="a--b"):
        check_new_workspace_name("a--b")


def test_a_host_certificate_names_the_workspace_and_its_agent() -> None:
    assert ssh_names("dev", "alice", "db") == (
        "dev.kled", "dev.alice.kled", "db--dev.kled", "db--dev.alice.kled",
    )  # fmt: skip
