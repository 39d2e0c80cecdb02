"""The schema of `kata_network`."""

from __future__ import annotations

from kled_provider.kata.network.files import (
    ip_problem,
    name_problem,
    option_problem,
    server_problem,
)
from kled_provider.kata.network.subnets import subnet_problem
from kled_provider.plugin.checks import all_of, at_most, between, each, matching
from kled_provider.plugin.schema import (
    NUMBER,
    Block,
    Schema,
    computed,
    flag,
    list_of,
    optional,
    required,
)

_LEAST_MTU = 576  # what every IPv4 host has to take (RFC 791)


SCHEMA = Schema(
    description="A network of containers by CNI plugins: a bridge of this machine that gives out "
    "addresses.",
    attributes=(
        required(
            "name",
            "Name, unique within the workspace.",
            forces_replacement=True,
            check=all_of(
                matching(
                    r"[A-Za-z0-9][A-Za-z0-9_.-]*",
                    "letters, digits, '_', '.' and '-', beginning with a letter or digit",
                ),
                at_most(60),
            ),
        ),
        optional(
            "mtu",
            "Largest packet of its interfaces; the kernel's own by default.",
            NUMBER,
            forces_replacement=True,
            check=between(_LEAST_MTU, 65535, unit="bytes"),
        ),
        flag(
            "internal",
            "There is no way out of it: no default route, and no address translation.",
            forces_replacement=True,
        ),
        flag(
            "isolated",
            "Other isolated networks of this machine, such as those of other workspaces, are not "
            "reached, and do not reach it.",
            default=True,
            forces_replacement=True,
        ),
        optional(
            "dns",
            "Name servers of its containers; this machine's by default. As the next "
            "two it counts for containers that are made later.",
            list_of("string"),
            check=each(server_problem),
        ),
        optional(
            "dns_search",
            "Domains that names are completed with.",
            list_of("string"),
            check=each(name_problem),
        ),
        optional(
            "dns_options",
            "Options of resolv.conf(5).",
            list_of("string"),
            check=each(option_problem),
        ),
        computed("id", "Its id among the networks of this machine; for `kata_container`."),
        computed("bridge", "Name of the bridge."),
        computed("subnets", "Its subnets, those that it was given too.", list_of("string")),
        computed("gateway", "The bridge's address, by which containers reach this machine."),
        computed(
            "conflist",
            "The CNI configuration list, as JSON.",
            follows=("dns", "dns_search", "dns_options"),
        ),
    ),
    blocks=(
        Block(
            name="ipam",
            max_items=2,
            forces_replacement=True,
            description="Its addresses, at most one block for IPv4 and one for IPv6, within the "
            "pools of this machine's owner. Without any it gets a subnet of them.",
            attributes=(
                required("subnet", "The subnet, as in 10.88.3.0/24.", check=subnet_problem),
                optional(
                    "gateway",
                    "The bridge's address; the first of the subnet by default.",
                    check=ip_problem,
                ),
                optional(
                    "ip_range",
                    "What containers get addresses of; the subnet by default.",
                    check=subnet_problem,
                ),
            ),
        ),
    ),
)
