"""`scripts/fuzz`: the targets of tests/kit/fuzzing.py, one process after another, and a table."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT)]
from tests.kit.fuzzing import TARGETS, seeds  # noqa: E402

# The whole process with Python and all that is imported: 110 MB before the first input.
_MEMORY_MB = 512
_INPUT_MAX_BYTES = 4096
_SECONDS_PER_INPUT = 10


def main() -> int:
    """Fuzz for about the time that was asked for; 1 when something was found."""
    parser = argparse.ArgumentParser(prog="scripts/fuzz")
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--only", choices=list(TARGETS), action="append")
    parser.add_argument("--corpus", type=Path, help="where inputs are kept from run to run")
    wanted = parser.parse_args()
    names = wanted.only or list(TARGETS)
    seconds = max(1, round(wanted.minutes * 60 / len(names)))
    corpus = wanted.corpus or Path(tempfile.mkdtemp(prefix="kled-fuzz-"))
    findings = 0
    print(f"{seconds} s for each of {len(names)} targets; inputs in {corpus}", flush=True)
    print(f"{'target':<20} {'inputs':>12} {'a second':>9} {'coverage':>9} {'peak MB':>8}  found")
    for name in names:
        findings += fuzz(name, seconds, corpus)
    return 1 if findings else 0


def fuzz(name: str, seconds: int, corpus: Path) -> int:
    """One target; prints its line, and all of the output where there is a finding."""
    inputs, found = corpus / name, corpus / "findings"
    for directory in (inputs, found):
        directory.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(seeds()[name]):
        (inputs / f"seed{number}").write_bytes(seed)
    command = [
        *(sys.executable, str(ROOT / "scripts" / "fuzzing" / "one.py"), name, str(inputs)),
        f"-max_total_time={seconds}",
        f"-max_len={_INPUT_MAX_BYTES}",
        f"-timeout={_SECONDS_PER_INPUT}",
        f"-rss_limit_mb={_MEMORY_MB}",
        f"-artifact_prefix={found}/{name}-",
        "-print_final_stats=1",
    ]
    env = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / '.venv' / 'fuzz'}"}
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    count, rate, peak, cover = (
        (re.findall(pattern, said) or ["?"])[-1]
        for pattern in (
            r"number_of_executed_units: (\d+)",
            r"average_exec_per_sec: +(\d+)",
            r"peak_rss_mb: +(\d+)",
            r"cov: (\d+)",
        )
    )
    verdict = "" if done.returncode == 0 else "FINDING"
    print(f"{name:<20} {count:>12} {rate:>9} {cover:>9} {peak:>8}  {verdict}", flush=True)
    if done.returncode:
        print(said[-6000:], flush=True)
    return int(done.returncode != 0)


if __name__ == "__main__":
    sys.exit(main())
