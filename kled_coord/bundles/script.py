"""The script that fetches the agent's bundle, checks it, and keeps the agent running. Pure.

POSIX `sh` as dash, BusyBox's ash and bash read it. It holds no single quote, because templates wrap
it in some, and the coordinator's URL once and literally, because templates replace its host.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

# For people: it fetches the newest bundle, and says what it does.
SCRIPT_NAME: Final = "agent.sh"
_TEMPLATE: Final = Path(__file__).with_name("start.sh").read_text()
# Bytes that mean something inside double quotes (POSIX, XCU 2.2.3), and the single quote.
_SPECIAL: Final = re.compile(r'["\\$`]')


def render_script(
    access_url: str, digests: Mapping[str, str], variables: Mapping[str, str], directory: str
) -> str:
    """The whole script.

    `digests`: the bundle's hash for each architecture that the machine may have; where there is
    none, an installed kled-agent is what starts. `variables` are exported, `directory` ("": none)
    is made and entered, seen from the home directory.
    """
    exports = "".join(f"export {n}={quote(value)}\n" for n, value in sorted(variables.items()))
    values = {
        "@URL@": quote(access_url),
        "@AMD64@": digests.get("amd64", ""),
        "@ARM64@": digests.get("arm64", ""),
        "@DIRECTORY@": quote(directory),
        "@EXPORTS@\n": exports,
    }
    # One pass: a value that contains the name of another stays as it is.
    return re.sub("|".join(values), lambda found: values[found[0]], _TEMPLATE)


def quote(text: str) -> str:
    """`text` as one word of the shell, without a single quote in it."""
    escaped = _SPECIAL.sub(r"\\\g<0>", text)
    return '"' + escaped.replace("'", '"$(printf "\\047")"') + '"'
