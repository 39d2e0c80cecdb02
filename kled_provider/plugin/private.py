"""The provider's private data, which Terraform stores beside an object's state, never shown.

`generation` identifies the create that made or adopted the object. If a create adopts an existing
object of its name, the object belongs to the new generation: a delete by the previous resource,
which may follow in the same run, has an older generation and does not delete it.

`claim` lasts for one plan: for an object that is replaced Terraform makes two calls, and gives the
private data that the first returned to the second. For a tainted object it makes one call, without
private data, and destroys the object with what that call returned.

`data` is the resource's own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Private:
    """All are empty where nothing is known: an object of an earlier version, or none yet."""

    generation: str = ""
    claim: str = ""
    data: Mapping[str, str] = field(default_factory=dict)

    def encode(self) -> bytes:
        """Return the bytes that Terraform keeps."""
        return json.dumps(asdict(self)).encode()

    def destroyed(self) -> str | None:
        """Return the generation of an object that is destroyed; None where it was not given."""
        return self.generation if self.generation or not self.claim else None


def decode_private(kept: bytes) -> Private:
    """Read what `encode` wrote; anything else is as nothing."""
    try:
        found = json.loads(kept)
        data = {str(name): str(value) for name, value in found.get("data", {}).items()}
        return Private(generation=str(found["generation"]), claim=str(found["claim"]), data=data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return Private()


class Names:
    """The names that the configurations of one walk over the graph have taken.

    Terraform makes a connection for each walk, and tells a provider no addresses: two resources
    of one name are noticed here, or not at all. An old object that is destroyed takes no name.
    """

    def __init__(self) -> None:
        self._claims: dict[tuple[str, str], str] = {}

    def take(self, type_name: str, name: str, *, claim: str, new_claim: str) -> str | None:
        """Return the claim of the configuration that has the name now; None: it is another's."""
        holder = self._claims.setdefault((type_name, name), new_claim)
        return holder if holder in (claim, new_claim) else None


class Replacements:
    """What the creates of a run take the place of: one for all connections of a run.

    Only the plan is told that a create replaces something (its second call has the private data of
    the object). Where the create comes first (`create_before_destroy`) the object is still there,
    and not to be adopted: who wants it replaced may have changed nothing of it (`-replace`).
    """

    def __init__(self) -> None:
        self._generations: dict[tuple[str, str], str] = {}

    def plan(self, type_name: str, name: str, generation: str) -> None:
        """Note the generation of the object of that name that a planned create replaces."""
        self._generations[type_name, name] = generation

    def of(self, type_name: str, name: str) -> str:
        """Return the generation that a create replaces; "" where none is known."""
        return self._generations.get((type_name, name), "")
