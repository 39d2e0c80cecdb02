"""Whether somebody has just signed in."""

from __future__ import annotations

from kled_coord.identity.sign_ins import RECENT_S, SignIns


def test_a_sign_in_is_recent_for_ten_minutes_and_only_with_its_own_token() -> None:
    sign_ins = SignIns()
    sign_ins.note("tok_1", 1000.0)
    assert sign_ins.is_recent("tok_1", 1000.0)
    assert sign_ins.is_recent("tok_1", 1000.0 + RECENT_S)
    assert not sign_ins.is_recent("tok_1", 1000.1 + RECENT_S)
    assert not sign_ins.is_recent("tok_2", 1000.0)


def test_old_ones_are_forgotten() -> None:
    sign_ins = SignIns()
    for number in range(100):
        sign_ins.note(f"tok_{number}", number * RECENT_S)
    assert sum(sign_ins.is_recent(f"tok_{n}", 99 * RECENT_S) for n in range(100)) == 2
