"""The endpoint of a file sync on standard input and output, for the session's user.

It starts as the agent's user, because the other may not be allowed to read the interpreter, and
becomes the session's before it reads anything.
"""

from __future__ import annotations

import os

from kled_agent.machine.users import become_user
from kled_sync.endpoint.serving import run_endpoint


def main() -> None:
    """Serve until the end of the input. The argument is a LocalUser's job."""
    home = become_user()
    # Paths are seen from the home directory, as sftp-server is told to.
    os.chdir(home)
    os.environ["HOME"] = home
    reader, writer = os.dup(0), os.dup(1)
    os.dup2(2, 1)
    run_endpoint(reader, writer, os.environ)


if __name__ == "__main__":
    main()
