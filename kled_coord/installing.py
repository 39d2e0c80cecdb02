"""`kled-coord install`: makes the unit, the user and the settings file on a systemd machine.

The package contains the files (`systemd/`). Everything that could prevent the installation is
checked before the first file is written; an existing settings file is not changed.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from kled_wire.errors import ConflictError, ForbiddenError, KledError

SHIPPED: Final = Path(__file__).parent / "systemd"
UNIT: Final = "kled-coord.service"
_PREFIX: Final = "/opt/kled/bin/"
# ProtectHome, systemd.exec(5)
_HIDDEN: Final = ("/home", "/root", "/run/user")
_TARGETS: Final = {
    "kled-coord.sysusers.conf": "etc/sysusers.d/kled-coord.conf",
    "kled-coord.tmpfiles.conf": "etc/tmpfiles.d/kled-coord.conf",
    UNIT: f"etc/systemd/system/{UNIT}",
    **{name: f"etc/systemd/system/{name}" for name in ("kled-kata.service", "kled-kata.socket")},
    "coord.toml": "etc/kled/coord.toml",
}
_OWNERS_OWN: Final = "coord.toml"
_COMMANDS: Final = (
    ("systemd-sysusers", "kled-coord.conf"),
    ("systemd-tmpfiles", "--create", "kled-coord.conf"),
    ("systemctl", "daemon-reload"),
)


@dataclass(frozen=True, slots=True)
class Placed:
    """A file, and what became of it: written, unchanged or kept."""

    path: Path
    how: str


def check_machine(root: Path, program: Path) -> None:
    """Raise the KledError that says why it cannot be installed here, with `program` in the unit.

    Below another `root` than / only the files are made, for a package or an image.
    """
    hidden = next((d for d in _HIDDEN if program.is_relative_to(d)), None)
    if hidden:
        raise ConflictError(
            "install_unreachable",
            f"the unit hides {hidden} from the coordinator, and this program is {program}",
            hint="python3 -m venv /opt/kled, and pip install 'kled[coord,provider]' with that pip",
        )
    if root != Path("/"):
        return
    if os.geteuid() != 0:
        raise ForbiddenError(
            "install_not_root", "installing units needs root", hint=f"sudo {program} install"
        )
    if not Path("/run/systemd/system").is_dir():  # sd_booted(3)
        raise ConflictError(
            "install_without_systemd",
            "systemd does not run on this machine",
            hint="run `kled-coord serve` by other means, or write the files with --root DIR",
        )


def place_files(root: Path, program: Path) -> Iterator[Placed]:
    """Write the files below `root`, each whole or not at all. Raises KledError."""
    for name, target in _TARGETS.items():
        path = root / target
        text = _text(name, program)
        try:
            if path.exists() and (name == _OWNERS_OWN or path.read_text("utf-8") == text):
                yield Placed(path, "kept" if name == _OWNERS_OWN else "unchanged")
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o755)
            aside = path.with_name(f".{path.name}.new")
            aside.write_text(text, "utf-8")
            aside.chmod(0o644)
            aside.replace(path)
        except OSError as exc:
            raise KledError("install_failed", f"{path} cannot be written: {exc.strerror}") from exc
        yield Placed(path, "written")


def make_known() -> None:
    """Have systemd make the user and read the unit. Raises KledError("install_failed")."""
    for command in _COMMANDS:
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError as exc:
            raise KledError("install_failed", f"{command[0]}: {exc.strerror}") from exc
        if done.returncode:
            words = " ".join(done.stderr.split()) or f"it ended with {done.returncode}"
            raise KledError("install_failed", f"{' '.join(command)}: {words}")


def next_steps(program: Path) -> str:
    """What whoever installed it does now."""
    return (
        "next:\n"
        "  $EDITOR /etc/kled/coord.toml     # who reaches it, and how\n"
        "  systemctl enable --now kled-coord\n"
        f"  runuser -u kled -- {program} init    # the first owner's one-time code"
    )


def _text(name: str, program: Path) -> str:
    text = (SHIPPED / name).read_text("utf-8")
    where = str(program.parent).replace("%", "%%")  # systemd.unit(5): it begins a specifier
    return (
        re.sub(f"(?<=[=@]){_PREFIX}", lambda _: f"{where}/", text)
        if name.endswith(".service")
        else text
    )
