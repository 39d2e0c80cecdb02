"""UDP forwards: who is who, and the local end. The whole way is in tests/e2e."""

from __future__ import annotations

import pytest

from kled_client.forward.spec import ForwardKind, TcpEnd, parse_forward
from kled_client.forward.udp import SENDERS_MAX, Senders, listening_udp
from kled_wire.errors import ConflictError, InputError


def test_the_sender_silent_for_longest_is_forgotten() -> None:
    senders = Senders()
    numbers = [senders.number(("127.0.0.1", port)) for port in range(SENDERS_MAX)]
    assert senders.number(("127.0.0.1", 0)) == numbers[0]
    senders.number(("127.0.0.1", 60000))
    assert len(senders) == SENDERS_MAX
    assert senders.address(numbers[0]) == ("127.0.0.1", 0)
    assert senders.address(numbers[1]) is None
    assert senders.number(("127.0.0.1", 1)) not in numbers


async def test_the_local_end() -> None:
    async with listening_udp(parse_forward("0:53", ForwardKind.UDP)[0]) as (_, status):
        assert isinstance(status.listen, TcpEnd)
        (again,) = parse_forward(f"{status.listen.port}:53", ForwardKind.UDP)
        with pytest.raises(ConflictError):
            async with listening_udp(again):
                pass
    with pytest.raises(InputError):
        async with listening_udp(parse_forward("/a:53", ForwardKind.UDP)[0]):
            pass
