"""`scripts/bench`: run one benchmark and print its table, or the same as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
from pathlib import Path

# For `benchmarks`, and for `tests.kit`, which lays slow networks.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.alone import run_alone
from benchmarks.report import machine, print_table

NAMES = (
    "relay",
    "connect",
    "echo",
    "control",
    "agent-memory",
    "resume",
    "fairness",
    "forward",
    "round-trips",
    "tls",
    "sync",
    "sync-million",
    "build",
    "bundle",
    "container",
)


def main() -> int:
    """Run what the command line names; 1 when a wanted figure was not met."""
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--quick", action="store_true", help="a tenth of the work, for a look")
    arguments = parser.parse_args()
    return run_alone(lambda: measure(arguments))


def measure(arguments: argparse.Namespace) -> int:
    """Run it and print what came out; one line where it could not be measured."""
    try:
        return report(arguments)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        raise SystemExit(f"scripts/bench {arguments.name}: {error}") from error


def report(arguments: argparse.Namespace) -> int:
    """Raises what a program or a connection that failed raises."""
    module = importlib.import_module(f"benchmarks.{arguments.name.replace('-', '_')}")
    rows = module.run(quick=arguments.quick)
    if arguments.json:
        shape = {"name": arguments.name, "machine": machine(), "results": [r.shape() for r in rows]}
        print(json.dumps(shape, indent=2))
    else:
        print_table(arguments.name, rows)
    return 1 if any(row.met is False for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
