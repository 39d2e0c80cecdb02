"""The resources `coder_*`: the schemas of `kled_*`, with additional names."""

from __future__ import annotations

from dataclasses import replace

from kled_provider.kled.agent import AgentResource
from kled_provider.kled.agent_parts import (
    AGENT_ID,
    APP,
    METADATA,
    SCRIPT,
    AppResource,
    ScriptResource,
)
from kled_provider.kled.agent_parts import (
    ENV as VARIABLE,
)
from kled_provider.kled.agent_schema import BLOCKS, DIR, ENV, ID, INIT_SCRIPT, SETTINGS
from kled_provider.kled.record import RecordResource
from kled_provider.plugin.checks import one_of
from kled_provider.plugin.resource import Resource
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    Schema,
    Type,
    computed,
    defaulted,
    optional,
    required,
)

_RECORD_ID = computed("id", "Stable id.")
_NO_TIMEOUT = "the agent's own scripts may take any time; a `coder_script` may have a `timeout`"


def unused(name: str, why: str, *, of: Type = "string", required: bool = False) -> Attribute:
    """Make an attribute that is accepted and does nothing."""
    return Attribute(
        name=name, type=of, required=required, optional=not required, description="", ignored=why
    )


def _token_alone(value: object) -> str | None:
    if value == "token":
        return None
    return f"Agents authenticate by their token; got {value!r}. Pass it on to the machine."


AGENT = Schema(
    description="An agent of the workspace, named after this resource.",
    attributes=(
        required("os", "linux or darwin.", check=one_of("linux", "darwin")),
        required("arch", "amd64 or arm64.", check=one_of("amd64", "arm64")),
        defaulted("auth", "token", "By the token alone.", check=_token_alone),
        unused("api_key_scope", "an agent's token opens nothing of its owner's"),
        DIR,
        ENV,
        *SETTINGS,
        unused("startup_script_timeout", _NO_TIMEOUT, of=NUMBER),
        unused("shutdown_script_timeout", _NO_TIMEOUT, of=NUMBER),
        optional(
            "login_before_ready", "false is what startup_script_behavior calls blocking.", BOOL
        ),
        ID,
        computed(
            "token", "What the agent authenticates with, as CODER_AGENT_TOKEN.", sensitive=True
        ),
        INIT_SCRIPT,
    ),
    blocks=BLOCKS,
)


def _app_schema() -> Schema:
    # Templates from before slugs have none: the app is then called as its resource.
    attributes = (
        replace(a, required=False, optional=True) if a.name == "slug" else a for a in APP.attributes
    )
    older = (
        optional("name", "As display_name."),
        optional("relative_path", "The opposite of subdomain.", BOOL),
    )
    # An attribute that means the opposite must not have a default that contradicts this one.
    plain = (
        optional(a.name, a.description, a.type) if a.name == "subdomain" else a for a in attributes
    )
    return replace(APP, attributes=(*plain, *older))


def _record(name: str, *attributes: Attribute, blocks: tuple[Block, ...] = ()) -> RecordResource:
    schema = Schema(description="", attributes=(*attributes, _RECORD_ID), blocks=blocks)
    return RecordResource(name, schema)


def coder_resources() -> tuple[Resource, ...]:
    """Make them all."""
    sidebar = Block(
        name="sidebar_app",
        nesting=Nesting.SET,
        max_items=1,
        description="The app that would show it.",
        attributes=(required("id", "Its id."),),
    )
    script = tuple(a for a in SCRIPT.attributes if a.name != "after")
    return (
        AgentResource("coder_agent", AGENT),
        _record(
            "coder_agent_instance",
            AGENT_ID,
            unused("instance_id", "agents authenticate by their token", required=True),
        ),
        _record(
            "coder_ai_task",
            unused("app_id", "there are no tasks"),
            computed("enabled", "Always null.", BOOL),
            computed("prompt", "Always null."),
            blocks=(sidebar,),
        ),
        AppResource("coder_app", _app_schema(), identity=("agent_id", "slug")),
        _record(
            "coder_devcontainer",
            AGENT_ID,
            unused("workspace_folder", "the agent starts no dev containers", required=True),
            optional("config_path", "Where it is described."),
            computed("subagent_id", "Always null."),
        ),
        RecordResource("coder_env", VARIABLE),
        _record(
            "coder_external_agent",
            unused(
                "agent_id",
                "every agent may be run by hand: `kled workspace agent-token`",
                required=True,
            ),
        ),
        RecordResource("coder_metadata", METADATA),
        ScriptResource("coder_script", replace(SCRIPT, attributes=script)),
    )
