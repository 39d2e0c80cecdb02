"""The folders of a project's `.kled.toml`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from kled_client.forward.project import parse_project
from kled_client.sync.project import same, session_of
from kled_wire.errors import ConfigError


def test_a_folder_of_a_project_is_found_again(tmp_path: Path) -> None:
    text = 'workspace = "dev"\n[[sync]]\nremote = "p"\nlocal = "src"\n[[sync]]\nremote = "q"\n'
    text += 'permissions = "all"\nxattrs = true\n'
    project = parse_project(text)
    path = tmp_path / ".kled.toml"
    first = session_of(project, project.syncs[0], path, None, [])
    assert (first.alpha, first.beta, first.name) == (str(tmp_path / "src"), "dev:p", "src")
    second = session_of(project, project.syncs[1], path, None, [first])
    assert second.name not in {"src", "x"}
    assert (first.attribute_words(), second.attribute_words()) == (
        ["permissions portable"],
        ["permissions all", "xattrs"],
    )
    again = session_of(project, project.syncs[0], path, None, [second, replace(first, paused=True)])
    assert same(again, first)
    assert not same(again, replace(first, mode="one-way-safe"))


def test_a_link_that_leads_out_of_the_project_is_refused(tmp_path: Path) -> None:
    inside = tmp_path / "project"
    inside.mkdir()
    (inside / "src").symlink_to(tmp_path)
    project = parse_project('workspace = "dev"\n[[sync]]\nremote = "p"\nlocal = "src"\n')
    with pytest.raises(ConfigError, match="leads out of the project"):
        session_of(project, project.syncs[0], inside / ".kled.toml", None, [])
