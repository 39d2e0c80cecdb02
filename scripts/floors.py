"""Hold the floors in pyproject.toml, and what is installed, against `floors.toml`."""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from packaging.requirements import Requirement
from packaging.version import Version

_ROOT: Final = Path(__file__).parent.parent


def find_low(project: dict[str, Any], floors: dict[str, list[str]]) -> list[str]:
    """A line for each dependency whose floor, or whose installed release, has a known hole."""
    wanted = [*project["dependencies"]]
    for extra in project["optional-dependencies"].values():
        wanted += extra
    low = []
    for requirement in map(Requirement, wanted):
        if (floor := floors.get(requirement.name.lower())) is None:
            continue
        given = [Version(s.version) for s in requirement.specifier if s.operator == ">="]
        if not given or max(given) < Version(floor[0]):
            low.append(f"pyproject.toml: {requirement}: use >={floor[0]} ({floor[1]})")
    for name, (least, why) in floors.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            continue
        if Version(installed) < Version(least):
            low.append(f"installed: {name} {installed}, older than {least} ({why})")
    return low


def main() -> int:
    """Print what is too low; 1 if anything is."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    floors = tomllib.loads((_ROOT / "scripts" / "floors.toml").read_text())["floors"]
    low = find_low(project, floors)
    sys.stderr.writelines(f"{line}\n" for line in low)
    return bool(low)


if __name__ == "__main__":
    sys.exit(main())
