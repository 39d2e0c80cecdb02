"""The configuration that Kata finds itself, and that judges a container which names none."""

from __future__ import annotations

from pathlib import Path

import pytest

from kled_provider.kata.container.making import checking
from kled_provider.kata.owner.file import Handler, OwnerFile
from kled_provider.kata.runtime_config import reading
from kled_provider.plugin.diagnostics import DiagnosticError
from tests.kit.kata_shim import CONFIGURATION
from tests.provider.kata.container.declared.test_runtime_rules import values


async def test_the_first_that_is_there_judges_a_handler_that_names_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = (tmp_path / "etc.toml", tmp_path / "opt.toml")
    monkeypatch.setattr(reading, "USUAL_PATHS", tuple(map(str, usual)))
    owner = OwnerFile(
        handlers={"vm": Handler(name="vm", runtime="io.containerd.kata.v2", hypervisor="qemu")},
        default_handler="vm",
    )

    async def judged() -> tuple[int | None, list[str]]:
        runtime, found = await checking.check_container(
            owner, values(runtime=None, memory=512, vcpus=1, mount=[], upload=[]), "w-1", None
        )
        assert runtime is not None
        assert runtime.configuration is None, "Kata finds it itself"
        size = runtime.size.memory_mib if runtime.size else None
        return size, [each.detail for each in found]

    assert await judged() == (None, [])
    usual[1].write_text(CONFIGURATION)
    size, said = await judged()
    assert size == 544
    assert any("clh" in each and "qemu" in each for each in said), said
    usual[0].write_text("no toml")
    with pytest.raises(DiagnosticError, match="cannot be read"):
        await judged()
