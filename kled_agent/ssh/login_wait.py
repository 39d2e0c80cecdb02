"""Delays a session that requests it until scripts no longer block logins, and names them.

`kled ssh` requests it by a variable. Other clients log in at once: a person who repairs a workspace
whose scripts hang, and programs that know nothing of scripts.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import trio

from kled_agent.ssh.identity import LoginGate
from kled_wire.text import printable

WAIT_VARIABLE: Final = "KLED_CLIENT_WAIT"
_CTRL_C: Final = b"\x03"
# The status that shells report for a program that SIGINT ended.
GAVE_UP: Final = 130


class LoginWait:
    """The wait of one session. `write` shows something to its client."""

    def __init__(self, logins: LoginGate, write: Callable[[bytes], None]) -> None:
        self._logins = logins
        self._write = write
        self._scope = trio.CancelScope()

    def typed(self, data: bytes) -> None:
        """The client sends input; on a terminal Ctrl-C gives up."""
        if _CTRL_C in data:
            self.give_up()

    def give_up(self) -> None:
        """Wait no more, and let nobody in."""
        self._scope.cancel()

    async def run(self) -> bool:
        """Wait; False when the client gave up. Says what it waits for, and what went wrong."""
        said: tuple[str, ...] = ()
        with self._scope:
            while True:
                news = self._logins.next_news()
                names = self._logins.waits_for()
                if not names:
                    break
                if names != said:
                    said = names
                    self._tell(
                        f"waiting for {', '.join(names)}; kled logs -f shows what it does, "
                        "kled ssh --no-wait does not wait"
                    )
                await news.wait()
            if said and (failed := self._logins.failed()):
                self._tell(f"not all went well: {', '.join(failed)}; see kled logs")
        return not self.gave_up

    def _tell(self, text: str) -> None:
        self._write(f"kled: {printable(text)}\r\n".encode())

    @property
    def gave_up(self) -> bool:
        """Whether the client does not want in any more."""
        return self._scope.cancel_called


def asks_to_wait(environment: Mapping[str, str]) -> bool:
    """Whether a session's client wants to."""
    return environment.get(WAIT_VARIABLE) == "1"
