"""The handshake on a new transport before the frames, both sides, over any Trio stream."""

from __future__ import annotations

from collections.abc import Callable

import trio

from kled_wire.errors import ProtocolError
from kled_wire.resume.frames import (
    NONCE_BYTES,
    Greeting,
    Hello,
    New,
    Proof,
    Refuse,
    Resume,
    decode_greeting,
    encode_greeting,
)
from kled_wire.resume.proof import ClientGreeting, ProvenAgent, check_proof, make_challenge
from kled_wire.transport.prefixed import PrefixedStream

RandomBytes = Callable[[int], bytes]

# A greeting is at most this long; more of it is not read.
_READ_BYTES = 2048


async def read_greeting(
    transport: trio.abc.HalfCloseableStream,
) -> tuple[Greeting, trio.abc.HalfCloseableStream]:
    """The next greeting, and the transport with what came after it. The caller owns the deadline.

    Raises ProtocolError, trio.BrokenResourceError.
    """
    buffer = bytearray()
    while (found := decode_greeting(buffer)) is None:
        buffer += await _receive(transport)
    greeting, length = found
    rest = bytes(buffer[length:])
    return greeting, PrefixedStream(rest, transport) if rest else transport


async def _receive(transport: trio.abc.ReceiveStream) -> bytes | bytearray:
    data = await transport.receive_some(_READ_BYTES)
    if not data:
        raise trio.BrokenResourceError("the transport ended before the greeting")
    return data


async def read_hello(
    transport: trio.abc.HalfCloseableStream,
) -> tuple[Hello, trio.abc.HalfCloseableStream]:
    """The client's hello. Raises ProtocolError("greeting_unexpected")."""
    greeting, transport = await read_greeting(transport)
    if isinstance(greeting, New | Resume):
        return greeting, transport
    raise ProtocolError("greeting_unexpected", "a resumable stream begins with a hello")


async def refuse(transport: trio.abc.HalfCloseableStream, code: str, message: str) -> None:
    """Tell a client that its stream does not go on."""
    await transport.send_all(encode_greeting(Refuse(code, message)))


async def admit(
    transport: trio.abc.HalfCloseableStream,
    resume: Resume,
    *,
    secret: bytes,
    position: int,
    random_bytes: RandomBytes,
) -> trio.abc.HalfCloseableStream:
    """Agent: prove ourselves and have the client prove itself; gives the transport to go on with.

    Raises ProtocolError("proof_wrong") when the client does not know the secret.
    """
    challenge = make_challenge(secret, resume, random_bytes(NONCE_BYTES), position)
    await transport.send_all(encode_greeting(challenge))
    greeting, transport = await read_greeting(transport)
    if not isinstance(greeting, Proof) or not check_proof(secret, resume, challenge, greeting):
        raise ProtocolError("proof_wrong", "the client does not know the stream's secret")
    return transport


async def ask_to_resume(
    transport: trio.abc.HalfCloseableStream,
    new: New,
    *,
    position: int,
    random_bytes: RandomBytes,
) -> tuple[int, trio.abc.HalfCloseableStream]:
    """Client: go on with stream `new`; gives the agent's position and the transport.

    Raises as `ask`.
    """
    agent, transport = await ask(transport, new, position=position, random_bytes=random_bytes)
    await transport.send_all(agent.proof)
    return agent.position, transport


async def ask(
    transport: trio.abc.HalfCloseableStream,
    new: New,
    *,
    position: int,
    random_bytes: RandomBytes,
) -> tuple[ProvenAgent, trio.abc.HalfCloseableStream]:
    """Client: whether the other end is the agent of stream `new`; nothing is decided yet.

    Raises as `ClientGreeting.feed` and `read_greeting`.
    """
    greeting = ClientGreeting(new, position, random_bytes(NONCE_BYTES))
    await transport.send_all(greeting.request)
    while (agent := greeting.feed(await _receive(transport))) is None:
        pass
    return agent, PrefixedStream(agent.rest, transport) if agent.rest else transport
