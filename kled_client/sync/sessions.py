"""The continuous syncs of this user, as they are kept between restarts: a folder for each.

`session.json` says what is synced and how, beside it are what was agreed on and the log of changes.
The names are people's: `kled sync start` takes the folder's unless told.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from kled_client.account.files import make_private_dir, replace_private
from kled_client.sync.place import SyncPlace, parse_sync_place
from kled_sync.decide.attributes import AttributeWish
from kled_sync.decide.modes import Mode
from kled_sync.files.options import DURABLE, LINKS, Options
from kled_sync.session.agreed.marks import MARKS
from kled_sync.session.roots import FILE as ROOTS
from kled_sync.tree.entry import EXECUTABLE
from kled_wire.errors import (
    ConfigError,
    ConflictError,
    InputError,
    NotFoundError,
    UnavailableError,
)

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_FILE: Final = "session.json"
CONTINUOUS: Final = tuple(mode.value for mode in Mode if mode is not Mode.COPY)
PERMISSIONS: Final = {"portable": EXECUTABLE, "all": 0o777, "special": 0o777}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncSession:
    """The arguments of `kled sync start`. `alpha` and `beta` are places as people write them."""

    name: str
    alpha: str
    beta: str
    mode: str = Mode.TWO_WAY_SAFE.value
    ignore: str = ""
    gitignore: bool = True
    links: str = "portable"
    permissions: str = "portable"
    durable: str = "batch"
    owner: bool = False
    group: bool = False
    numeric_ids: bool = False
    xattrs: bool = False
    profile: str | None = None
    paused: bool = False
    # The `.kled.toml` that names it; empty for those started by hand.
    project: str = ""
    # In seconds since the epoch; 0 for a sync of an earlier version.
    began_s: float = 0.0

    def places(self) -> tuple[SyncPlace, SyncPlace]:
        """Raises InputError."""
        return parse_sync_place(self.alpha), parse_sync_place(self.beta)

    def options(self, identity: str) -> Options:
        """As endpoints have them; `identity` tells this session from others of other machines."""
        return Options(
            session=identity,
            links=self.links,
            durable=self.durable,
            mode_mask=PERMISSIONS[self.permissions],
            ignore=self.ignore.encode("utf-8", "surrogateescape"),
            gitignore=self.gitignore,
        )

    def attributes(self) -> AttributeWish:
        """What is kept the same besides contents and the permissions of `options`."""
        return AttributeWish(
            owner=self.owner,
            group=self.group,
            numeric_ids=self.numeric_ids,
            special=self.permissions == "special",
            xattrs=self.xattrs,
        )

    def attribute_words(self) -> list[str]:
        """The same for people: as `kled sync start` takes them."""
        names = ("owner", "group", "numeric_ids", "xattrs")
        words = [name.replace("_", "-") for name in names if getattr(self, name)]
        return [f"permissions {self.permissions}", *words]


def check_session(session: SyncSession) -> SyncSession:
    """`session` as it came. Raises InputError."""
    if not _NAME.fullmatch(session.name):
        raise InputError(
            "sync_name_invalid",
            f"{session.name[:80]!r} is no name of a sync",
            hint="letters, digits, . _ and -, at most 64",
        )
    for value, known in (
        (session.mode, CONTINUOUS),
        (session.links, LINKS),
        (session.permissions, tuple(PERMISSIONS)),
        (session.durable, DURABLE),
    ):
        if value not in known:
            raise InputError(
                "sync_setting_invalid",
                f"{value[:80]!r} cannot be",
                hint=f"one of {', '.join(known)}",
            )
    alpha, beta = session.places()
    if not alpha.is_here and not beta.is_here:
        raise InputError("copy_sides", "both sides are elsewhere", hint="one is on this machine")
    return session


def state_unusable(error: OSError, where: str = "") -> UnavailableError:
    """What to say of a disk on which the state of a sync cannot be kept."""
    return UnavailableError(
        "sync_state_unusable",
        f"{where or error.filename or 'the state of a sync'} cannot be used: {error.strerror}",
        hint="make room on its disk, or set XDG_STATE_HOME to a directory you may write",
    )


class SessionStore:
    """The folder of sessions. Blocks."""

    def __init__(self, home: Path) -> None:
        self._home = home / "sessions"

    def directory(self, name: str) -> Path:
        return self._home / name

    def names(self) -> list[str]:
        if not self._home.is_dir():
            return []
        return sorted(path.parent.name for path in self._home.glob(f"*/{_FILE}"))

    def load(self, name: str) -> SyncSession:
        """Raises NotFoundError("sync_unknown"), ConfigError("sync_session_damaged")."""
        path = self.directory(name) / _FILE
        try:
            raw = json.loads(path.read_bytes())
            return check_session(SyncSession(**raw))
        except (FileNotFoundError, NotADirectoryError) as exc:
            known = ", ".join(self.names())
            raise NotFoundError(
                "sync_unknown",
                f"there is no sync called {name}",
                hint=f"there is {known}" if known else "kled sync start makes one",
            ) from exc
        except (OSError, ValueError, TypeError) as exc:
            raise ConfigError("sync_session_damaged", f"{path} cannot be read: {exc}") from exc

    def add(self, session: SyncSession) -> None:
        """Raises ConflictError("sync_name_taken"), UnavailableError, InputError."""
        check_session(session)
        if (self.directory(session.name) / _FILE).exists():
            raise ConflictError(
                "sync_name_taken",
                f"there is a sync called {session.name} already",
                hint="--name gives this one another",
            )
        self.save(session)

    def save(self, session: SyncSession) -> None:
        """Raises UnavailableError("sync_state_unusable")."""
        directory = self.directory(session.name)
        data: dict[str, Any] = asdict(session)
        try:
            make_private_dir(str(directory))
            written = json.dumps(data, indent=2).encode() + b"\n"
            replace_private(str(directory / _FILE), written)
        except OSError as exc:
            raise state_unusable(exc, str(directory)) from exc

    def remove(self, name: str) -> None:
        """Forget a session; the folders stay as they are. Raises NotFoundError."""
        self.load(name)
        shutil.rmtree(self.directory(name))

    def forget_agreed(self, name: str) -> None:
        """Begin anew: what both sides have is compared by content the next time."""
        for part in ("agreed", "log", MARKS, ROOTS):
            (self.directory(name) / "agreement" / part).unlink(missing_ok=True)


def default_name(alpha: SyncPlace, beta: SyncPlace, taken: list[str]) -> str:
    """The folder's name, with a number where that is taken."""
    here = alpha if alpha.is_here else beta
    word = re.sub(r"[^A-Za-z0-9._-]+", "-", Path(here.path).resolve().name).strip("-._")[:50]
    word = word or "sync"
    name, number = word, 2
    while name in taken:
        name, number = f"{word}-{number}", number + 1
    return name


def absolute(place: SyncPlace, text: str, cwd: str) -> str:
    """A place that means the same wherever the background process runs."""
    return os.path.join(cwd, place.path) if place.is_here else text  # noqa: PTH118  # keeps a ./a:b
