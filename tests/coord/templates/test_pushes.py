"""How many pushes are under way at once."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from kled_coord.templates.pushes import OVERALL, PER_USER, Pushes
from kled_wire.errors import LimitError


def test_pushes_are_limited_for_each_user_and_for_all_together() -> None:
    pushes, held = Pushes(), ExitStack()
    with held:
        for number in range(OVERALL):
            held.enter_context(pushes.admitted(f"usr_{number // PER_USER}"))
        for user, figure in (("usr_0", PER_USER), ("usr_new", OVERALL)):
            with pytest.raises(LimitError, match=str(figure)) as caught, pushes.admitted(user):
                pass
            assert (caught.value.code, caught.value.retry_after_s) == ("template_pushes_limit", 30)
    with pushes.admitted("usr_0"):
        pass
