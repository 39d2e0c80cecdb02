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
from kled_provider.plugin.schema import NUMBER, Attribute, Block, Schema, computed, flag, list_of

_LEAST_MTU = 576  # what every IPv4 host has to take (RFC 791)


SCHEMA = Schema(
    description="A network of containers by CNI plugins: a bridge of this machine that gives out "
    "addresses.",
    attributes=(
        Attribute(
            name="name",
            required=True,
            forces_replacement=True,
            description="Name, unique within the workspace.",
            check=all_of(
                matching(
                    r"[A-Za-z0-9][A-Za-z0-9_.-]*",
                    "letters, digits, '_', '.' and '-', beginning with a letter or digit",
                ),
                at_most(60),
            ),
        ),
        Attribute(
            name="mtu",
            type=NUMBER,
            optional=True,
            forces_replacement=True,
            check=between(_LEAST_MTU, 65535, unit="bytes"),
            description="Largest packet of its interfaces; the kernel's own by default.",
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
        Attribute(
            name="dns",
            type=list_of("string"),
            optional=True,
            check=each(server_problem),
            description="Name servers of its containers; this machine's by default. As the next "
            "two it counts for containers that are made later.",
        ),
        Attribute(
            name="dns_search",
            type=list_of("string"),
            optional=True,
            check=each(name_problem),
            description="Domains that names are completed with.",
        ),
        Attribute(
            name="dns_options",
            type=list_of("string"),
            optional=True,
            check=each(option_problem),
            description="Options of resolv.conf(5).",
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
                Attribute(
                    name="subnet",
                    required=True,
                    check=subnet_problem,
                    description="The subnet, as in 10.88.3.0/24.",
                ),
                Attribute(
                    name="gateway",
                    optional=True,
                    check=ip_problem,
                    description="The bridge's address; the first of the subnet by default.",
                ),
                Attribute(
                    name="ip_range",
                    optional=True,
                    check=subnet_problem,
                    description="What containers get addresses of; the subnet by default.",
                ),
            ),
        ),
    ),
)
