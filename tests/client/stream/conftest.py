from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.client.pumping import Agent


@pytest.fixture
def agent() -> Iterator[Agent]:
    """An agent's end under Trio in another thread."""
    found = Agent()
    yield found
    found.stop()
