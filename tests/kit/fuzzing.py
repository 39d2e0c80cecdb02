"""What bytes of strangers may do: be parsed, or be refused in the way that is documented.

Each target takes any bytes. It returns where they were parsed or properly refused; everything else
is a finding: another exception, or more kept than the limits say. `scripts/fuzz` drives them by
coverage (atheris), tests/wire/test_fuzzing.py by hypothesis in every test run.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import sys
from collections.abc import Callable
from typing import Final

import trio
import trio_websocket
from trio.testing import memory_stream_pair

from kled_agent.sessions.holder import frames as holder
from kled_client.forward.socks import SocksError, SocksRequest
from kled_coord.front.forwarded import decide_address
from kled_coord.front.head import bearer, decide_route
from kled_coord.templates import declarations
from kled_wire import limits
from kled_wire.control import codec, messages, standby
from kled_wire.errors import KledError, ProtocolError, encode_error_body
from kled_wire.http import heads, upgrade
from kled_wire.http.body import ResponseBody
from kled_wire.resume import frames
from kled_wire.resume.direct.offer import decode_offer, dialable, encode_offer
from kled_wire.resume.inbox import HELD_MAX
from kled_wire.resume.state import StreamState
from kled_wire.ssh.datagrams import DATAGRAM_MAX_BYTES, DatagramReader, encode_datagram
from kled_wire.transport.wscarrier import MESSAGE_BYTES
from tests.kit import fuzzing_layers, fuzzing_streams
from tests.kit.carrying import accept_carried
from tests.kit.pieces import in_pieces, pieces

Target = Callable[[bytes], None]
_TRUSTED: Final = (ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8"))


def resume_greeting(data: bytes) -> None:
    """What a stranger says first on a transport."""
    with contextlib.suppress(ProtocolError):
        found = frames.decode_greeting(data)
        if found is None:
            longest = len(frames.MAGIC) + 1 + frames.REASON_MAX + 2
            assert len(data) < longest, "it would wait for ever"
            return
        greeting, length = found
        assert length <= len(data)
        again = frames.encode_greeting(greeting)
        if not isinstance(greeting, frames.Refuse):
            assert again == data[:length]


def resume_frames(data: bytes) -> None:
    """Frames in any pieces: what is kept between them has an end, and nothing is made up."""
    parser, got = frames.FrameParser(), 0
    with contextlib.suppress(ProtocolError):
        for piece in pieces(data):
            got += sum(len(frame.payload) for frame in parser.feed(piece))
            assert got <= len(data)
            assert len(parser._buffer) < frames.HEADER_BYTES + frames.REASON_MAX


def resume_state(data: bytes) -> None:
    """A whole end of a stream: its own offsets hold whatever the other end claims."""
    state, now = StreamState(), 1.0
    state.on_offer = _read_offer
    state.attach(0, now)
    state.write(bytes(1000))
    written = 1000
    for number, piece in enumerate(pieces(data)):
        now += piece[0] / 16 if piece else 0.0
        try:
            if number % 8 == 7:
                state.detach()
                state.attach(int.from_bytes(piece[:2], "big"), now)
            fresh = sum(map(len, state.receive(piece, now)))
            state.consumed(fresh // 2, now)
            state.tick(now)
            state.pieces(now, limit=100)
            if state.closed is None:
                state.write(b"x")
                written += 1
        except ProtocolError:
            state.detach()
            state.attach(state.outbox.start, now)
        assert state.outbox.start <= state.outbox.sent <= state.outbox.end == written
        assert state.inbox.acked <= state.inbox.consumed <= state.inbox.received
        assert state.inbox.received - state.inbox.consumed <= min(HELD_MAX, len(data))
        assert len(state._answers) <= 66
        assert state.wake_at(now) >= now - 100
    state.end()


def _read_offer(payload: bytes) -> None:
    assert len(payload) <= frames.OFFER_MAX


def resume_offer(data: bytes) -> None:
    """Where an agent says it can be reached; a client connects to what is left of it."""
    with contextlib.suppress(ProtocolError):
        offer = decode_offer(data)
        decode_offer(encode_offer(offer))
        for candidate in dialable(offer, offer.place):
            assert 1024 <= candidate.port < 65536


def control_message(data: bytes) -> None:
    """CBOR of the control link, either end's."""
    with contextlib.suppress(ProtocolError):
        message = codec.decode(data)
        if not isinstance(message, messages.UnknownMessage):
            # Not equal: a NaN is not itself.
            assert codec.encode(codec.decode(codec.encode(message))) == codec.encode(message)


def standby_dial(data: bytes) -> None:
    """What makes an idle connection of an agent's a stream."""
    with contextlib.suppress(ProtocolError):
        found = standby.decode_dial(data)
        if found is None:
            assert len(data) < 4 + standby.DIAL_MAX_BYTES, "it would wait for ever"
            return
        dial, rest = found
        assert dial.kind != standby.KIND
        assert data.endswith(rest)


def forwarded_for(data: bytes) -> None:
    """The header that proxies write, and clients too."""
    address = decide_address("10.0.0.1", data.decode("latin-1"), _TRUSTED)
    ipaddress.ip_address(address)


def request_head(data: bytes) -> None:
    """The head of a connection to the coordinator, and where it goes."""
    with contextlib.suppress(KledError):
        length = heads.head_length(data)
        if length is None:
            assert len(data) < limits.HEAD_MAX_BYTES
            return
        head = upgrade.parse_request(data[:length])
        assert "\r" not in head.path
        bearer(head, "Bearer")
        _ = head.has_body
        route = decide_route(head)
        if route.target is not None and route.target.kind == "tcp":
            assert 0 < route.target.port < 65536


def response_head(data: bytes) -> None:
    """The answer to a client or an agent, whoever gives it, and the error in it."""
    with contextlib.suppress(KledError):
        length = heads.head_length(data)
        if length is None:
            return
        head = heads.parse_response(data[:length])
        head.accepts()
        body = ResponseBody(head, data[length:])
        body.feed(b"")
        error = heads.decode_refusal(head.status, bytes(body.content))
        assert json.loads(encode_error_body(error))


def holder_frames(data: bytes) -> None:
    """What an agent and a session's holder say to each other."""
    decoder = holder.Decoder()
    with contextlib.suppress(holder.FrameError):
        for piece in pieces(data):
            for frame in decoder.feed(piece):
                with contextlib.suppress(holder.FrameError):
                    holder.encode(frame)
            assert len(decoder._held) <= holder.HEAD_BYTES + holder.FRAME_BYTES


def datagrams(data: bytes) -> None:
    """Datagrams in a stream; all bytes are some frames, cut differently they are the same."""
    reader, found = DatagramReader(), []
    joined = b"".join(pieces(data))
    for piece in pieces(data):
        found += reader.feed(piece)
        assert len(reader._held) <= 6 + DATAGRAM_MAX_BYTES
    assert DatagramReader().feed(joined) == found
    assert b"".join(encode_datagram(*one) for one in found) + reader._held == joined


def socks(data: bytes) -> None:
    """What a program says to the SOCKS5 proxy of `kled forward -D`."""
    request = SocksRequest()
    with contextlib.suppress(SocksError):
        for piece in pieces(data):
            request.feed(piece)
            if request.target is not None:
                return
            assert len(request.rest) <= 1024


def websocket_stream(data: bytes) -> None:
    """A client whose stream comes in WebSocket messages (RFC 6455), and who lies."""
    handshake = (
        b"GET /s HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n\r\n"
    )
    trio.run(_carry_websocket, handshake + data)


async def _carry_websocket(said: bytes) -> None:
    ours, theirs = memory_stream_pair()
    await theirs.send_all(said)
    await theirs.send_eof()
    with contextlib.suppress(
        trio.BrokenResourceError, trio_websocket.ConnectionClosed, trio_websocket.HandshakeError
    ):
        async with accept_carried(ours) as stream:
            while received := await stream.receive_some():
                assert len(received) <= max(len(said), MESSAGE_BYTES)


def template_sources(data: bytes) -> None:
    """Files at the top of a template: whatever they are, variables are listed without a word."""
    names = ("main.tf", "v.tf.json", "a_override.tf", "terraform.tfvars", "b.auto.tfvars.json")
    sources = dict(zip(names, pieces(data), strict=False))
    for variable in declarations.list_variables(sources):
        assert not variable.sensitive or variable.default is None
    assert set(declarations.list_backends(sources)) <= set(names)


TARGETS: Final[dict[str, Target]] = {
    "resume-greeting": resume_greeting,
    "resume-frames": resume_frames,
    "resume-state": resume_state,
    "resume-offer": resume_offer,
    "resume-client": fuzzing_streams.client,
    "resume-agent": fuzzing_streams.agent,
    "control-message": control_message,
    "standby-dial": standby_dial,
    "forwarded-for": forwarded_for,
    "request-head": request_head,
    "response-head": response_head,
    "holder-frames": holder_frames,
    "datagrams": datagrams,
    "socks": socks,
    "template-sources": template_sources,
    "websocket-stream": websocket_stream,
    "tls-layer": fuzzing_layers.tls_layer,
    "websocket-layer": fuzzing_layers.websocket_layer,
}
_MORE_SEEDS: Final[dict[str, list[bytes]]] = {}
if sys.platform.startswith("linux"):  # epoll(7); the whole of 127.0.0.0/8
    from tests.kit import fuzzing_admission, fuzzing_connections

    TARGETS["direct-admission"] = fuzzing_admission.direct_admission
    _MORE_SEEDS["direct-admission"] = list(fuzzing_admission.seeds())
    TARGETS["offload-connection"] = fuzzing_connections.offload_connection
    _MORE_SEEDS["offload-connection"] = list(fuzzing_connections.seeds())


def seeds() -> dict[str, list[bytes]]:
    """Good inputs for each target, from which mutations begin."""
    held: list[holder.Frame] = [
        holder.Attach(columns=80, rows=24, after=5),
        holder.Input(b"ls\n"),
        holder.SendSignal(name="INT"),
        holder.Rename(name="b"),
        holder.ReadLog(size=10),
        holder.Ended(code=0, reason="x"),
        holder.Refused(code="a", message="b"),
    ]
    return {
        **_resume_seeds(),
        **_head_seeds(),
        "control-message": [
            codec.encode(messages.Ping(id=1, rtt_s=0.5)),
            codec.encode(messages.Dial(ticket="t", kind="tcp", host="h", port=80, resume=True)),
            codec.encode(messages.Hello(protocol="1.0", version="1", features=("a", "b"))),
            codec.encode(messages.Report(memory_total_bytes=2**40, memory_used_bytes=1)),
        ],
        "standby-dial": [
            standby.encode_dial(messages.Dial(ticket="t", kind="ssh", resume=True, user="usr_x"))
        ],
        "forwarded-for": [b"192.0.2.7, 10.0.0.2:80, [fd00::1]:443, ::ffff:10.0.0.3"],
        "holder-frames": [in_pieces(*map(holder.encode, held))],
        "datagrams": [in_pieces(encode_datagram(1, b"abc"), encode_datagram(2, b""))],
        "socks": [in_pieces(b"\x05\x01\x00", b"\x05\x01\x00\x03\x09localhost\x00\x50rest")],
        "template-sources": [
            in_pieces(
                b'variable "a" {\n  default = "${1}" # x\n  type = <<-E\n  ${"}"}\n  E\n}\n',
                b'{"variable": {"b": [{"sensitive": true}]}}',
                b'variable "a" { sensitive = true }\nterraform { backend "s3" {} }',
                b'a = "1"',
                b'{"b": [1, {"c": null}]}',
            )
        ],
        "websocket-stream": [
            b"\x82\x85\x00\x00\x00\x00hello\x82\x80\x00\x00\x00\x00",
            b"\x89\x80\x00\x00\x00\x00\x88\x82\x00\x00\x00\x00\x03\xe8",
        ],
        "tls-layer": fuzzing_layers.tls_seeds(),
        "websocket-layer": fuzzing_layers.websocket_seeds(),
        **_MORE_SEEDS,
    }


def _resume_seeds() -> dict[str, list[bytes]]:
    header = frames.encode_header
    offer = b"at home 10.0.0.5:40022 [fd00::5]:40022"
    talk = [
        header(frames.DATA, 0, 5) + b"hello",
        header(frames.ACK, 100),
        header(frames.PING, 7),
        header(frames.PONG, 7),
        header(frames.OFFER, 0, len(offer)) + offer,
        header(frames.FIN, 5),
        header(frames.ACK, 1001),
        frames.encode_reset("closed", "over"),
    ]
    greetings: list[frames.Greeting] = [
        frames.New(bytes(16), bytes(32)),
        frames.Resume(bytes(16), bytes(32), 7),
        frames.Challenge(bytes(32), 7, bytes(32)),
        frames.Proof(bytes(32)),
        frames.Refuse("unknown_stream", "gone"),
    ]
    return {
        "resume-greeting": [frames.encode_greeting(greeting) for greeting in greetings],
        "resume-frames": [in_pieces(*talk), in_pieces(b"".join(talk))],
        "resume-state": [in_pieces(*talk), in_pieces(b"".join(talk))],
        "resume-offer": [offer, b"off direct_listen is off"],
        **dict.fromkeys(("resume-client", "resume-agent"), fuzzing_streams.seeds(talk)),
    }


def _head_seeds() -> dict[str, list[bytes]]:
    headers = {"Authorization": "Bearer kled_x", "Content-Length": "0"}
    targets = [
        "/api/v1/workspaces/dev/stream?kind=tcp&port=80&resume=1",
        "/api/v1/workspaces/dev.me/stream",
        "/api/v1/agent/stream",
        "/api/v1/me",
    ]
    error = ProtocolError("head_malformed", "bad", hint="x")
    return {
        "request-head": [
            heads.encode_request(f"GET {target}", "a", {**heads.UPGRADE, **headers})
            for target in targets
        ],
        "response-head": [upgrade.encode_switching(), upgrade.encode_error(error)],
    }
