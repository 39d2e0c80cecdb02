"""containerd's service Containers: what a task is made of."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from kled_provider.containerd.caller import ContainerdCaller
from kled_provider.containerd.types import (
    AnyMessage,
    decode_any,
    decode_map,
    encode_any,
    encode_map,
    encode_texts,
)
from kled_provider.grpc import protobuf
from kled_provider.grpc.protobuf import WireError

_SERVICE = "/containerd.services.containers.v1.Containers/"
# The type of an OCI specification, whose value is JSON (containerd, typeurl of specs.Spec).
SPEC_TYPE = "types.containerd.io/opencontainers/runtime-spec/1/Spec"


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerRecord:
    """A container as containerd keeps it. `spec` is the OCI runtime specification."""

    id: str
    image: str
    runtime: str
    spec: Mapping[str, Any]
    snapshotter: str
    snapshot_key: str
    options: AnyMessage | None = None
    labels: Mapping[str, str] = field(default_factory=dict)


class Containers:
    """All methods raise ContainerdError."""

    def __init__(self, caller: ContainerdCaller) -> None:
        self._caller = caller

    async def find(self, container: str) -> ContainerRecord | None:
        """Look a container up; None where there is none of that id."""
        reply = await self._caller.call_if_there(f"{_SERVICE}Get", protobuf.text(1, container))
        return None if reply is None else _decode(protobuf.decode(reply).blob(1))

    async def list(self, *filters: str) -> tuple[ContainerRecord, ...]:
        """List the containers that one of the filters takes."""
        reply = await self._caller.call(f"{_SERVICE}List", encode_texts(1, filters))
        return tuple(_decode(data) for data in protobuf.decode(reply).blobs(1))

    async def create(self, container: ContainerRecord) -> None:
        """Make the record; nothing runs yet."""
        await self._caller.call(f"{_SERVICE}Create", protobuf.message(1, _encode(container)))

    async def set_labels(self, container: ContainerRecord, labels: Mapping[str, str]) -> None:
        """Give a container these labels and no others."""
        changed = protobuf.text(1, container.id) + encode_map(2, labels)
        mask = protobuf.message(2, encode_texts(1, ("labels",)))
        await self._caller.call(f"{_SERVICE}Update", protobuf.message(1, changed) + mask)

    async def set_label(self, container: str, name: str, text: str) -> None:
        """Give a container one more label; one that is gone is no error."""
        changed = protobuf.text(1, container) + encode_map(2, {name: text})
        mask = protobuf.message(2, encode_texts(1, (f"labels.{name}",)))
        request = protobuf.message(1, changed) + mask
        await self._caller.call_if_there(f"{_SERVICE}Update", request)

    async def set_spec(self, container: ContainerRecord, spec: Mapping[str, Any]) -> None:
        """Give a container the specification of the tasks that come."""
        changed = protobuf.text(1, container.id)
        changed += protobuf.message(5, encode_any(encode_spec(spec)))
        mask = protobuf.message(2, encode_texts(1, ("spec",)))
        await self._caller.call(f"{_SERVICE}Update", protobuf.message(1, changed) + mask)

    async def delete(self, container: str) -> None:
        """Forget the container; one that is gone is no error."""
        await self._caller.call_if_there(f"{_SERVICE}Delete", protobuf.text(1, container))


def encode_spec(spec: Mapping[str, Any]) -> AnyMessage:
    """Wrap an OCI specification."""
    return AnyMessage(SPEC_TYPE, json.dumps(spec).encode())


def _encode(container: ContainerRecord) -> bytes:
    runtime = protobuf.text(1, container.runtime)
    if container.options is not None:
        runtime += protobuf.message(2, encode_any(container.options))
    return (
        protobuf.text(1, container.id)
        + encode_map(2, container.labels)
        + protobuf.text(3, container.image)
        + protobuf.message(4, runtime)
        + protobuf.message(5, encode_any(encode_spec(container.spec)))
        + protobuf.text(6, container.snapshotter)
        + protobuf.text(7, container.snapshot_key)
    )


def _decode(data: bytes) -> ContainerRecord:
    fields = protobuf.decode(data)
    runtime = protobuf.decode(fields.blob(4))
    try:
        spec = json.loads(decode_any(fields.blob(5)).value or b"{}")
    except ValueError as error:
        raise WireError(f"the specification of a container is no JSON: {error}") from error
    return ContainerRecord(
        id=fields.text(1),
        labels=decode_map(fields, 2),
        image=fields.text(3),
        runtime=runtime.text(1),
        options=decode_any(runtime.blob(2)) if runtime.has(2) else None,
        spec=spec if isinstance(spec, dict) else {},
        snapshotter=fields.text(6),
        snapshot_key=fields.text(7),
    )
