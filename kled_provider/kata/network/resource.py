"""Resource `kata_network`."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import trio

from kled_provider.kata.network import bridges
from kled_provider.kata.network.attaching import ContainerNetworks, NetworkAttachment
from kled_provider.kata.network.conflist import AddressRange, NetworkSpec, bridge_name
from kled_provider.kata.network.results import NetworkError
from kled_provider.kata.network.rules import remove_rules
from kled_provider.kata.network.schema import SCHEMA
from kled_provider.kata.network.settings import NetworkSettings
from kled_provider.kata.network.stored import StoredNetwork, network_id
from kled_provider.kata.network.subnets import (
    address_range,
    free_subnet,
    gateway_problem,
    outside_pools,
    overlapping,
    routed,
    within_problem,
)
from kled_provider.locks import hold_lock
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, raise_errors
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.values import Values, is_known

_CLEAN_UP_S = 60.0
_ROUTES = Path("/proc/net/route")


class NetworkResource(Resource):
    """A network; it exists as long as its record and its conflist are as they were made."""

    type_name = "kata_network"
    identity = ("name",)
    schema = SCHEMA

    def __init__(self, settings: Callable[[], NetworkSettings]) -> None:
        self._settings = settings

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check what no single attribute tells."""
        found = super().validate(config)
        blocks = config["ipam"] if is_known(config["ipam"]) else []
        versions = set()
        for index, block in enumerate(blocks):
            if block["subnet"] is None or any(d.path[:2] == ("ipam", index) for d in found):
                continue
            found += _block_problems(block, index)
            version = 6 if ":" in block["subnet"] else 4
            if version in versions:
                detail = f"There is a subnet of IPv{version} already."
                found.append(_refused("subnet", detail, ("ipam", index, "subnet")))
            versions.add(version)
        return found

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> Iterable[Diagnostic]:
        """Say which subnets the owner of this machine does not give."""
        return list(_pool_problems(planned["ipam"], self._settings()))

    async def create(self, context: Context, planned: Values) -> Values:
        """Write the network and try it: a container's namespace is attached and detached."""
        networks = ContainerNetworks(self._settings())
        store = networks.store
        async with hold_lock(store.lock):
            workspace = await context.workspace_id()
            with _told(("name",)):
                id_ = network_id(workspace, planned["name"])
            before = store.load(id_)
            spec = self._spec(networks, id_, planned, before)
            if before is not None and before.spec != spec:
                await self._remove(networks, before)
            network = StoredNetwork(
                spec=spec,
                workspace=workspace,
                name=planned["name"],
                generation=context.generation or "",
                ipam=tuple(planned["ipam"]),
            )
            store.save(network)
            try:
                await context.host.progress(f"Trying network {planned['name']}")
                await self._try(networks, network)
            except BaseException:
                with trio.move_on_after(_CLEAN_UP_S, shield=True):
                    if not networks.users(id_):
                        await self._remove(networks, network)
                raise
        return _state(planned, network, networks)

    async def read(self, context: Context, state: Values) -> Values | None:
        """Return what the record says; None where it or the conflist is gone, or was changed."""
        networks = ContainerNetworks(self._settings())
        network = networks.store.load(await _own_id(context, state))
        if network is None:
            return None
        return _as_found(state, network, networks)

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Change what containers that come later get."""
        networks = ContainerNetworks(self._settings())
        async with hold_lock(networks.store.lock):
            network = networks.store.load(await _own_id(context, prior))
            if network is None:
                raise DiagnosticError.of(
                    f"Network {prior['name']} is gone", "Plan again: it will be made anew."
                )
            network = replace(network, spec=replace(network.spec, **_dns(planned)))
            networks.store.save(network)
        return _state(planned, network, networks)

    async def delete(self, context: Context, state: Values) -> None:
        """Remove the network, unless containers are attached to it."""
        networks = ContainerNetworks(self._settings())
        async with hold_lock(networks.store.lock):
            id_ = await _own_id(context, state)
            network = networks.store.load(id_)
            if network is None:
                networks.store.remove(id_)
                return
            if context.generation not in (None, network.generation):
                return  # a later create has made it its own
            await self._remove(networks, network)

    async def import_state(self, context: Context, identity: str) -> Values:
        """Take a network of the workspace by its name or id."""
        networks = ContainerNetworks(self._settings())
        async with hold_lock(networks.store.lock):
            workspace = await context.workspace_id()
            name = identity.removeprefix(f"{workspace}.")
            with _told(()):
                network = networks.store.load(network_id(workspace, name))
            if network is None:
                raise DiagnosticError.of(
                    f"There is no network {identity!r} to import",
                    "Give the name or id of a network of this workspace.",
                )
            network = replace(network, generation=context.generation or "")
            networks.store.save(network)
        return _as_found(None, network, networks)

    def _spec(
        self, networks: ContainerNetworks, id_: str, planned: Values, before: StoredNetwork | None
    ) -> NetworkSpec:
        """What is to be made. Raises DiagnosticError where its addresses are had already."""
        settings = self._settings()
        raise_errors(_pool_problems(planned["ipam"], settings))
        taken = [*networks.store.subnets(id_), *routed(_ROUTES.read_text())]
        ranges: Sequence[AddressRange] = [
            address_range(block["subnet"], block["gateway"], block["ip_range"])
            for block in planned["ipam"]
        ]
        for index, one in enumerate(ranges):
            if (other := overlapping(one.subnet, taken)) is not None:
                raise DiagnosticError.of(
                    f"{one.subnet} is in use on this machine",
                    f"It overlaps {other}. Choose another subnet, or leave `ipam` out.",
                    path=("ipam", index, "subnet"),
                )
        if not ranges and before is not None:
            ranges = before.spec.ranges
        elif not ranges:
            subnet = free_subnet(settings.pools, settings.pool_prefix, taken)
            if subnet is None:
                shown = ", ".join(str(p) for p in settings.pools if p.version == 4) or "it has none"
                raise DiagnosticError.of(
                    "The address pools of this machine are exhausted",
                    f"End a network, or have the owner add a pool to kata.toml ({shown}).",
                    path=("name",),
                )
            ranges = [address_range(str(subnet), None, None)]
        return NetworkSpec(
            id=id_,
            ranges=tuple(ranges),
            mtu=int(planned["mtu"] or 0),
            internal=planned["internal"],
            isolated=planned["isolated"],
            **_dns(planned),
        )

    async def _try(self, networks: ContainerNetworks, network: StoredNetwork) -> None:
        prefix = f"probe-{bridge_name(network.spec.id)}-"
        for killed in [*networks.recorded(prefix)]:
            with suppress(NetworkError):  # the traces of one that was refused are not in the way
                await networks.detach(killed)
        probe = f"{prefix}{secrets.token_hex(3)}"
        with _told(("name",)):
            await networks.attach(
                probe, network.workspace, [NetworkAttachment(network=network.spec.id)]
            )
            await networks.detach(probe)

    async def _remove(self, networks: ContainerNetworks, network: StoredNetwork) -> None:
        users = networks.users(network.spec.id)
        if users:
            raise DiagnosticError.of(
                f"Network {network.name} is in use by {', '.join(users)}",
                "End those containers first.",
                path=("name",),
            )
        bridge = bridge_name(network.spec.id)
        bridges.remove_bridge(bridge)
        await remove_rules(bridge, self._settings().iptables)
        networks.store.remove(network.spec.id)


async def _own_id(context: Context, state: Values) -> str:
    """Return the id of a state's network, which is the workspace's, whatever the state's own."""
    with _told(()):
        return network_id(await context.workspace_id(), state["name"])


@contextmanager
def _told(path: AttributePath) -> Iterator[None]:
    try:
        yield
    except NetworkError as error:
        raise DiagnosticError.of(error.message, error.hint, path=path) from error


def _block_problems(block: Values, index: int) -> Iterator[Diagnostic]:
    for name, check in (("gateway", gateway_problem), ("ip_range", within_problem)):
        if block[name] is not None:
            problem = check(block[name], block["subnet"])
            if problem:
                yield _refused(name, problem, ("ipam", index, name))


def _pool_problems(blocks: object, settings: NetworkSettings) -> Iterator[Diagnostic]:
    for index, block in enumerate(blocks if isinstance(blocks, list) else ()):
        if isinstance(block["subnet"], str):
            problem = outside_pools(ip_network(block["subnet"]), settings.pools)
            if problem is not None:
                yield _refused("subnet", problem, ("ipam", index, "subnet"))


def _refused(attribute: str, detail: str, path: AttributePath) -> Diagnostic:
    return Diagnostic(summary=f"Invalid {attribute}", detail=detail, path=path)


def _dns(planned: Values) -> dict[str, Any]:
    return {
        f"dns_{field}": tuple(planned[name] or ())
        for name, field in (
            ("dns", "servers"),
            ("dns_search", "search"),
            ("dns_options", "options"),
        )
    }


def _state(planned: Values, network: StoredNetwork, networks: ContainerNetworks) -> Values:
    spec = network.spec
    return {
        **planned,
        "id": spec.id,
        "bridge": bridge_name(spec.id),
        "subnets": [str(one.subnet) for one in spec.ranges],
        "gateway": spec.ranges[0].gateway,
        "conflist": json.dumps(networks.store.conflist(spec)),
    }


def _as_found(state: Values | None, network: StoredNetwork, networks: ContainerNetworks) -> Values:
    """The state that the record says; of `ipam`, which may be left out, what a template said."""
    spec = network.spec
    written = {
        "name": network.name,
        "mtu": spec.mtu or None,
        "internal": spec.internal,
        "isolated": spec.isolated,
        "dns": _list(spec.dns_servers, state, "dns"),
        "dns_search": _list(spec.dns_search, state, "dns_search"),
        "dns_options": _list(spec.dns_options, state, "dns_options"),
        "ipam": [dict(block) for block in network.ipam],
    }
    return _state(written, network, networks)


def _list(found: tuple[str, ...], state: Values | None, name: str) -> list[str] | None:
    """An empty list and none mean the same."""
    return list(found) or (state[name] if state is not None and not state[name] else None)
