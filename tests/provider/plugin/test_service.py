"""The provider service below gRPC: malformed calls, stopping, kept state."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
import trio
import trio.testing
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kled_provider.grpc import protobuf
from kled_provider.grpc.status import GrpcError, GrpcStatus
from kled_provider.host import HostError
from kled_provider.plugin.diagnostics import DiagnosticError
from kled_provider.plugin.operations import STOPPED, UNEXPECTED, Operations
from kled_provider.plugin.private import Replacements, decode_private
from kled_provider.plugin.resource import Context, Provider, Resource
from kled_provider.plugin.schema import Attribute, Schema
from kled_provider.plugin.service import PluginService
from kled_provider.plugin.values import UNKNOWN, decode_value, encode_value

PREFIX = "/tfplugin6.Provider/"
METHODS = (
    "GetMetadata",
    "GetProviderSchema",
    "ValidateProviderConfig",
    "ValidateResourceConfig",
    "ValidateDataResourceConfig",
    "UpgradeResourceState",
    "ConfigureProvider",
    "ReadResource",
    "PlanResourceChange",
    "ApplyResourceChange",
    "ImportResourceState",
    "ReadDataSource",
    "GetFunctions",
)


class Thing(Resource):
    """A resource whose create keeps what it has made, then waits for ever."""

    type_name = "test_thing"
    identity = ("name",)
    schema = Schema(
        version=2,
        attributes=(Attribute(name="name", required=True), Attribute(name="id", computed=True)),
    )

    def __init__(self) -> None:
        self.waiting = trio.Event()

    async def create(self, context: Context, planned: Any) -> Any:
        if planned["name"] == "broken":
            raise HostError("no room", hint="Buy more.")
        context.keep({**planned, "id": UNKNOWN})
        self.waiting.set()
        await trio.sleep_forever()

    async def read(self, context: Context, state: Any) -> Any:
        return state

    async def update(self, context: Context, prior: Any, planned: Any) -> Any:
        raise PermissionError(13, "Permission denied", "/x")

    async def delete(self, context: Context, state: Any) -> None:
        return None


@pytest.fixture
def thing() -> Thing:
    return Thing()


@pytest.fixture
def service(thing: Thing, host: Any) -> PluginService:
    provider = Provider(name="test", resources=(thing,))
    return PluginService(provider, host, lambda: None, Replacements())


def change(prior: Any, planned: Any) -> bytes:
    return (
        protobuf.text(1, "test_thing")
        + protobuf.message(2, encode_value(prior))
        + protobuf.message(3, encode_value(planned))
        + protobuf.message(4, encode_value(planned))
        + protobuf.blob(5, b"private")
    )


def summaries(reply: bytes, field: int) -> list[tuple[str, str]]:
    found = [protobuf.decode(item) for item in protobuf.decode(reply).blobs(field)]
    return [(item.text(2), item.text(3)) for item in found]


@pytest.mark.parametrize("method", ["MoveResourceState", "CallFunction", "Nonsense"])
async def test_what_is_not_offered_is_unimplemented(service: PluginService, method: str) -> None:
    with pytest.raises(GrpcError) as caught:
        await service.handle(PREFIX + method, b"")
    assert caught.value.status is GrpcStatus.UNIMPLEMENTED


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(method=st.sampled_from(METHODS), data=st.binary(max_size=100), named=st.booleans())
def test_any_request_gets_an_answer_or_a_status(
    host: Any, method: str, data: bytes, named: bool
) -> None:
    async def main() -> None:
        service = PluginService(
            Provider(name="t", resources=(Thing(),)), host, lambda: None, Replacements()
        )
        request = protobuf.text(1, "test_thing") * named + data
        with contextlib.suppress(GrpcError):
            await service.handle(PREFIX + method, request)

    trio.run(main)


async def test_an_unknown_resource_is_a_diagnostic(service: PluginService) -> None:
    reply = await service.handle(PREFIX + "ReadResource", protobuf.text(1, "test_other"))
    assert summaries(reply, 2) == [("The test provider has no resource 'test_other'", "")]


async def test_stop_returns_what_was_kept_and_says_why(
    service: PluginService, thing: Thing
) -> None:
    replies = []

    async def apply() -> None:
        request = change(None, {"name": "a", "id": UNKNOWN})
        replies.append(await service.handle(PREFIX + "ApplyResourceChange", request))

    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(apply)
            await thing.waiting.wait()
            await service.handle(PREFIX + "StopProvider", b"")
    fields = protobuf.decode(replies[0])
    assert decode_value(fields.blob(1)) == {"name": "a", "id": None}
    assert decode_private(fields.blob(2)).generation
    assert summaries(replies[0], 3) == [(STOPPED.summary, STOPPED.detail)]


async def test_after_stop_nothing_begins(service: PluginService, thing: Thing) -> None:
    await service.handle(PREFIX + "StopProvider", b"")
    reply = await service.handle(PREFIX + "ApplyResourceChange", change(None, {"name": "a"}))
    assert summaries(reply, 3) == [(STOPPED.summary, STOPPED.detail)]
    assert not thing.waiting.is_set()


async def test_a_hosts_error_is_a_diagnostic_with_its_hint(service: PluginService) -> None:
    reply = await service.handle(PREFIX + "ApplyResourceChange", change(None, {"name": "broken"}))
    assert summaries(reply, 3) == [("no room", "Buy more.")]
    assert decode_value(protobuf.decode(reply).blob(1)) is None


async def test_a_failed_update_keeps_the_prior_state(service: PluginService) -> None:
    prior = {"name": "a", "id": "1"}
    reply = await service.handle(
        PREFIX + "ApplyResourceChange", change(prior, {"name": "b", "id": "1"})
    )
    assert decode_value(protobuf.decode(reply).blob(1)) == prior
    assert "Permission denied" in summaries(reply, 3)[0][1]


async def test_an_error_by_its_shape_counts_as_a_hosts(host: Any) -> None:
    class ForeignError(Exception):
        message = "from another room"

    async def fail(_context: Context) -> None:
        raise ForeignError

    with pytest.raises(DiagnosticError, match="from another room"):
        await Operations(host).ask(fail)


async def test_what_is_applied_has_been_checked_whoever_asks(thing: Thing, host: Any) -> None:
    """A program beside Terraform may apply what it has neither validated nor planned."""
    checked = Attribute(name="name", required=True, check=lambda value: f"{value} is bad.")
    thing.schema = Schema(attributes=(checked, *thing.schema.attributes[1:]))
    service = PluginService(
        Provider(name="test", resources=(thing,)), host, lambda: None, Replacements()
    )
    for prior in (None, {"name": "a", "id": "1"}):
        request = change(prior, {"name": "b", "id": "1"})
        reply = await service.handle(PREFIX + "ApplyResourceChange", request)
        assert summaries(reply, 3) == [("Invalid name", "b is bad.")]
        assert decode_value(protobuf.decode(reply).blob(1)) == prior
    assert not thing.waiting.is_set()


class Faulty(Thing):
    """One with mistakes in it, met after something was made."""

    def validate(self, config: Any) -> Any:
        raise KeyError(config["name"])

    async def create(self, context: Context, planned: Any) -> Any:
        context.keep({**planned, "id": "made"})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._divide, planned["name"])

    async def _divide(self, name: str) -> None:
        raise ZeroDivisionError(name)


async def test_a_mistake_of_the_provider_ends_its_operation_alone(
    host: Any, caplog: pytest.LogCaptureFixture
) -> None:
    service = PluginService(
        Provider(name="test", resources=(Faulty(),)), host, lambda: None, Replacements()
    )
    told = [(UNEXPECTED.summary, UNEXPECTED.detail)]
    request = change(None, {"name": "hush", "id": UNKNOWN})
    reply = await service.handle(PREFIX + "ApplyResourceChange", request)
    assert summaries(reply, 3) == told
    assert decode_value(protobuf.decode(reply).blob(1)) == {"name": "hush", "id": "made"}
    config = protobuf.text(1, "test_thing") + protobuf.message(2, encode_value({"name": "hush"}))
    reply = await service.handle(PREFIX + "ValidateResourceConfig", config)
    assert summaries(reply, 1) == told
    assert "ZeroDivisionError" in caplog.text
    assert "KeyError" in caplog.text
    assert "ValidateResourceConfig" in caplog.text
    assert "in _divide" in caplog.text
    assert "hush" not in caplog.text, "an error's own text may hold a secret"
    assert await service.handle(PREFIX + "GetMetadata", b""), "it goes on"


async def test_what_a_nursery_has_raised_is_told_as_what_it_is(host: Any) -> None:
    async def fail(_context: Context) -> None:
        raise ExceptionGroup("of a nursery", [ExceptionGroup("", [HostError("no room")])])

    with pytest.raises(DiagnosticError, match="no room"):
        await Operations(host).ask(fail)


@pytest.mark.parametrize(
    ("version", "raw", "summary"),
    [
        (3, b"{}", "The state was written by a newer provider"),
        (1, b"{", "The saved state is not JSON"),
        (1, b'{"name": 1}', "Wrong type of value"),
    ],
)
async def test_a_state_that_cannot_be_used_is_told(
    service: PluginService, version: int, raw: bytes, summary: str
) -> None:
    request = protobuf.text(1, "test_thing") + protobuf.integer(2, version)
    request += protobuf.message(3, protobuf.blob(1, raw))
    reply = await service.handle(PREFIX + "UpgradeResourceState", request)
    assert summaries(reply, 2)[0][0] == summary


async def test_an_older_state_gets_what_it_lacks(service: PluginService) -> None:
    request = protobuf.text(1, "test_thing") + protobuf.integer(2, 1)
    request += protobuf.message(3, protobuf.blob(1, b'{"name": "a", "gone": true}'))
    reply = await service.handle(PREFIX + "UpgradeResourceState", request)
    state = decode_value(protobuf.decode(reply).blob(1))
    assert state == {"name": "a", "id": None}


async def test_an_import_that_is_not_offered_says_so(service: PluginService) -> None:
    request = protobuf.text(1, "test_thing") + protobuf.text(2, "x")
    reply = await service.handle(PREFIX + "ImportResourceState", request)
    assert summaries(reply, 2)[0][0] == "test_thing cannot be imported"
