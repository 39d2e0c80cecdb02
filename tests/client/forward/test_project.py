"""`.kled.toml`."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_client.forward.project import parse_project, project_files
from kled_client.forward.spec import ForwardKind
from kled_wire.errors import ConfigError

WHOLE = """
workspace = "alice/dev"

[forward]
local = ["8080:3000", 9000]
remote = ["5000"]
dynamic = ["1080"]
auto = true
"""


def test_a_whole_file() -> None:
    project = parse_project(WHOLE)
    assert str(project.workspace) == "dev.alice"
    assert project.auto
    assert [(f.kind, str(f)) for f in project.forwards] == [
        (ForwardKind.LOCAL, "127.0.0.1:8080:localhost:3000"),
        (ForwardKind.LOCAL, "127.0.0.1:9000:localhost:9000"),
        (ForwardKind.REMOTE, "127.0.0.1:5000:localhost:5000"),
        (ForwardKind.DYNAMIC, "127.0.0.1:1080"),
    ]


@pytest.mark.parametrize(
    "text, word",
    [
        ("", "which workspace"),
        ("workspace = 1", "which workspace"),
        ('workspace = "No Such"', "No Such"),
        ("[", "end of document"),
        ('workspace = "dev"\nforwards = 1', "`forwards` is not known"),
        ('workspace = "dev"\nforward = 1', "[forward]"),
        ('workspace = "dev"\n[forward]\nsctp = []', "`forward.sctp` is not known"),
        ('workspace = "dev"\n[forward]\nlocal = "8080"', "not a list"),
        ('workspace = "dev"\n[forward]\nlocal = [true]', "no forward"),
        ('workspace = "dev"\n[forward]\nlocal = ["x"]', "'x' is not a forward"),
        ('workspace = "dev"\n[forward]\nauto = 1', "neither true nor false"),
    ],
)
def test_what_is_wrong_is_said_with_the_files_name(text: str, word: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_project(text, "p/.kled.toml")
    assert caught.value.message.startswith("p/.kled.toml: ")
    assert word in caught.value.message


@given(st.text(max_size=60))
def test_garbage_gives_one_error(text: str) -> None:
    with contextlib.suppress(ConfigError):
        parse_project(text)


def test_the_nearest_file_comes_first() -> None:
    assert [str(p) for p in project_files(Path("/a/b"))] == [
        "/a/b/.kled.toml",
        "/a/.kled.toml",
        "/.kled.toml",
    ]


def test_folders_that_are_kept_the_same() -> None:
    text = 'workspace = "dev"\n[[sync]]\nremote = "x"\n[[sync]]\nlocal = "src"\nremote = "y"\n'
    syncs = parse_project(f'{text}mode = "one-way-safe"\npreset = ["node"]\n').syncs
    assert [(s.local, s.remote, s.mode, s.preset) for s in syncs] == [
        (".", "x", "two-way-safe", ()),
        ("src", "y", "one-way-safe", ("node",)),
    ]


@pytest.mark.parametrize(
    "line",
    ['local = "/etc"', 'local = "../x"', 'local = "a/../../x"', 'local = "~/x"', "local = 5",
     'local = "a\\u0000b"', 'mode = ""', "ignore = 5", "preset = [5]", 'other = "x"',
     "owner = true", "group = true", "numeric_ids = true", 'permissions = "special"',
     "permissions = 5", "xattrs = 1"],
)  # fmt: skip
def test_a_folder_that_is_not_the_projects_is_refused(line: str) -> None:
    with pytest.raises(ConfigError):
        parse_project(f'workspace = "dev"\n[[sync]]\nremote = "x"\n{line}\n')
