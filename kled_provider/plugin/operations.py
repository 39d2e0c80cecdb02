"""Running operations and their cancellation: StopProvider ends them at the next await.

Kept per connection: each terraform process opens its own, and asking one to stop must not stop
the next one.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final, TypeVar

import trio

from kled_provider.host import Host
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError
from kled_provider.plugin.resource import Context
from kled_provider.plugin.values import Values, settled

_T = TypeVar("_T")

_LOG: Final = logging.getLogger("kled.provider")

UNEXPECTED = Diagnostic(
    summary="The provider has made a mistake",
    detail="It is not the template's. The log of what runs the provider, kled-coord or "
    "kled-kata.service, has where it was; please report that. What was made so far is kept in the "
    "state.",
)
STOPPED = Diagnostic(
    summary="Stopped on request",
    detail="Terraform was asked to stop while this operation ran. Run it again to go on.",
)


def diagnosed(error: Exception, what: str) -> DiagnosticError:
    """Say in diagnostics what an operation may raise (resource.py).

    Anything else is a mistake of the provider's: the person is told so, and the log says where it
    was, and `what` was asked.
    """
    while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
        (error,) = error.exceptions  # a nursery's
    if isinstance(error, DiagnosticError):
        return error
    if isinstance(error, OSError):
        return DiagnosticError.of("The operating system refused", str(error))
    # A Host's error is known by its `message`: its class lives in a room this one cannot import.
    message, hint = getattr(error, "message", None), getattr(error, "hint", None)
    if isinstance(message, str) and not isinstance(error, ExceptionGroup):
        return DiagnosticError.of(message, hint if isinstance(hint, str) else "")
    # Without the error's own text, which may hold what a template says.
    kind, frames = type(error).__name__, "".join(traceback.format_tb(error.__traceback__))
    _LOG.error("unexpected %s in %s\n%s", kind, what, frames)
    return DiagnosticError(UNEXPECTED)


class Operations:
    """The operations running for one connection."""

    def __init__(self, host: Host) -> None:
        self._host = host
        self._running: set[trio.CancelScope] = set()
        self._stopping = False

    def stop(self) -> None:
        """Stop what runs at its next await, and refuse what comes later."""
        self._stopping = True
        for scope in self._running:
            scope.cancel()

    def context(self, **known: Any) -> Context:
        """Make what an operation is given; `known` are fields of it."""
        return Context(host=self._host, keep=lambda _state: None, **known)

    async def ask(
        self, operation: Callable[[Context], Awaitable[_T]], context: Context | None = None
    ) -> _T:
        """Run an operation that has no state to save. Raises DiagnosticError."""
        return await self._run(operation, context or self.context())

    async def change(
        self,
        operation: Callable[[Context], Awaitable[Values | None]],
        before: Values | None,
        context: Context,
    ) -> tuple[Values | None, tuple[Diagnostic, ...]]:
        """Run an operation that changes things; returns the state to save and what went wrong.

        `before` is the state if it fails before saying otherwise by `Context.keep`.
        """
        kept = before

        def keep(state: Values) -> None:
            nonlocal kept
            kept = settled(state)

        try:
            return await self._run(operation, replace(context, keep=keep)), ()
        except DiagnosticError as error:
            return kept, error.diagnostics

    async def _run(self, operation: Callable[[Context], Awaitable[_T]], context: Context) -> _T:
        if self._stopping:
            raise DiagnosticError(STOPPED)
        with trio.CancelScope() as scope:
            self._running.add(scope)
            try:
                return await operation(context)
            except DiagnosticError:
                raise
            except Exception as error:
                raise diagnosed(error, "an operation") from error
            finally:
                self._running.discard(scope)
        raise DiagnosticError(STOPPED)
