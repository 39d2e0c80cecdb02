from __future__ import annotations

from urllib.parse import urlsplit

import pytest

from kled_wire.hosts import bracketed


@pytest.mark.parametrize("host", ["kled.example", "192.0.2.1", "::1", "2001:db8::7"])
def test_a_url_of_it_has_that_host(host: str) -> None:
    assert urlsplit(f"http://{bracketed(host)}:80/").hostname == host
