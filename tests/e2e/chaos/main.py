"""`scripts/chaos`: sessions under all kinds of trouble, and whether each byte survived."""

from __future__ import annotations

import argparse
import json
import random
import sys

from tests.e2e.chaos.plan import KINDS
from tests.e2e.chaos.run import run
from tests.kit.slowlink import why_not


def main() -> int:
    """1 when a session was lost, 2 where it cannot run."""
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, help="what comes when; otherwise another each time")
    parser.add_argument("--only", choices=list(KINDS), action="append", help="may be repeated")
    parser.add_argument("--tls", action="store_true", help="that ends at the coordinator")
    parser.add_argument("--json", action="store_true")
    wanted = parser.parse_args()
    if len(set(wanted.only or ())) > 1 and any(KINDS[name].ends_streams for name in wanted.only):
        parser.error("what ends streams comes alone: how soon that is said is judged")
    if not wanted.tls and (secured := [n for n in wanted.only or () if KINDS[n].tls]):
        parser.error(f"{secured[0]} comes with --tls only")
    if missing := why_not():
        sys.stderr.write(f"scripts/chaos: {missing}\n")
        return 2
    seed = random.SystemRandom().randrange(10**6) if wanted.seed is None else wanted.seed
    out = sys.stderr if wanted.json else sys.stdout

    def say(line: str) -> None:
        out.write(line + "\n")
        out.flush()

    report = run(seed, wanted.minutes * 60, wanted.only or (), say, tls=wanted.tls)
    lines = [json.dumps(report.as_json())] if wanted.json else report.lines()
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return 1 if report.lost else 0


if __name__ == "__main__":
    sys.exit(main())
