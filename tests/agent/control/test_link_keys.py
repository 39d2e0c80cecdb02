"""Registered keys over an agent's control link: the list that it is given, the uses it tells."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio

from kled_agent.ssh.keys import AcceptedKeys
from kled_wire.control import messages
from tests.agent.control.coordinator import (
    WELCOME,
    Peer,
    converse,
)
from tests.agent.control.linked import Running

KEY = messages.UserKey(id="key_1", user="usr_1", key="ssh-ed25519 AAAA", expires_in_s=60)


async def test_a_list_of_keys_is_answered_and_replaces_the_one_before(running: Running) -> None:
    async def conversation(peer: Peer) -> None:
        assert messages.KEYS_FEATURE in (await peer.greet()).features
        for number, keys in enumerate(((KEY,), ())):
            await peer.say(messages.SetKeys(number=number, keys=keys))
            while not isinstance(said := await peer.hear(), messages.KeysSet):
                continue
            assert said.number == number
            found.append(agent.keys.find("usr_1", KEY.key, trio.current_time()))
        done.set()
        await peer.answer_pings()

    found: list[str | None] = []
    done = trio.Event()
    async with running(converse(conversation)) as agent:
        with trio.fail_after(10):
            await done.wait()
    assert found == ["key_1", None]


async def test_only_a_link_that_brought_a_list_keeps_it_young(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[float] = []
    monkeypatch.setattr(AcceptedKeys, "heard", lambda _self, now: heard.append(now))

    async def without(peer: Peer) -> None:
        await peer.greet(replace(WELCOME, heartbeat_s=0.001))
        for _ in range(20):
            if isinstance(message := await peer.hear(), messages.Ping):
                await peer.say(messages.Pong(id=message.id))
        assert not heard

    async def with_list(peer: Peer) -> None:
        await peer.greet(replace(WELCOME, heartbeat_s=0.001))
        await peer.say(messages.SetKeys(number=1, keys=(KEY,)))
        await peer.answer_pings()

    async with running(converse(without), converse(with_list)) as agent:
        await agent.until(lambda: len(heard) > 3)


async def test_a_key_use_is_told_also_when_its_link_ends(running: Running) -> None:
    told: list[str] = []

    async def first(peer: Peer) -> None:
        await peer.greet()
        agent.key_uses.note("key_1")
        while not isinstance(said := await peer.hear(), messages.KeyUsed):
            continue
        told.append(said.key)

    async def second(peer: Peer) -> None:
        agent.key_uses.note("key_2")
        await peer.greet()
        while not isinstance(said := await peer.hear(), messages.KeyUsed):
            continue
        told.append(said.key)
        await peer.answer_pings()

    async with running(converse(first), converse(second)) as agent:
        await agent.until(lambda: len(told) == 2)
    assert told == ["key_1", "key_2"]
