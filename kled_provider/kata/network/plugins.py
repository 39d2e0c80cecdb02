"""Runs CNI plugins: configuration by standard input, the rest by CNI_… variables.

CNI specification 1.0.0, "Execution Protocol": ADD goes through a list in order, each plugin given
the result of the one before as `prevResult`; DEL backwards with the result of ADD; CHECK in order.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio

from kled_provider.kata.network.results import (
    NetworkError,
    is_of_something_gone,
    parse_error,
    parse_result,
)

# A plugin that waits for a lock of iptables is slow; one that hangs holds up an apply.
PLUGIN_S = 60.0
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """One interface of a container: where it is, its name there, and what is asked for it.

    `asked` are the capabilities' arguments by their names, `portMappings` and others
    (CNI conventions, "Dynamic Plugin specific fields").
    """

    container_id: str
    netns: str
    name: str
    asked: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Plugins:
    """The plugins of some directories."""

    directories: tuple[Path, ...]

    async def add(
        self,
        conflist: Mapping[str, Any],
        interface: Interface,
        keep: Callable[[dict[str, Any]], None],
    ) -> dict[str, Any]:
        """Attach the interface; returns the last result. Raises NetworkError.

        `keep` is given the result of each plugin, for the delete of whoever comes after our death.
        Where a plugin fails, or this is cancelled, what was done is the caller's to delete.
        """
        result: dict[str, Any] = {}
        for plugin in conflist["plugins"]:
            answer = await self._run("ADD", conflist, plugin, interface, result or None)
            result = parse_result(answer)
            keep(result)
        return result

    async def delete(
        self, conflist: Mapping[str, Any], interface: Interface, result: Mapping[str, Any] | None
    ) -> None:
        """Detach the interface; what is gone is no error. All plugins are run.

        `result` is ADD's; None where it is not known. Raises the first NetworkError.
        """
        failed: NetworkError | None = None
        for plugin in reversed(conflist["plugins"]):
            try:
                await self._run("DEL", conflist, plugin, interface, result)
            except NetworkError as error:
                if not is_of_something_gone(error):
                    failed = failed or error
        if failed is not None:
            raise failed

    async def check(
        self, conflist: Mapping[str, Any], interface: Interface, result: Mapping[str, Any]
    ) -> None:
        """Say what is no longer as ADD left it. Raises NetworkError."""
        for plugin in conflist["plugins"]:
            await self._run("CHECK", conflist, plugin, interface, result)

    async def _run(
        self,
        command: str,
        conflist: Mapping[str, Any],
        plugin: Mapping[str, Any],
        interface: Interface,
        result: Mapping[str, Any] | None,
    ) -> bytes:
        program = self._program(plugin["type"])
        given = json.dumps(_configuration(conflist, plugin, interface, result)).encode()
        environment = {
            "PATH": _PATH,
            "CNI_COMMAND": command,
            "CNI_CONTAINERID": interface.container_id,
            "CNI_NETNS": interface.netns,
            "CNI_IFNAME": interface.name,
            "CNI_PATH": os.pathsep.join(map(str, self.directories)),
        }
        # Not cancelled: one that is killed half way leaves what its DEL does not look for.
        with trio.move_on_after(PLUGIN_S, shield=True) as scope:
            done = await trio.run_process(
                [str(program)],
                stdin=given,
                env=environment,
                check=False,
                capture_stdout=True,
                capture_stderr=True,
            )
        if scope.cancelled_caught:
            raise NetworkError(f"CNI plugin {plugin['type']} did not answer within {PLUGIN_S:g} s")
        if done.returncode:
            raise parse_error(
                plugin["type"], command, done.returncode, done.stdout, done.stderr[-2000:]
            )
        return done.stdout

    def _program(self, name: str) -> Path:
        for directory in self.directories:
            if os.access(directory / name, os.X_OK):
                return directory / name
        shown = ", ".join(map(str, self.directories)) or "no directory"
        raise NetworkError(
            f"there is no CNI plugin {name!r} in {shown}",
            "Install the plugins (Debian: containernetworking-plugins), or have the owner of this "
            "machine name their directory.",
        )

    def require(self, conflist: Mapping[str, Any]) -> None:
        """Look for all plugins of a list, before the first is run. Raises NetworkError."""
        for plugin in conflist["plugins"]:
            self._program(plugin["type"])
            if "ipam" in plugin:
                self._program(plugin["ipam"]["type"])


def _configuration(
    conflist: Mapping[str, Any],
    plugin: Mapping[str, Any],
    interface: Interface,
    result: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """What one plugin is given (specification, "Deriving execution configuration")."""
    found = dict(plugin)
    capabilities = found.pop("capabilities", {})
    found |= {"name": conflist["name"], "cniVersion": conflist["cniVersion"]}
    asked = {name: value for name, value in interface.asked.items() if capabilities.get(name)}
    if asked:
        found["runtimeConfig"] = asked
    if result is not None:
        found["prevResult"] = result
    return found
