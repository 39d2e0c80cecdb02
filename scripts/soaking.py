"""What `scripts/soak-sync` runs."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.kit.soak import soak  # the path first


def main() -> int:
    """Exit code 1, with the seed, where something was lost."""
    parser = argparse.ArgumentParser(prog="scripts/soak-sync")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=0.0)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument("--hot", action="store_true")
    asked = parser.parse_args()
    began = time.monotonic()
    print(f"seed {asked.seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="kled-soak-") as home:
        until = began + asked.minutes * 60
        edits = 24 if asked.hot else 12
        kills = soak(
            Path(home),
            seed=asked.seed,
            kills=asked.kills,
            edits=edits,
            until=until,
            is_hot=asked.hot,
        )
    print(f"{kills} kills in {time.monotonic() - began:.0f} s, nothing lost")
    return 0


if __name__ == "__main__":
    sys.exit(main())
