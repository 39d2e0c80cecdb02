"""One HTTP/2 connection over a trio stream: what a gRPC server and a client have in common."""

from __future__ import annotations

from collections.abc import Callable

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
import trio

RECEIVE_BYTES = 64 << 10
# h2's default window of 64 KiB means a stall per window; messages are bounded by both ends.
WINDOW_BYTES = 1 << 20


class HttpConnection:
    """Moves bytes between the stream and `h2`. One task runs `receive`; any may send."""

    def __init__(self, stream: trio.abc.Stream, *, is_client: bool) -> None:
        self.is_open = True
        # Headers that are sent are made here, of a few names in lower case: h2 need not check them.
        config = h2.config.H2Configuration(
            client_side=is_client,
            header_encoding="utf-8",
            validate_outbound_headers=False,
            validate_inbound_headers=False,
            normalize_outbound_headers=False,
        )
        self.h2 = h2.connection.H2Connection(config)
        self.h2.local_settings = _settings(self.h2, is_client=is_client)
        self._stream = stream
        self._send_lock = trio.Lock()  # h2 makes bytes in order; they must leave in order
        self._window_opened = trio.Event()  # replaced each time it is set

    async def receive(self, take: Callable[[h2.events.Event], None]) -> None:
        """Give each event to `take` until the end of the stream or a violation of HTTP/2."""
        try:
            while self.is_open and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                for event in self.h2.receive_data(data):
                    self._look(event)
                    take(event)
                await self.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return
        except (h2.exceptions.H2Error, UnicodeDecodeError):
            await self.flush()  # says GOAWAY with the reason

    async def open(self) -> None:
        """Say the first words of HTTP/2."""
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(WINDOW_BYTES)
        await self.flush()

    def disconnect(self) -> None:
        """Send nothing from now on."""
        self.is_open = False
        self._wake()

    def _look(self, event: h2.events.Event) -> None:
        match event:
            case (
                h2.events.WindowUpdated()
                | h2.events.RemoteSettingsChanged()
                | h2.events.StreamReset()
            ):
                self._wake()
            case h2.events.ConnectionTerminated():
                self.disconnect()

    async def send_body(self, number: int, body: bytes) -> None:
        """Send data on a stream, in pieces as the peer's windows allow; the last leaves by `flush`.

        So headers, a small body and what ends it are one system call, and wake the peer once.
        Raises h2's ProtocolError where the peer has reset the stream or closed the connection.
        """
        rest = memoryview(body)
        while self.is_open and rest:
            window = self.h2.local_flow_control_window(number)
            if window <= 0:
                opened = self._window_opened
                await self.flush()
                await opened.wait()
                continue
            size = min(window, self.h2.max_outbound_frame_size, len(rest))
            self.h2.send_data(number, bytes(rest[:size]))
            rest = rest[size:]

    async def flush(self) -> None:
        """Send what h2 has to say. Cancelled before it begins, it leaves that to the next one.

        A call that is cancelled must not take away a part of what the others say too.
        """
        async with self._send_lock:
            await trio.lowlevel.checkpoint_if_cancelled()  # taking the lock may have waited
            data = self.h2.data_to_send()
            if not data:
                return
            try:
                await self._stream.send_all(data)
            except trio.Cancelled:
                self.disconnect()  # nobody knows how much of it was sent
                await trio.aclose_forcefully(self._stream)
                raise
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self.disconnect()

    def _wake(self) -> None:
        self._window_opened.set()
        self._window_opened = trio.Event()


def _settings(connection: h2.connection.H2Connection, *, is_client: bool) -> h2.settings.Settings:
    """Let each stream begin with the window of WINDOW_BYTES, instead of opening it by a frame."""
    code = h2.settings.SettingCodes
    values = {code(number): value for number, value in connection.local_settings.items()}
    values[code.INITIAL_WINDOW_SIZE] = WINDOW_BYTES
    return h2.settings.Settings(client=is_client, initial_values=values)
