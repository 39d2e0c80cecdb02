"""The rules that the plugins leave of a bridge, and of a container."""

from __future__ import annotations

from kled_provider.kata.network.rules import rules_of, tagged_rules

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


NAT = """\
-P POSTROUTING ACCEPT
-N CNI-aa
-A POSTROUTING -s 10.1.0.4/32 -m comment --comment "name: \\"w.n\\" id: \\"c-1\\"" -j CNI-aa
-A POSTROUTING -s 10.1.0.5/32 -m comment --comment "name: \\"w.n\\" id: \\"c-11\\"" -j CNI-bb
-A CNI-aa -d 10.1.0.0/24 -m comment --comment "name: \\"w.n\\" id: \\"c-1\\"" -j ACCEPT
-A CNI-HOSTPORT-DNAT -p tcp -m comment --comment "dnat name: \\"w.n\\" id: \\"c-1\\"" -j CNI-DN-cc
"""


def test_only_a_containers_own_chains_are_found() -> None:
    found = list(tagged_rules(NAT, "c-1"))
    assert [chain for _, chain in found] == ["CNI-aa", "CNI-DN-cc"]
    assert found[0][0][:3] == ["POSTROUTING", "-s", "10.1.0.4/32"]
    assert 'name: "w.n" id: "c-1"' in found[0][0]
