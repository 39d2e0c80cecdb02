"""`scripts/build-agent-bundle`: put the agent's bundle together for each architecture asked for."""

from __future__ import annotations

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from bundle.fetching import Inputs, fetch_debs, fetch_wheels, native_architecture
from bundle.layout import lay_out
from bundle.packing import pack
from bundle.targets import TARGETS

ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Build what the command line names; 1 when a step failed, with its last words."""
    parser = argparse.ArgumentParser(prog="scripts/build-agent-bundle", description=__doc__)
    parser.add_argument("--arch", action="append", choices=sorted(TARGETS), dest="architectures")
    parser.add_argument("--output", type=Path, default=Path("dist"), metavar="DIR")
    arguments = parser.parse_args()
    architectures = arguments.architectures or [native_architecture()]
    arguments.output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kled-bundle-") as work:
        try:
            # It compiles for the others too: what .pyc files hold depends on no architecture.
            native = fetch_debs(native_architecture(), Path(work))
            for architecture in architectures:
                _build(architecture, native, Path(work), arguments.output)
        except subprocess.CalledProcessError as error:
            said = (error.stderr or b"").decode(errors="replace").strip().splitlines()[-5:]
            print(f"error: {Path(error.cmd[0]).name} failed", *said, sep="\n", file=sys.stderr)
            return 1
    return 0


def _build(architecture: str, native: Path, work: Path, output: Path) -> None:
    def say(step: str) -> None:
        print(f"  … {architecture}: {step}", file=sys.stderr)

    say("fetching")
    debs = fetch_debs(architecture, work)
    wheels = fetch_wheels(architecture, ROOT, work)
    say("laying out")
    tree = work / f"tree-{architecture}"
    lay_out(tree, TARGETS[architecture], Inputs(debs=debs, wheels=wheels, native=native), ROOT)
    say("packing")
    packed = output / f"kled-agent-{architecture}.tar.gz"
    pack(tree, packed)
    digest = hashlib.sha256(packed.read_bytes()).hexdigest()
    print(f"{digest}  {packed}  {packed.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    sys.exit(main())
