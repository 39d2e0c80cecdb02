"""Calls one containerd over a connection that is kept, and made again when it is gone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

import trio

from kled_provider.grpc.client import ClientCall, GrpcClient, serve_client
from kled_provider.grpc.protobuf import WireError
from kled_provider.grpc.status import GrpcError, GrpcStatus
from kled_provider.host import HostError

# A containerd that starts has bound its socket, and answers as soon as its plugins are loaded.
DIAL_S = 10.0


class ContainerdError(HostError):
    """containerd refused, or is not there. `status` is its gRPC status."""

    def __init__(self, status: int, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.status = status

    @property
    def is_missing(self) -> bool:
        """Whether what was asked for is not there."""
        return self.status == GrpcStatus.NOT_FOUND

    @property
    def is_of_dead_shim(self) -> bool:
        """Whether the task's shim ended while it was asked; containerd is about to notice."""
        return self.status == GrpcStatus.UNKNOWN and "ttrpc: closed" in self.message

    @property
    def is_there(self) -> bool:
        """Whether what should be made exists already."""
        return self.status == GrpcStatus.ALREADY_EXISTS

    @property
    def is_full(self) -> bool:
        """Whether its disk has no room left."""
        return "no space left" in self.message


class ContainerdCaller:
    """Calls the containerd at `address`, a Unix socket, in one of its namespaces.

    Works while `serve` runs: the connection belongs to that.
    """

    def __init__(self, address: str, namespace: str) -> None:
        self.address = address
        self.namespace = namespace
        self._nursery: trio.Nursery | None = None
        self._client: GrpcClient | None = None
        self._dialling = trio.Lock()

    async def serve(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Hold the connection until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    async def call(self, path: str, request: bytes, *, lease: str = "") -> bytes:
        """Make a unary call; what it makes belongs to `lease`. Raises ContainerdError."""
        client = await self._connect()
        with _translated(self.address):
            return await client.call(path, request, self._metadata(lease))

    async def call_if_there(self, path: str, request: bytes) -> bytes | None:
        """Make a unary call about one thing; None where that is not there.

        Raises ContainerdError for anything else.
        """
        try:
            return await self.call(path, request)
        except ContainerdError as error:
            if error.is_missing:
                return None
            raise

    @asynccontextmanager
    async def open_call(self, path: str, *, lease: str = "") -> AsyncIterator[ClientCall]:
        """Begin a streaming call. Raises ContainerdError, also for what the body raises of it."""
        client = await self._connect()
        with _translated(self.address):
            async with client.open_call(path, self._metadata(lease)) as call:
                yield call

    def _metadata(self, lease: str) -> list[tuple[str, str]]:
        found = [("containerd-namespace", self.namespace)]
        return [*found, ("containerd-lease", lease)] if lease else found

    async def _connect(self) -> GrpcClient:
        async with self._dialling:
            if self._client is not None and self._client.is_open:
                return self._client
            # A task that waited for the lock has it now, even if all of this was cancelled
            # meanwhile.
            await trio.lowlevel.checkpoint_if_cancelled()
            if self._nursery is None:
                raise RuntimeError("a call outside of ContainerdCaller.serve")
            try:
                with trio.fail_after(DIAL_S):
                    stream = await trio.open_unix_socket(self.address)
            except (OSError, trio.TooSlowError) as error:
                why = getattr(error, "strerror", None) or f"no answer within {DIAL_S:.0f} s"
                raise ContainerdError(
                    GrpcStatus.UNAVAILABLE,
                    f"There is no containerd at {self.address}: {why}",
                    hint="Start containerd, or set [containerd] address in the settings of the "
                    "kata provider. Its socket is root's.",
                ) from error
            self._client = await self._nursery.start(serve_client, stream)
            return self._client


@contextmanager
def _translated(address: str) -> Iterator[None]:
    try:
        yield
    except GrpcError as error:
        text = " ".join(str(error).split())  # what a runtime has printed may have more lines
        raise ContainerdError(error.status, f"containerd: {text}") from error
    except WireError as error:
        text = f"containerd at {address} answered what is no message of its API: {error}"
        raise ContainerdError(GrpcStatus.UNKNOWN, text) from error
