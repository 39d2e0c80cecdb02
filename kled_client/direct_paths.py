"""Whether this client goes to agents directly, and what it starts from."""

from __future__ import annotations

import random
from collections.abc import Mapping

from kled_wire.errors import ConfigError
from kled_wire.resume.paths import Paths
from kled_wire.transport.network import place

_CHOICES = ("auto", "off")


def wants_direct(env: Mapping[str, str]) -> bool:
    """What KLED_DIRECT says. Raises ConfigError("config_invalid")."""
    chosen = env.get("KLED_DIRECT") or "auto"
    if chosen not in _CHOICES:
        raise ConfigError("config_invalid", f"KLED_DIRECT is {chosen!r}", hint="auto or off")
    return chosen == "auto"


def make_paths(env: Mapping[str, str]) -> Paths:
    """The direct paths of one stream. Raises as `wants_direct`."""
    disabled = "" if wants_direct(env) else "KLED_DIRECT is off"
    return Paths(place, random.random, disabled=disabled)
