"""Whether this client goes to agents directly, and what it starts from."""

from __future__ import annotations

import random
from collections.abc import Mapping

from kled_client.account.profile import Profile
from kled_wire.errors import ConfigError
from kled_wire.resume.direct.paths import Paths
from kled_wire.transport.network import place

_CHOICES = ("auto", "off")


def why_disabled(env: Mapping[str, str], profile: Profile) -> str:
    """What turns direct paths off, KLED_DIRECT or else the profile; "" when nothing does.

    Raises ConfigError("config_invalid").
    """
    chosen = env.get("KLED_DIRECT")
    where = "KLED_DIRECT is" if chosen else f"`direct` of profile {profile.name} is"
    chosen = chosen or profile.direct or "auto"
    if chosen not in _CHOICES:
        raise ConfigError("config_invalid", f"{where} {chosen!r}", hint="auto or off")
    return f"{where} off" if chosen == "off" else ""


def make_paths(env: Mapping[str, str], profile: Profile) -> Paths:
    """The direct paths of one stream. Raises as `why_disabled`."""
    disabled = why_disabled(env, profile)
    return Paths(place, random.random, disabled=disabled)
