"""`scripts/chaos-builds`: builds under all kinds of trouble, and whether anything was lost."""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

from tests.e2e.chaos.builds.plan import KINDS
from tests.e2e.chaos.builds.run import run_builds
from tests.kit.postgres import find_postgres
from tests.kit.small_disk import why_no_disk


def main() -> int:
    """1 when something was lost, doubled or left, 2 where it cannot run."""
    parser = argparse.ArgumentParser(prog="scripts/chaos-builds", description=__doc__)
    parser.add_argument("--builds", type=int, default=100)
    parser.add_argument("--seed", type=int, help="what comes when; otherwise another each time")
    parser.add_argument("--only", choices=list(KINDS), action="append", help="may be repeated")
    parser.add_argument("--postgres", action="store_true", help="instead of SQLite")
    parser.add_argument("--pace", type=float, default=5.0, help="seconds from trouble to trouble")
    parser.add_argument("--log", type=Path, help="keep the coordinator's log there")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    missing = why_no_disk()
    if not missing and wanted.postgres and find_postgres() is None:
        missing = "PostgreSQL is not installed"
    if missing:
        sys.stderr.write(f"scripts/chaos-builds: {missing}\n")
        return 2
    seed = random.SystemRandom().randrange(10**6) if wanted.seed is None else wanted.seed
    out = sys.stderr if wanted.json else sys.stdout

    def say(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    report = run_builds(
        seed,
        wanted.builds,
        wanted.only or (),
        say,
        postgres=wanted.postgres,
        pace_s=wanted.pace,
        log=wanted.log,
    )
    lines = [json.dumps(report.as_json())] if wanted.json else report.lines()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
