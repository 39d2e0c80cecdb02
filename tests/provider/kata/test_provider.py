"""The provider as the coordinator finds it."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from kled_provider.containerd.caller import ContainerdError
from kled_provider.kata.machine import KataMachine
from kled_provider.kata.owner.file import Containerd, OwnerFile
from kled_provider.kata.provider import kata_provider
from kled_provider.serve import KATA


def test_it_is_served_under_its_address_in_every_registry() -> None:
    assert KATA.addresses == ("registry.terraform.io/kled/kata", "registry.opentofu.org/kled/kata")
    assert kata_provider(KataMachine()).name == "kata"


async def test_operations_that_ask_at_once_use_what_works(tmp_path: Path) -> None:
    owner = OwnerFile(containerd=Containerd(address=f"{tmp_path}/none.sock"))
    machine = KataMachine(lambda: owner)

    async def ask() -> None:
        api = await machine.containerd()
        with pytest.raises(ContainerdError, match="no containerd at"):
            await api.images.find("x")

    async with trio.open_nursery() as nursery:
        await nursery.start(machine.serve)
        async with trio.open_nursery() as both:
            for _ in range(3):
                both.start_soon(ask)
        nursery.cancel_scope.cancel()
