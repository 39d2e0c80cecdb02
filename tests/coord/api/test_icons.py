"""The picture that stands for every icon."""

from __future__ import annotations

import pytest

from tests.coord.conftest import Api


@pytest.mark.parametrize("name", ["code.svg", "deep/er.png", "%2e%2e/x"])
async def test_every_icon_is_one_neutral_picture(api: Api, name: str) -> None:
    answer = await api.client.get(f"/icon/{name}")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/svg+xml")
    assert answer.text.startswith("<svg")
