"""A state may say anything: a template's own programs write it, and reach the provider too."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from kled_provider.kled.processes.process import ProcessResource
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.resource import Context


@pytest.mark.parametrize("name", ["../outside", "", None, "a/b"])
async def test_a_process_is_looked_for_in_its_workspaces_directory_alone(
    host: Any, tmp_path: Path, name: str | None
) -> None:
    context = Context(host=host, keep=lambda _state: None, generation=None)
    resource, state = ProcessResource(), {"name": name}
    for operation in (resource.read, resource.delete):
        with pytest.raises(DiagnosticError, match="Invalid name"):
            await operation(context, state)
    with pytest.raises(DiagnosticError, match="Invalid name"):
        await resource.create(context, state)
    assert not list(tmp_path.rglob("*.lock"))
