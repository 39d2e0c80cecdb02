"""The rules that the firewall plugin leaves of a bridge."""

from __future__ import annotations

from kled_provider.kata.network.rules import rules_of

LISTED = """\
-N CNI-ISOLATION-STAGE-1
-A CNI-ISOLATION-STAGE-1 -i kled12 ! -o kled12 -m comment --comment "CNI firewall plugin rules (ingressPolicy: same-bridge)" -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -i kled123 ! -o kled123 -j CNI-ISOLATION-STAGE-2
-A CNI-ISOLATION-STAGE-1 -m comment --comment "kled12 in words" -j RETURN
"""  # noqa: E501 - as iptables prints it


def test_only_a_bridges_own_rules_are_found_and_can_be_given_back() -> None:
    (rule,) = rules_of(LISTED, "kled12")
    assert rule[:6] == ["CNI-ISOLATION-STAGE-1", "-i", "kled12", "!", "-o", "kled12"]
    assert "CNI firewall plugin rules (ingressPolicy: same-bridge)" in rule
    assert list(rules_of("", "kled12")) == []
