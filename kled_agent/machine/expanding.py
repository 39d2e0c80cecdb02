"""Variables in what a template says of sessions, written `$NAME` and `${NAME}`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

_REFERENCE: Final = re.compile(r"\$(?:([A-Za-z_]\w*)|\{([A-Za-z_]\w*)\})", re.ASCII)


def expand_variables(text: str, environment: Mapping[str, str]) -> str:
    """`text` with the values of the variables that it names; one that is not there is empty."""
    return _REFERENCE.sub(lambda found: environment.get(found[1] or found[2], ""), text)


def expand_path(path: str, environment: Mapping[str, str]) -> str:
    """The same for a path, in which a leading `~` is the home directory."""
    if path == "~" or path.startswith("~/"):
        path = f"$HOME{path[1:]}"
    return expand_variables(path, environment)
