"""One target under atheris: `one.py TARGET CORPUS LIBFUZZER-OPTIONS…`."""

from __future__ import annotations

import sys

import atheris

# What decides is what coverage is to lead into; the frameworks below would only slow it down.
with atheris.instrument_imports(
    include=["kled_wire", "kled_agent", "kled_coord", "kled_client", "wsproto", "h11"]
):
    from tests.kit.fuzzing import TARGETS


def main() -> None:
    """Until libFuzzer has had its time, or something was found."""
    name, *options = sys.argv[1:]
    atheris.Setup([sys.argv[0], *options], TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
