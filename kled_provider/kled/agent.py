"""Resource `kled_agent`: the agent that runs in a workspace.

An agent belongs to its workspace under its name, not to one run: every build adopts the same one,
so its id and token stay while the machine under it comes and goes. Only a create and an update
write: a refresh happens before every stop and delete too, and must not fail for what they do not
need.
"""

from __future__ import annotations

import platform
import re
import shlex
from collections.abc import Iterable

from kled_provider.kled.agent_schema import BLOCKS, DIR, ENV, ID, INIT_SCRIPT, SETTINGS
from kled_provider.plugin.checks import one_of
from kled_provider.plugin.diagnostics import Diagnostic, DiagnosticError, MapKey, Severity
from kled_provider.plugin.resource import Context, Resource
from kled_provider.plugin.schema import Schema, computed, defaulted
from kled_provider.plugin.values import UNKNOWN, Values

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
# How a `dir` below the home directory may begin.
_IN_HOME = re.compile(r"^(?:~|\$HOME|\$\{HOME\})(?:/+|$)")
# How the name begins of an agent that the coordinator has still to name.
UNNAMED = "unnamed-"
_MACHINES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}


def machine_os() -> str:
    """Return this machine's system, in the words of templates."""
    return "darwin" if platform.system() == "Darwin" else "linux"


def machine_arch() -> str:
    """Return this machine's architecture, in the words of templates."""
    return _MACHINES.get(platform.machine().lower(), "amd64")


def name_diagnostics(value: object, attribute: str) -> list[Diagnostic]:
    """Check a name by which Kled knows a thing; unknown and unset ones pass."""
    if value is None or value is UNKNOWN or (isinstance(value, str) and NAME.fullmatch(value)):
        return []
    return [
        Diagnostic(
            summary=f"Invalid {attribute}",
            detail="Use up to 32 lower-case letters, digits and hyphens, "
            f"with no hyphen at either end; got {value!r}.",
            path=(attribute,),
        )
    ]


def variable_diagnostics(value: object, attribute: str) -> list[Diagnostic]:
    """Check a map of environment variables; unknown and unset ones pass."""
    if not isinstance(value, dict):
        return []
    bad_names = [name for name in value if not _VARIABLE.fullmatch(name)]
    bad_values = [name for name, item in value.items() if isinstance(item, str) and "\0" in item]
    return [
        Diagnostic(summary=summary, detail=detail, path=(attribute, MapKey(name)))
        for names, summary, detail in (
            (
                bad_names,
                "Invalid name of an environment variable",
                "Use letters, digits and underscores, not starting with a digit.",
            ),
            (bad_values, "Invalid environment variable", "The value holds a NUL byte."),
        )
        for name in names
    ]


def variables(value: Values | None) -> dict[str, str]:
    """Return those environment variables of a map that are set: one that is null is not."""
    return {name: item for name, item in (value or {}).items() if item is not None}


KLED_AGENT = Schema(
    description="An agent of the workspace.",
    attributes=(
        defaulted("name", "main", "Name, unique within the workspace.", forces_replacement=True),
        defaulted(
            "os",
            machine_os(),
            "`linux` or `darwin`; by default the coordinator's.",
            check=one_of("linux", "darwin"),
        ),
        defaulted(
            "arch",
            machine_arch(),
            "`amd64` or `arm64`; by default the coordinator's.",
            check=one_of("amd64", "arm64"),
        ),
        DIR,
        ENV,
        *SETTINGS,
        ID,
        computed(
            "token",
            "Token with which the agent authenticates (`KLED_AGENT_TOKEN`).",
            sensitive=True,
        ),
        INIT_SCRIPT,
    ),
    blocks=BLOCKS,
)


class AgentResource(Resource):
    """An agent's identity, and the script that starts it.

    One without a `name` has a new identity with each create, and is named by the coordinator after
    its address, which a provider is not told.
    """

    def __init__(self, type_name: str = "kled_agent", schema: Schema = KLED_AGENT) -> None:
        self.type_name = type_name
        self.schema = schema
        self.identity = ("name",) if "name" in schema.names() else ()

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check names and choices."""
        found = super().validate(config)
        if self.identity:
            found += name_diagnostics(config["name"], "name")
        blocks = config["metadata"] if isinstance(config["metadata"], list) else []
        keys = [item["key"] for item in blocks]
        for index, key in enumerate(keys):
            if key is not UNKNOWN and key in keys[:index]:
                detail = f"Another metadata block has the key {key!r} too."
                path = ("metadata", index, "key")
                found.append(Diagnostic(summary="Two of one key", detail=detail, path=path))
        return found + variable_diagnostics(config["env"], "env")

    async def check_plan(
        self,
        context: Context,
        prior: Values | None,
        planned: Values,
    ) -> Iterable[Diagnostic]:
        """Warn where its init_script would find nothing to fetch."""
        architecture = planned["arch"]
        if not isinstance(architecture, str) or await context.host.has_bundle(architecture):
            return ()
        warning = Diagnostic(
            summary=f"The coordinator has no bundle of the agent for {architecture}",
            detail="init_script can only start a kled-agent that is installed in the image. "
            f"scripts/build-agent-bundle --arch {architecture} makes a bundle, kled-coord bundle "
            "add FILE gives it to the coordinator.",
            path=("arch",),
            severity=Severity.WARNING,
        )
        return (warning,)

    async def create(self, context: Context, planned: Values) -> Values:
        """Make or adopt the agent."""
        generation = context.generation or ""
        name = planned["name"] if self.identity else f"{UNNAMED}{generation}"
        agent = await context.host.ensure_agent(name, generation)
        known = {**planned, "id": agent["id"], "token": agent["token"]}
        context.keep(known)
        await _configure(context, known)
        return {**known, "init_script": await self._script(context, planned)}

    async def read(self, context: Context, state: Values) -> Values | None:
        """Say what the coordinator has now; gone where it was revoked, or is a later create's."""
        found = await context.host.find_agent(state["id"], context.generation or "")
        if found is None:
            return None
        known = {**state, "token": found["token"]}
        # Nothing and an empty one are the same to the coordinator, and not to Terraform.
        if "env" in found and variables(found["env"]) != variables(state["env"]):
            known["env"] = found["env"]
        if "dir" in found and (found["dir"] or None) != (state["dir"] or None):
            known["dir"] = found["dir"]
        return {**known, "init_script": await self._script(context, known)}

    async def update(self, context: Context, prior: Values, planned: Values) -> Values:
        """Only the script and what sessions get change; the identity stays."""
        known = {**planned, "id": prior["id"], "token": prior["token"]}
        await _configure(context, known)
        return {**known, "init_script": await self._script(context, planned)}

    async def _script(self, context: Context, values: Values) -> str:
        """Its init_script. An agent hears of its `env` by its link in any case.

        Where people were told that a script shows it, they put no secrets there; a template that
        was written for Coder was not.
        """
        shown = variables(values["env"]) if self.identity else {}
        # A value that names other variables is left out: only the agent can fill it in.
        shown = {name: value for name, value in shown.items() if "$" not in value}
        return await _init_script(context, {**values, "env": shown})

    async def delete(self, context: Context, state: Values) -> None:
        """Release the agent, unless a later create has made it its own."""
        if state["id"] is not None:
            await context.host.release_agent(state["id"], context.generation)

    async def import_state(self, context: Context, identity: str) -> Values:
        """Import by name, which is to adopt."""
        if not self.identity:
            return await super().import_state(context, identity)
        if bad := name_diagnostics(identity, "name"):
            raise DiagnosticError(*bad)
        values: Values = {a.name: a.default for a in self.schema.attributes}
        blocks: Values = {block.name: [] for block in self.schema.blocks}
        return await self.create(context, {**values, **blocks, "name": identity})


async def _configure(context: Context, known: Values) -> None:
    await context.host.configure_agent(known["id"], variables(known["env"]), known["dir"])


async def _init_script(context: Context, planned: Values) -> str:
    variables, directory = planned["env"] or {}, made_directory(planned["dir"] or "")
    given = await context.host.start_script(planned["arch"], variables, directory)
    if given is not None:
        return given
    url = (await context.host.workspace())["access_url"]
    return init_script(str(url), directory, variables)


def made_directory(directory: str) -> str:
    """What of `dir` an init_script makes, seen from the home directory; "": nothing.

    Where it is in one that another variable names, only the agent knows that.
    """
    relative = _IN_HOME.sub("", directory)
    return "" if "$" in relative else relative


def init_script(access_url: str, directory: str | None, env: dict[str, str]) -> str:
    """Write a script that starts an installed kled-agent; the token comes from its environment."""
    exports = {**env, "KLED_COORDINATOR_URL": access_url}
    lines = [
        "#!/bin/sh",
        "set -eu",
        ': "${KLED_AGENT_TOKEN:=${CODER_AGENT_TOKEN:?set KLED_AGENT_TOKEN to the agent\'s token}}"',
        "export KLED_AGENT_TOKEN",
        *(f"export {name}={shlex.quote(value)}" for name, value in sorted(exports.items())),
    ]
    if directory:
        # The environment that sessions see. A program that starts at boot has no HOME.
        lines += [
            'home=${HOME:-$(getent passwd "$(id -u)" | cut -d: -f6)}',
            'cd "${home:-/}"',
            f"mkdir -p -- {shlex.quote(directory)}",
            f"cd -- {shlex.quote(directory)}",
        ]
    return "\n".join([*lines, "exec kled-agent run", ""])
