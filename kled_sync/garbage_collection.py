"""The garbage collector's part in a sync: nearly none, among millions of small objects."""

from __future__ import annotations

import atexit
import gc
from typing import Final

# Objects that are made without being let go of before the collector looks at them. Those of a sync
# form no cycles: a look would only cost time, as much as deciding does.
_YOUNG: Final = 200_000


def collect_seldom() -> None:
    """Let this process collect garbage seldom from now on.

    Its end takes its memory: nothing is looked for then.
    """
    gc.set_threshold(_YOUNG, 20, 20)
    atexit.register(gc.freeze)
