"""The options by which a session wants a root read and written."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Final

from kled_sync.tree.entry import EXECUTABLE, MODE_BITS
from kled_sync.tree.paths import is_name
from kled_wire.errors import ProtocolError

LINKS: Final = ("portable", "as-is", "ignore")
DURABLE: Final = ("batch", "file", "none")


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Names what a session may choose; the defaults are a continuous sync's."""

    session: str = ""
    links: str = "portable"
    durable: str = "batch"
    mode_mask: int = EXECUTABLE
    # Lines of rules that hold everywhere, and whether those of .gitignore files do.
    ignore: bytes = b""
    gitignore: bool = True
    keep: bool = True
    # Whether directories get the times of the other side's, as rsync -a does it.
    directory_times: bool = False
    # Until what decides who may read it is set, a file that arrives is its owner's alone.
    withhold: bool = False
    # Where the root is a directory, the root is what has this name in it.
    into: bytes = b""
    # Whether a root that is a link is what the link leads to.
    follow: bool = True
    # Of a root that is a directory only these names count, and nothing of itself; "/" between them.
    only: bytes = b""
    # Of a root that is a directory only these names are looked at and listed; "/" between them.
    among: bytes = b""
    # Whether `among` counts though no name is in it.
    among_alone: bool = False
    # Whether the endpoint tells at once which names are in the root.
    tells_names: bool = False
    # Nothing is written here: it is what a copy is made of.
    reads_only: bool = False
    # It is written to only where people ask for that: whoever may not write still may sync it.
    is_source: bool = False
    # Whether the endpoint identifies the root to the session, again whenever it is replaced.
    identify: bool = False
    # Whether it names paths whose owners or extended attributes may have changed.
    attributes: bool = False
    # Whether it says from time to time that it lives, while something is awaited of it.
    tells_alive: bool = False
    # Whether it says that more happened at once than events are kept of.
    tells_overflow: bool = False
    # Whether it tells how many files have several names (hard links).
    tells_links: bool = False
    # Nothing is remembered or kept, and other syncs of the root may run.
    transient: bool = False

    @property
    def only_names(self) -> list[bytes]:
        return self.only.split(b"/") if self.only else []

    @property
    def among_names(self) -> list[bytes]:
        return self.among.split(b"/") if self.among else []

    def with_rules(self, ignore: bytes, *, gitignore: bool) -> Options:
        """The same, leaving out what `ignore` says."""
        return replace(self, ignore=ignore, gitignore=gitignore)

    def plain(self) -> dict[str, Any]:
        """As `OpenRoot.options` has it."""
        return {field.name: getattr(self, field.name) for field in fields(self)}


def parse_options(given: dict[str, Any]) -> Options:
    """Raises ProtocolError("sync_option_refused"); what is not known here is left out."""
    known = {field.name: field for field in fields(Options)}
    chosen = {name: value for name, value in given.items() if name in known}
    for name, value in chosen.items():
        if type(value) is not type(known[name].default):
            raise ProtocolError("sync_option_refused", f"{name} cannot be {type(value).__name__}")
    options = Options(**chosen)
    if options.links not in LINKS or options.durable not in DURABLE:
        raise ProtocolError("sync_option_refused", f"{options.links}, {options.durable}")
    names = [*options.only_names, *options.among_names]
    if not all(map(is_name, [*names, *([options.into] if options.into else [])])):
        raise ProtocolError("sync_option_refused", "an invalid name")
    if not 0 <= options.mode_mask <= MODE_BITS:
        raise ProtocolError("sync_option_refused", f"mode_mask {options.mode_mask}")
    return options
