"""The gRPC services that Terraform calls: `tfplugin6.Provider`, go-plugin's `GRPCController`.

One Service per connection. A malformed request is the caller's bug and answered with a gRPC
status; what a person did wrong is answered with diagnostics.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from dataclasses import replace

from kled_provider.grpc import protobuf
from kled_provider.grpc.protobuf import Fields
from kled_provider.grpc.status import GrpcError, GrpcStatus
from kled_provider.host import Host
from kled_provider.plugin import messages
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, raise_errors
from kled_provider.plugin.operations import Operations, diagnosed
from kled_provider.plugin.planning import ResourcePlan
from kled_provider.plugin.private import Names, Private, Replacements, decode_private
from kled_provider.plugin.resource import Context, Provider, Resource
from kled_provider.plugin.schema import Schema
from kled_provider.plugin.validation import at_lines, ignored_items, validate_config
from kled_provider.plugin.values import (
    ValueFormatError,
    Values,
    conform_object,
    decode_object,
    decode_value,
    encode_value,
)

_Method = Callable[[Fields], Awaitable[bytes]]


class PluginService:
    """Answers the calls of one connection; `handle` is a `grpc.Handler`."""

    def __init__(
        self,
        provider: Provider,
        host: Host,
        on_shutdown: Callable[[], None],
        replacements: Replacements,
    ) -> None:
        self._provider = provider
        self._replacements = replacements
        self._operations = Operations(host)
        self._names = Names()
        self._on_shutdown = on_shutdown
        # Each method with the field that holds diagnostics in its response.
        self._methods: dict[str, tuple[_Method, int]] = {
            "/plugin.GRPCController/Shutdown": (self._shutdown, 1),  # has none, and cannot fail
            "/tfplugin6.Provider/GetMetadata": (self._metadata, 2),
            "/tfplugin6.Provider/GetProviderSchema": (self._schema, 4),
            "/tfplugin6.Provider/ValidateProviderConfig": (self._validate_provider, 2),
            "/tfplugin6.Provider/ConfigureProvider": (self._configure, 1),
            "/tfplugin6.Provider/ValidateResourceConfig": (self._validate_resource, 1),
            "/tfplugin6.Provider/ValidateDataResourceConfig": (self._validate_data, 1),
            "/tfplugin6.Provider/UpgradeResourceState": (self._upgrade, 2),
            "/tfplugin6.Provider/ReadResource": (self._read, 2),
            "/tfplugin6.Provider/PlanResourceChange": (self._plan, 4),
            "/tfplugin6.Provider/ApplyResourceChange": (self._apply, 3),
            "/tfplugin6.Provider/ImportResourceState": (self._import, 2),
            "/tfplugin6.Provider/ReadDataSource": (self._read_data, 2),
            "/tfplugin6.Provider/GetFunctions": (self._nothing, 2),
            "/tfplugin6.Provider/StopProvider": (self._stop, 1),  # nor can this one
        }

    async def handle(self, path: str, message: bytes) -> bytes:
        """Answer one call. Raises GrpcError."""
        if path not in self._methods:
            raise GrpcError(GrpcStatus.UNIMPLEMENTED, f"{path} is not implemented")
        method, diagnostics = self._methods[path]
        try:
            return await method(protobuf.decode(message))
        except (protobuf.WireError, ValueFormatError) as error:
            raise GrpcError(GrpcStatus.INVALID_ARGUMENT, f"{path}: {error}") from error
        except Exception as error:  # noqa: BLE001 - the other calls go on
            return messages.encode_diagnostics(diagnostics, diagnosed(error, path).diagnostics)

    async def _shutdown(self, _request: Fields) -> bytes:
        self._on_shutdown()
        return b""

    async def _stop(self, _request: Fields) -> bytes:
        self._operations.stop()
        return b""

    async def _nothing(self, _request: Fields) -> bytes:
        return b""

    async def _metadata(self, _request: Fields) -> bytes:
        return messages.encode_metadata(self._provider)

    async def _schema(self, _request: Fields) -> bytes:
        return messages.encode_provider_schema(self._provider)

    async def _validate_provider(self, request: Fields) -> bytes:
        config = _present(decode_object(request.blob(1), self._provider.schema))
        return messages.encode_diagnostics(2, validate_config(self._provider.schema, config))

    async def _configure(self, request: Fields) -> bytes:
        config = _present(decode_object(request.blob(2), self._provider.schema))
        await self._tell_ignored(f"provider {self._provider.name}", self._provider.schema, config)
        return b""

    async def _validate_resource(self, request: Fields) -> bytes:
        resource = self._provider.resource(request.text(1))
        config = _present(decode_object(request.blob(2), resource.schema))
        found = at_lines(resource.schema, config, resource.validate(config))
        return messages.encode_diagnostics(1, found)

    async def _validate_data(self, request: Fields) -> bytes:
        source = self._provider.data_source(request.text(1))
        config = _present(decode_object(request.blob(2), source.schema))
        return messages.encode_diagnostics(1, source.validate(config))

    async def _upgrade(self, request: Fields) -> bytes:
        resource = self._provider.resource(request.text(1))
        state = messages.decode_raw_state(request, resource)
        return protobuf.message(1, encode_value(state))

    async def _read(self, request: Fields) -> bytes:
        resource = self._provider.resource(request.text(1))
        state = _present(decode_object(request.blob(2), resource.schema))
        private = decode_private(request.blob(3))
        context = self._context(private)
        found = await self._operations.ask(lambda context: resource.read(context, state), context)
        kept = replace(private, data=context.private).encode()
        return protobuf.message(1, encode_value(found)) + protobuf.blob(3, kept)

    async def _read_data(self, request: Fields) -> bytes:
        source = self._provider.data_source(request.text(1))
        config = _present(decode_object(request.blob(2), source.schema))
        context = self._operations.context(config=config)
        await self._tell_ignored(source.type_name, source.schema, config)
        found = await self._operations.ask(lambda context: source.read(context, config), context)
        return protobuf.message(1, encode_value(found))

    async def _plan(self, request: Fields) -> bytes:
        resource, kept = self._provider.resource(request.text(1)), request.blob(5)
        # The proposed state of Terraform is not used: it is made here, from the configuration.
        if decode_value(request.blob(3)) is None:  # destroy: there is nothing to plan
            return protobuf.message(1, encode_value(None)) + protobuf.blob(3, kept)
        prior = decode_object(request.blob(2), resource.schema)
        config = _present(decode_object(request.blob(4), resource.schema))
        private = decode_private(kept)
        plan: ResourcePlan = resource.plan(prior, config)
        try:
            found = await self._operations.ask(
                lambda context: resource.check_plan(context, prior, plan.planned),
                self._context(private, config=config),
            )
        except DiagnosticError as error:
            raise DiagnosticError(*at_lines(resource.schema, config, error.diagnostics)) from error
        found = at_lines(resource.schema, config, (*plan.diagnostics, *found))
        plan = replace(plan, diagnostics=tuple(found))
        await self._tell_ignored(resource.type_name, resource.schema, config)
        claim = await self._claim(resource, plan.planned, private.claim)
        name = _name_of(resource, plan.planned)
        if prior is None and name is not None and private.generation:
            self._replacements.plan(resource.type_name, name, private.generation)
        return messages.encode_plan(plan, replace(private, claim=claim).encode())

    async def _tell_ignored(self, of: str, schema: Schema, config: Values) -> None:
        """Say what is accepted and does nothing; the host says each once in a build."""
        ignored = ignored_items(schema, config)

        async def tell(context: Context) -> None:
            for name, why in ignored:
                await context.host.note(f"{of}: {name} does nothing here: {why}")

        if ignored:
            await self._operations.ask(tell)

    async def _claim(self, resource: Resource, planned: Values, claim: str) -> str:
        """Take a name for a configuration. Raises DiagnosticError where another one has it."""
        new = _token()
        if (name := _name_of(resource, planned)) is None:
            return new  # known at apply only, which asks again
        taken = self._names.take(resource.type_name, name, claim=claim, new_claim=new)
        if taken is not None:
            return taken
        workspace = await self._operations.ask(lambda context: context.host.workspace())
        if workspace["transition"] != "start":
            return new  # what there is of both has to go, whatever the configuration says
        raise DiagnosticError(
            Diagnostic(
                summary=f"Two resources {resource.type_name} of one {resource.identity[-1]}",
                detail="Another one of this configuration is called "
                f"{planned[resource.identity[-1]]!r} too. Each needs "
                "a name of its own, with count.index or each.key in it where it is made more "
                "than once.",
                path=(resource.identity[-1],),
            )
        )

    async def _apply(self, request: Fields) -> bytes:
        resource = self._provider.resource(request.text(1))
        change = messages.decode_change(request, resource.schema)
        prior, planned = change.prior, change.target
        private = decode_private(change.private)
        known = private.destroyed() if planned is None else private.generation
        generation = _token() if prior is None else known
        name = None if planned is None else _name_of(resource, planned)
        replaced = "" if name is None else self._replacements.of(resource.type_name, name)
        context = self._operations.context(
            generation=generation,
            replaced=replaced,
            private=dict(private.data),
            config=change.config,
        )

        async def operation(context: Context) -> Values | None:
            if planned is None:
                await resource.delete(context, _present(prior))
                return None
            # Not every caller has asked for a validation and a plan: programs that a template
            # brings reach the provider as Terraform does.
            raise_errors(validate_config(resource.schema, planned))
            if prior is None:
                return await resource.create(context, planned)
            return await resource.update(context, prior, planned)

        state, diagnostics = await self._operations.change(operation, prior, context)
        kept = Private(generation=generation or "", data=context.private).encode()
        found = at_lines(resource.schema, change.config or {}, diagnostics)
        return messages.encode_applied(state, kept, found)

    async def _import(self, request: Fields) -> bytes:
        resource = self._provider.resource(request.text(1))
        context = self._operations.context(generation=_token())
        state = await self._operations.ask(
            lambda context: resource.import_state(context, request.text(2)), context
        )
        return messages.encode_imported(
            resource.type_name,
            conform_object(state, resource.schema),
            Private(generation=context.generation or "", data=context.private).encode(),
        )

    def _context(self, private: Private, *, config: Values | None = None) -> Context:
        return self._operations.context(
            generation=private.generation, private=dict(private.data), config=config
        )


def _name_of(resource: Resource, values: Values) -> str | None:
    """What no other of the type is called; None where it has no such name, or none yet."""
    names = [values[attribute] for attribute in resource.identity]
    return " ".join(names) if names and all(isinstance(name, str) for name in names) else None


def _token() -> str:
    return secrets.token_hex(8)


def _present(value: Values | None) -> Values:
    if value is None:
        raise ValueFormatError("an object is missing from the request")
    return value
