"""Makes Unix sockets as the sessions' user, for an agent that is root.

Permissions, owners and links are then judged by the kernel for that user, as under sshd, and who
listens sees that user at the other end (SO_PEERCRED). One process, started at the first need; it
ends with the agent. Each question comes with a socket for its answer. It starts as root because
the user may not be allowed to read the interpreter, and stops being root before it does anything.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from dataclasses import dataclass
from typing import Final

from kled_agent.machine.users import become_user
from kled_agent.ssh.forwards import unix_sockets

MESSAGE_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """`what` is connect, listen, listen_privately or remove."""

    what: str
    path: str = ""
    private: bool = False

    def encode(self) -> bytes:
        """For `answer`'s process."""
        words = {"what": self.what, "path": self.path, "private": self.private}
        return json.dumps(words).encode()


def answer(question: Question) -> socket.socket | None:
    """Do it as this process. Raises OSError."""
    match question.what:
        case "connect":
            return unix_sockets.connect(question.path)
        case "listen":
            return unix_sockets.listen(question.path)
        case "listen_privately":
            return unix_sockets.listen_privately()
        case _:
            unix_sockets.remove(question.path, private=question.private)
            return None


def read_answer(reply: socket.socket) -> socket.socket | None:
    """What `_answer_on` said over there. Raises OSError."""
    said, descriptors, _, _ = socket.recv_fds(reply, MESSAGE_BYTES, 1)
    if not said:
        raise OSError("the process that opens sockets for the user has ended")
    number, text = json.loads(said)
    if number or text:
        raise OSError(number, text) if number else OSError(text)
    return socket.socket(fileno=descriptors[0]) if descriptors else None


def _answer_on(reply: socket.socket, question: Question) -> None:
    with reply:
        try:
            made = answer(question)
        except OSError as exc:
            said: tuple[int, str] = (exc.errno or 0, exc.strerror or str(exc))
            reply.sendall(json.dumps(said).encode())
            return
        descriptors = [] if made is None else [made.fileno()]
        socket.send_fds(reply, [json.dumps((0, "")).encode()], descriptors)
        if made is not None:
            made.close()


def main() -> None:
    """Answer until the agent is gone. The control socket is standard input."""
    become_user()
    os.chdir("/")
    control = socket.socket(fileno=0)
    while True:
        # Each question was sent with a descriptor, so the kernel never joins two (unix(7)).
        asked, descriptors, _, _ = socket.recv_fds(control, MESSAGE_BYTES, 1)
        if not asked:
            return
        reply = socket.socket(fileno=descriptors[0])
        question = Question(**json.loads(asked))
        threading.Thread(target=_answer_on, args=(reply, question), daemon=True).start()


if __name__ == "__main__":
    main()
