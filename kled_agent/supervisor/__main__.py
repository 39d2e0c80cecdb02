"""`kled-init FILE`: run the job of a file (job.py), as the first process of a container."""

from __future__ import annotations

import sys

from kled_agent.supervisor.job import MAX_JOB_BYTES, SupervisorJob, decode_job
from kled_agent.supervisor.running import ContainerSupervisor
from kled_wire.errors import ConfigError, KledError


def main() -> int:
    """Return the exit code of the container."""
    if len(sys.argv) != 2:
        sys.stderr.write("usage: kled-init FILE\n")
        return 2
    try:
        job = _load(sys.argv[1])
    except KledError as error:
        sys.stderr.write(f"kled-init: {error.shown()}\n")
        return error.exit_code
    return ContainerSupervisor(job).run()


def _load(path: str) -> SupervisorJob:
    try:
        with open(path, "rb") as file:  # noqa: PTH123 - at start-up
            return decode_job(file.read(MAX_JOB_BYTES + 1))
    except OSError as error:
        raise ConfigError("supervisor_job_unreadable", f"{path}: {error.strerror}") from error
    except KledError as error:
        raise ConfigError(error.code, f"{path}: {error.message}") from error


if __name__ == "__main__":
    sys.exit(main())
