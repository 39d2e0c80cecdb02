"""The configuration list of a network, as CNI plugins take it."""

from __future__ import annotations

from kled_provider.kata.network.conflist import NetworkSpec, bridge_name, conflist
from kled_provider.kata.network.subnets import address_range

V4, V6 = address_range("10.88.3.0/24", None, None), address_range("fd00::/64", None, None)


def test_what_is_asked_for_stands_at_the_plugin_that_does_it() -> None:
    spec = NetworkSpec(id="w.net", ranges=(V4, V6), mtu=1400, dns_servers=("10.0.0.53",))
    made = conflist(spec, "/run/ipam")
    bridge, portmap, firewall = made["plugins"]
    assert made["name"] == "w.net"
    assert (bridge["bridge"], bridge["mtu"]) == (bridge_name("w.net"), 1400)
    assert bridge["ipam"]["routes"] == [
        {"dst": "0.0.0.0/0", "gw": "10.88.3.1"},
        {"dst": "::/0", "gw": "fd00::1"},
    ]
    assert bridge["dns"]["nameservers"] == ["10.0.0.53"]
    assert portmap["capabilities"] == {"portMappings": True}
    assert firewall["ingressPolicy"] == "same-bridge"


def test_an_internal_network_has_no_way_out_and_an_open_one_no_policy() -> None:
    made = conflist(NetworkSpec(id="n", ranges=(V4,), internal=True, isolated=False), "/run/ipam")
    bridge, _, firewall = made["plugins"]
    assert not bridge["ipMasq"]
    assert bridge["ipam"]["routes"] == []
    assert "mtu" not in bridge
    assert "ingressPolicy" not in firewall


def test_bridges_of_long_names_differ_and_fit_an_interface() -> None:
    names = {bridge_name(f"workspace-with-a-long-id.{n}") for n in range(100)}
    assert len(names) == 100
    assert all(len(name) < 16 for name in names)
