from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.wire import sockets


@pytest.fixture(autouse=True)
def close_sockets() -> Iterator[None]:
    yield
    while sockets.made:
        sockets.made.pop().socket._sock.close()  # type: ignore[attr-defined]  # no loop runs here


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
