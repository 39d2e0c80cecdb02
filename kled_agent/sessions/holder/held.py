"""The terminal of a held session: bounded reads, what was typed and not yet taken, and its size.

Standard library only; nothing here waits, but for what a dead shell has left.
"""

from __future__ import annotations

import contextlib
import os
import selectors
from collections.abc import Callable
from typing import Final

from kled_agent.sessions.terminal import foreground, set_size, signal_group

# How much one round reads: a key that arrives meanwhile waits for this much output at most.
ROUND_BYTES: Final = 64 * 1024
READ_BYTES: Final = 16 * 1024
INPUT_BYTES: Final = 256 * 1024


class ShellTerminal:
    """Our end of the terminal of a `shell`, which is its pid and this descriptor.

    `ready` is called with the descriptor and the selector's mask.
    """

    def __init__(
        self,
        shell: tuple[int, int],
        size: tuple[int, int],
        selector: selectors.BaseSelector,
        ready: Callable[[int, int], None],
    ) -> None:
        self._shell, self.descriptor = shell
        # Columns and rows.
        self.size = size
        self._selector = selector
        self._ready = ready
        self._input = bytearray()
        selector.register(self.descriptor, selectors.EVENT_READ, ready)

    @property
    def is_full(self) -> bool:
        """Whether the program has so much to read that no more should be typed."""
        return len(self._input) > INPUT_BYTES

    def read(self) -> bytes:
        """What there is, up to ROUND_BYTES: the kernel gives at most 4 KiB at a time."""
        parts: list[bytes] = []
        try:
            while len(parts) < ROUND_BYTES // 4096:
                parts.append(os.read(self.descriptor, READ_BYTES))
        except BlockingIOError:
            pass
        except OSError:  # EIO: every program has closed it; the shell's end is told by SIGCHLD
            self.unwatch()
        return b"".join(parts)

    def is_readable(self, wait_s: float) -> bool:
        """Whether there is something to read within that time."""
        with selectors.DefaultSelector() as selector:
            selector.register(self.descriptor, selectors.EVENT_READ)
            return bool(selector.select(wait_s))

    def unwatch(self) -> None:
        """Do not report it as ready again."""
        with contextlib.suppress(KeyError):
            self._selector.unregister(self.descriptor)

    def type(self, data: bytes) -> None:
        """Give `data` to the program, at once as far as it takes it."""
        self._input += data
        self.flush()

    def flush(self) -> None:
        """Give the program what it now takes."""
        try:
            while self._input:
                sent = os.write(self.descriptor, self._input[:4096])
                del self._input[:sent]
        except BlockingIOError:
            pass
        except OSError:
            self._input.clear()
        with contextlib.suppress(KeyError):
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._input else 0)
            self._selector.modify(self.descriptor, wanted, self._ready)

    def resize(self, size: tuple[int, int]) -> None:
        """Tell the program, unless the size is what it was."""
        if size != self.size:
            self.size = size
            set_size(self.descriptor, *size)

    def shrink(self) -> None:
        """Tell the program of another size, until `restore`: a full-screen one draws everything."""
        columns, rows = self.size
        set_size(self.descriptor, columns, max(1, rows - 1))

    def restore(self) -> None:
        """Tell the program its size again."""
        set_size(self.descriptor, *self.size)

    def signal(self, number: int) -> None:
        """Signal the program in the foreground."""
        signal_group(foreground(self.descriptor, self._shell), number)
