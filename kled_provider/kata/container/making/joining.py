"""Joins a container to what outlives it: networks, volumes, and the log of what it prints.

Each has its own room; here they are called in order, and their errors get the path of the block
that named what is refused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from kled_provider.kata.container.declared.spec import MIB, SpecMount
from kled_provider.kata.network.attaching import (
    AttachedContainer,
    ContainerNetworks,
    NetworkAttachment,
)
from kled_provider.kata.network.files import resolv_conf
from kled_provider.kata.network.ports import PublishedPort
from kled_provider.kata.network.results import NetworkError, Subject
from kled_provider.kata.network.settings import network_settings
from kled_provider.kata.output.keeping import Outputs, outputs_of
from kled_provider.kata.owner.file import OwnerFile
from kled_provider.kata.volume.mounts import is_locked, lock_hook, volume_mount
from kled_provider.kata.volume.stored import (
    StoredVolume,
    VolumeError,
    VolumeStore,
    wait_no_writer,
)
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.diagnostics import Path as AttributePath
from kled_provider.plugin.values import Values

_RESOLV_CONF: Final = Path("/etc/resolv.conf")


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a container has got. `hook` holds the locks of the volumes it writes."""

    netns: str = ""
    addresses: tuple[str, ...] = ()
    gateway: str | None = None
    resolv_conf: str = ""
    mounts: tuple[SpecMount, ...] = ()
    hook: dict[str, Any] | None = None
    fifo: str = ""


@dataclass(frozen=True, slots=True)
class Joins:
    """The networks, volumes and logs of this machine."""

    owner: OwnerFile
    networks: ContainerNetworks = field(init=False)
    outputs: Outputs = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "networks", ContainerNetworks(network_settings(self.owner)))
        object.__setattr__(self, "outputs", outputs_of(self.owner))

    async def join(self, container: str, workspace: str, values: Values) -> Joined:
        """Attach and open what the blocks name. Raises DiagnosticError, OSError.

        What was joined before something is refused is left to `leave`.
        """
        mounts, hook = await self._volumes(container, workspace, values)
        attached = await self._attach(container, workspace, values)
        log: Values = values["log"] or {}
        fifo = await self.outputs.open(
            container,
            max_bytes=int(log.get("max_size") or 10) * MIB,
            files=int(log.get("max_files") or 2),
        )
        return Joined(
            netns=attached.netns if attached else "",
            addresses=tuple(a.address for a in attached.addresses) if attached else (),
            gateway=_gateway(attached),
            resolv_conf=self._resolv_conf(values),
            mounts=mounts,
            hook=hook,
            fifo=str(fifo),
        )

    def _resolv_conf(self, values: Values) -> str:
        """What the container says comes before what its first network says, then the machine's."""
        names = ("dns", "dns_search", "dns_options")
        of_network: dict[str, tuple[str, ...]] = {}
        if values["network"] and (
            found := self.networks.store.load(values["network"][0]["network"])
        ):
            spec = found.spec
            lists = (spec.dns_servers, spec.dns_search, spec.dns_options)
            of_network = dict(zip(names, lists, strict=True))
        servers, search, options = (values[n] or of_network.get(n, ()) for n in names)
        machine = _RESOLV_CONF.read_text() if _RESOLV_CONF.exists() else ""
        return resolv_conf(servers, search, options, machine)

    async def leave(self, container: str, *, keeps_log: bool = False) -> None:
        """Take all of it away; what is not there is no error. Raises NetworkError, OSError.

        Also where a network is not left, which the next run tries again, the rest goes.
        """
        try:
            await self.networks.detach(container)
        finally:
            await self.outputs.close(container, keep=keeps_log)

    async def _attach(
        self, container: str, workspace: str, values: Values
    ) -> AttachedContainer | None:
        wanted = [
            NetworkAttachment(network=block["network"], address=block["address"], mac=block["mac"])
            for block in values["network"]
        ]
        ports = [
            PublishedPort(
                host_port=int(block["external"]),
                container_port=int(block["internal"]),
                protocol=block["protocol"],
                host_address=block["ip"] or "",
            )
            for block in values["port"]
        ]
        if not wanted:
            return None
        with _explained():
            return await self.networks.attach(container, workspace, wanted, ports)

    async def _volumes(
        self, container: str, workspace: str, values: Values
    ) -> tuple[tuple[SpecMount, ...], dict[str, Any] | None]:
        store = VolumeStore(Path(self.owner.state_directory))
        mounts, locked = [], []
        for index, block in enumerate(values["volume"]):
            volume = store.load(block["volume"])
            if volume is None or volume.workspace != workspace:
                raise DiagnosticError.of(
                    "There is no such volume",
                    f"This workspace has no volume {block['volume']!r}; set `volume` to the id of "
                    "a kata_volume.",
                    path=("volume", index, "volume"),
                )
            read_only = bool(block["read_only"])
            if is_locked(volume, read_only=read_only):
                await _wait_free(volume, container, index)
                locked.append(volume)
            mounts.append(_mount(volume_mount(volume, block["target"], read_only=read_only)))
        return tuple(mounts), lock_hook(locked)


def _gateway(attached: AttachedContainer | None) -> str | None:
    return next((a.gateway for a in attached.addresses if a.gateway), None) if attached else None


async def _wait_free(volume: StoredVolume, container: str, index: int) -> None:
    try:
        await wait_no_writer(volume, container)
    except VolumeError as error:
        raise DiagnosticError.of(
            "The volume is in use",
            f"{error.message}. {error.hint}",
            path=("volume", index, "volume"),
        ) from error


def _mount(found: dict[str, Any]) -> SpecMount:
    return SpecMount(
        target=found["destination"],
        source=found["source"],
        type=found["type"],
        options=tuple(found["options"]),
    )


@contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except NetworkError as error:
        block = "port" if error.subject is Subject.PORT else "network"
        path: AttributePath = (block,) if error.index is None else (block, error.index)
        if error.index is not None:
            last = {Subject.PORT: "external", Subject.ADDRESS: "address"}
            path = (*path, last.get(error.subject, "network"))
        text = " ".join(part for part in (f"{error.message}.", error.hint) if part)
        raise DiagnosticError.of("The network cannot be joined", text, path=path) from error
