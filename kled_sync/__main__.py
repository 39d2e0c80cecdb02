"""`python -m kled_sync`: a sync endpoint on standard input and output, like sftp-server."""

from __future__ import annotations

import os
import signal
import sys

from kled_sync.endpoint.serving import run_endpoint
from kled_sync.garbage_collection import collect_seldom


def main() -> int:
    """Serve until the other side ends. What is said on standard output is the protocol's alone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    collect_seldom()
    reader, writer = os.dup(0), os.dup(1)
    # Whatever prints by mistake must not be in the way.
    os.dup2(2, 1)
    run_endpoint(reader, writer, os.environ)
    return 0


if __name__ == "__main__":
    sys.exit(main())
