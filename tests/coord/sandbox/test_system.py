"""What of a machine is shown and what is hidden, on directories of the test's own."""

from __future__ import annotations

import ast
import os
import pwd
import sys
from pathlib import Path

import pytest

from kled_coord.sandbox import system
from kled_coord.sandbox.system import look_at_system


@pytest.fixture
def settings(tmp_path: Path) -> Path:
    """Stands for /etc."""
    made = tmp_path / "etc"
    for path, mode in {
        "hosts": 0o644,
        "shadow": 0o640,
        "kled/coord.toml": 0o644,
        "ssl/certs/ca.pem": 0o644,
        "ssl/private.key": 0o600,
    }.items():
        file = made / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(path)
        file.chmod(mode)
    (made / "kled").chmod(0o750)
    (made / "link").symlink_to("shadow")
    return made


def test_what_others_may_not_read_is_hidden_at_any_depth(settings: Path) -> None:
    view = look_at_system(settings=settings, shown=[], hidden=[])
    assert [p for p in view.hidden_directories if p.is_relative_to(settings)] == [settings / "kled"]
    assert sorted(view.hidden_files) == [settings / "shadow", settings / "ssl" / "private.key"]
    assert settings in view.shown


def test_the_owners_paths_count_where_they_exist(settings: Path, tmp_path: Path) -> None:
    mirror, key, data = tmp_path / "mirror", tmp_path / "key", tmp_path / "data"
    mirror.mkdir()
    data.mkdir()
    key.touch()
    view = look_at_system(
        settings=settings, shown=[mirror, tmp_path / "none"], hidden=[key, data, tmp_path / "no"]
    )
    assert mirror in view.shown
    assert tmp_path / "none" not in view.shown
    assert data in view.hidden_directories
    assert key in view.hidden_files
    assert tmp_path / "no" not in view.hidden_files


def test_what_a_link_leads_to_is_hidden_where_it_lies(settings: Path, tmp_path: Path) -> None:
    (tmp_path / "opt/data").mkdir(parents=True)
    (tmp_path / "srv").symlink_to(tmp_path / "opt/data")
    view = look_at_system(settings=settings, shown=[tmp_path / "opt"], hidden=[tmp_path / "srv"])
    assert tmp_path / "opt/data" in view.hidden_directories


def test_the_home_of_the_coordinators_user_is_hidden_unless_its_owner_shows_it(
    settings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "opt/kled"
    home.mkdir(parents=True)
    user = pwd.struct_passwd(("kled", "x", os.geteuid(), 0, "", str(home), "/bin/sh"))
    monkeypatch.setattr(pwd, "getpwuid", lambda _uid: user)
    assert (
        home in look_at_system(settings=settings, shown=[home.parent], hidden=[]).hidden_directories
    )
    assert home not in look_at_system(settings=settings, shown=[home], hidden=[]).hidden_directories


def test_the_interpreter_and_the_agent_are_shown_and_nobodys_home() -> None:
    shown = look_at_system(shown=[], hidden=[]).shown
    for needed in (Path(sys.prefix), Path(sys.base_prefix), Path("/usr")):
        assert any(needed.is_relative_to(path) for path in shown), needed
    for private in ("/root", "/home", "/var", "/run", "/tmp", "/"):
        assert Path(private) not in shown


def test_every_package_that_the_agent_imports_is_shown() -> None:
    root = Path(system.__file__).parents[2]
    needed, rest = set[str](), {"kled_agent"}
    while rest:
        needed |= rest
        sources = [path for name in rest for path in (root / name).rglob("*.py")]
        rest = {each for path in sources for each in _imported(path)} - needed
    shown = look_at_system(shown=[], hidden=[]).shown
    assert {root / name for name in needed} <= set(shown)


def _imported(path: Path) -> set[str]:
    found = set[str]()
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.partition(".")[0] for name in found if name.startswith("kled_")}
