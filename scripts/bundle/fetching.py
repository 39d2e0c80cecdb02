"""What a bundle is made of: Debian packages that are unpacked and never installed, and wheels."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

from bundle.targets import TARGETS

SUITE = "bookworm"
PYTHON = "3.11"
_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
_SOURCES = f"""\
deb [signed-by={_KEYRING}] http://deb.debian.org/debian {SUITE} main
deb [signed-by={_KEYRING}] http://deb.debian.org/debian {SUITE}-updates main
deb [signed-by={_KEYRING}] http://deb.debian.org/debian-security {SUITE}-security main
"""
PACKAGES = (
    f"python{PYTHON}-minimal",
    f"libpython{PYTHON}-minimal",
    f"libpython{PYTHON}-stdlib",
    "libc6",
    "libssl3",
    "libffi8",
    "zlib1g",
    "libexpat1",
    "libgcc-s1",
    "libstdc++6",
    "openssh-sftp-server",
)
# Of kled's dependencies, what only a laptop's command line imports.
_CLIENT_ONLY = frozenset({"click", "rich", "httpx", "keyring"})
# The image's own certificates come first; these are for images that have none.
_BESIDES = ("certifi",)


class Inputs(NamedTuple):
    """Directories: unpacked packages, unpacked wheels, the building machine's own packages."""

    debs: Path
    wheels: Path
    native: Path


def native_architecture() -> str:
    """Debian's name of this machine's architecture."""
    return _run("dpkg", "--print-architecture").decode().strip()


def fetch_debs(architecture: str, work: Path) -> Path:
    """Where the packages are unpacked; an index of its own leaves this machine's apt as it is."""
    unpacked = work / f"debs-{architecture}"
    if unpacked.is_dir():
        return unpacked
    state = work / f"apt-{architecture}"
    for directory in ("lists/partial", "cache/archives/partial", "debs"):
        (state / directory).mkdir(parents=True)
    (state / "status").touch()
    (state / "sources.list").write_text(_SOURCES)
    options = {
        "APT::Architecture": architecture,
        "APT::Architectures": architecture,
        "APT::Sandbox::User": "root",
        "Dir::State": state,
        "Dir::State::lists": state / "lists",
        "Dir::State::status": state / "status",
        "Dir::Cache": state / "cache",
        "Dir::Etc::sourcelist": state / "sources.list",
        "Dir::Etc::sourceparts": "/nonexistent",
    }
    apt = ["apt-get", "-qq", *(f"-o{name}={value}" for name, value in options.items())]
    _run(*apt, "update")
    _run(*apt, "download", *PACKAGES, directory=state / "debs")
    for package in sorted((state / "debs").glob("*.deb")):
        _run("dpkg-deb", "-x", str(package), str(unpacked))
    names = [path.name for path in sorted((state / "debs").glob("*.deb"))]
    (unpacked / "inputs.txt").write_text("".join(f"{name}\n" for name in names))
    return unpacked


def fetch_wheels(architecture: str, root: Path, work: Path) -> Path:
    """Where the wheels of the agent's dependencies are unpacked."""
    downloaded, unpacked = work / f"wheels-{architecture}", work / f"unpacked-{architecture}"
    machine = TARGETS[architecture].machine
    platforms = [f"manylinux{tag}_{machine}" for tag in ("2014", "_2_17", "_2_28")]
    wanted = [
        *("--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"),
        *(f"--abi={abi}" for abi in ("cp311", "abi3", "none")),
        *(f"--platform={platform}" for platform in platforms),
    ]
    pip = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check"]
    _run(*pip, *wanted, "-d", str(downloaded), *requirements(root))
    for wheel in sorted(downloaded.glob("*.whl")):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(unpacked)
    names = [path.name for path in sorted(downloaded.glob("*.whl"))]
    (unpacked / "inputs.txt").write_text("".join(f"{name}\n" for name in names))
    return unpacked


def requirements(root: Path) -> list[str]:
    """What the agent needs of the project's dependencies, with their bounds."""
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    return [
        *(r for r in project["dependencies"] if _name(r) not in _CLIENT_ONLY),
        *_BESIDES,
    ]


def _name(requirement: str) -> str:
    return re.split(r"[^\w-]", requirement, maxsplit=1)[0]


def _run(*argv: str, directory: Path | None = None) -> bytes:
    return subprocess.run(argv, check=True, capture_output=True, cwd=directory).stdout
