"""What is said in the SSH subsystems: read as written, garbage one error, lines cut anywhere."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kled_wire.errors import InputError, KledError, NotFoundError, ProtocolError
from kled_wire.ssh import subsystems
from kled_wire.ssh.subsystems import LineReader, ReportedPort, SessionCommand

_names = st.sampled_from(
    ["ok", "error", "status", "code", "message", "data", "ports", "port", "addresses", "pid",
     "host", "op", "name", "bytes"]
)  # fmt: skip
_garbage = st.one_of(
    st.binary(max_size=40),
    st.recursive(
        st.one_of(st.integers(), st.floats(), st.text(max_size=5), st.none(), st.booleans()),
        lambda inner: st.lists(inner) | st.dictionaries(_names, inner),
    ).map(lambda value: json.dumps(value).encode()),
)
_ports = st.builds(
    ReportedPort,
    port=st.integers(1, 65535),
    addresses=st.lists(st.text(max_size=9), min_size=1, max_size=3).map(tuple),
    process=st.text(max_size=9),
    pid=st.none() | st.integers(1),
    mine=st.booleans(),
)


@given(
    st.builds(
        SessionCommand,
        op=st.text(max_size=9),
        name=st.text(max_size=9),
        to=st.text(max_size=9),
        bytes=st.none() | st.integers(),
    )
)
def test_a_command_is_read_as_it_was_written(command: SessionCommand) -> None:
    assert subsystems.decode_session_command(subsystems.encode_session_command(command)) == command


@given(st.lists(_ports, max_size=4, unique_by=lambda port: port.port))
def test_ports_are_read_as_they_were_written(ports: list[ReportedPort]) -> None:
    decoded = subsystems.decode_ports(subsystems.encode_ports(ports))
    assert decoded == sorted(ports, key=lambda port: port.port)


@given(st.text(max_size=20), st.integers(0, 65535))
def test_a_udp_request_is_read_as_it_was_written(host: str, port: int) -> None:
    assert subsystems.decode_udp_request(subsystems.encode_udp_request(host, port)) == (host, port)


@given(st.binary(max_size=40))
def test_a_piece_of_a_log_is_read_as_it_was_written(data: bytes) -> None:
    answer = subsystems.decode_session_answer(subsystems.encode_session_data(data))
    assert subsystems.decode_session_data(answer) == data


def test_the_agents_error_comes_out_as_itself() -> None:
    error = NotFoundError("session_not_found", "no such session", hint="kled session list")
    with pytest.raises(NotFoundError) as caught:
        subsystems.decode_session_answer(subsystems.encode_session_error(error))
    assert caught.value.line() == error.line()


@pytest.mark.parametrize(
    ("decode", "kind"),
    [
        (subsystems.decode_session_command, InputError),
        (subsystems.decode_udp_request, InputError),
        (subsystems.decode_ports, ProtocolError),
        (lambda line: subsystems.decode_session_data({"data": line}), ProtocolError),
    ],
)
@given(line=_garbage)
def test_garbage_gives_one_error(
    decode: Callable[[bytes], object], kind: type[KledError], line: bytes
) -> None:
    with contextlib.suppress(kind):
        decode(line)


@given(_garbage)
def test_a_garbled_answer_is_an_error_of_the_agents_or_malformed(line: bytes) -> None:
    with contextlib.suppress(KledError):
        subsystems.decode_session_answer(line)


def test_json_that_is_nested_too_deeply_is_no_traceback() -> None:
    with pytest.raises(ProtocolError):
        subsystems.decode_ports(b'{"ports": ' + b"[" * 100_000)
    with pytest.raises(InputError):
        subsystems.decode_udp_request(b'{"host": "a", "port": Infinity}')


def test_where_a_port_is_reached() -> None:
    def host(*addresses: str) -> str:
        return ReportedPort(port=1, addresses=addresses, process="", pid=None, mine=True).host

    assert (host("0.0.0.0"), host("::1"), host("10.0.0.1", "::")) == (
        "localhost",
        "::1",
        "localhost",
    )


@given(st.lists(st.binary(max_size=9).filter(lambda line: b"\n" not in line)), st.data())
def test_lines_do_not_depend_on_how_they_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    text = b"".join(line + b"\n" for line in lines) + b"rest"
    reader, found = LineReader(20), []
    while text:
        size = data.draw(st.integers(1, len(text)))
        reader.feed(text[:size])
        text = text[size:]
        while (line := reader.next_line()) is not None:
            found.append(line)
        assert not reader.overlong
    assert (found, reader.rest) == (lines, b"rest")


def test_a_line_without_an_end_is_overlong() -> None:
    reader = LineReader(4)
    reader.feed(b"12345")
    assert reader.overlong
    reader.feed(b"\n")
    assert not reader.overlong
