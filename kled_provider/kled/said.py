"""The resources that describe an agent: scripts, variables, apps, and notes on resources.

Their attributes have the names that templates use already. `after` aside, the same schemas serve
`coder_*` (kled_provider/coder).
"""

from __future__ import annotations

from kled_provider.kled.record import RecordResource
from kled_provider.plugin.checks import all_of, at_most, between, matching, one_of
from kled_provider.plugin.diagnostics import Diagnostic
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    Schema,
    defaulted,
    flag,
    list_of,
    map_of,
)
from kled_provider.plugin.values import Values

AGENT_ID = Attribute(name="agent_id", required=True, description="The `id` of the agent.")
ICON = Attribute(name="icon", optional=True, description="Path or URL of an icon.")
_ID = Attribute(name="id", computed=True, description="Stable id.")
_VARIABLE_NAME = matching(
    r"[A-Za-z_][A-Za-z0-9_]*", "letters, digits and underscores, not starting with a digit"
)
_CRON = matching(
    r"\s*@\w+( [0-9hms]+)?\s*|\s*\S+(\s+\S+){4,5}\s*",
    "five fields (minute, hour, day, month, weekday), or six with seconds before them",
)


SCRIPT = Schema(
    description="A script that an agent runs.",
    attributes=(
        AGENT_ID,
        Attribute(name="display_name", required=True, description="Name to display."),
        Attribute(
            name="script",
            required=True,
            description="The script, run as the user in a login environment; `#!` says by what, "
            "else the user's shell.",
        ),
        ICON,
        flag("run_on_start", "Whether each start runs it."),
        flag("run_on_stop", "Whether each stop runs it first."),
        Attribute(
            name="cron",
            optional=True,
            check=_CRON,
            description="When else it is run: five fields as in crontab(5), or six with seconds.",
        ),
        flag("start_blocks_login", "Whether logins wait for its end after a start."),
        defaulted(
            "timeout",
            0,
            "Seconds until it is ended; 0: it may take any time.",
            of=NUMBER,
            check=between(0),
        ),
        Attribute(
            name="log_path",
            optional=True,
            description="File in the workspace that gets the output too.",
        ),
        Attribute(
            name="after",
            type=list_of("string"),
            optional=True,
            description="The `id`s of scripts that have to end before it begins.",
        ),
        _ID,
    ),
)

ENV = Schema(
    description="An environment variable of an agent's sessions and scripts. Those of one name are "
    "merged in the order of their addresses; the agent's own `env` comes last.",
    attributes=(
        AGENT_ID,
        Attribute(
            name="name",
            required=True,
            check=_VARIABLE_NAME,
            description="The variable.",
        ),
        defaulted("value", "", "Its value."),
        defaulted(
            "merge_strategy",
            "replace",
            "What to do with a value that an earlier one gave: `replace` it, `append` or `prepend` "
            "this one with a colon between, or `error`.",
            check=one_of("replace", "append", "prepend", "error"),
        ),
        _ID,
    ),
)

_HEALTHCHECK = Block(
    name="healthcheck",
    nesting=Nesting.SET,
    max_items=1,
    description="How the agent finds out whether the app is well: an answer below 500.",
    attributes=(
        Attribute(name="url", required=True, description="What is asked for, in the workspace."),
        Attribute(
            name="interval",
            type=NUMBER,
            required=True,
            check=between(1),
            description="Seconds between two.",
        ),
        Attribute(
            name="threshold",
            type=NUMBER,
            required=True,
            check=between(1),
            description="How many failures in a row make it unwell.",
        ),
    ),
)
APP = Schema(
    description="A program of the workspace that people open.",
    attributes=(
        AGENT_ID,
        Attribute(
            name="slug",
            required=True,
            check=all_of(
                at_most(63),  # it is a label of a host name
                matching(
                    r"[a-z0-9]+(-[a-z0-9]+)*",
                    "lower-case letters, digits and single hyphens between them",
                ),
            ),
            description="Name in addresses, the only one of its agent.",
        ),
        Attribute(name="display_name", optional=True, description="What people read; the slug."),
        ICON,
        Attribute(name="url", optional=True, description="Where it listens, in the workspace."),
        Attribute(name="command", optional=True, description="What to run in a terminal instead."),
        flag("external", "Whether the browser opens `url` itself, past the coordinator."),
        flag("subdomain", "Whether it gets a host name of its own."),
        defaulted(
            "share",
            "owner",
            "Who may open it: `owner`, `authenticated` or `public`.",
            check=one_of("owner", "authenticated", "public"),
        ),
        defaulted(
            "open_in",
            "slim-window",
            "`slim-window` or `tab`.",
            check=one_of("slim-window", "tab", "window"),
        ),
        defaulted("order", 0, "Where it stands among the others, the least first.", of=NUMBER),
        Attribute(name="group", optional=True, description="Under which heading it stands."),
        flag("hidden", "Whether people are not shown it."),
        Attribute(name="tooltip", optional=True, description="A sentence about it, in Markdown."),
        _ID,
    ),
    blocks=(_HEALTHCHECK,),
)

METADATA = Schema(
    description="What people are told of a resource: in the log of a start, and by `kled show`.",
    attributes=(
        Attribute(
            name="resource_id",
            required=True,
            description="The `id` of any resource of the template.",
        ),
        flag("hide", "Whether people are not shown it."),
        ICON,
        defaulted(
            "daily_cost",
            0,
            "What it costs in a day, in a unit of your choice.",
            of=NUMBER,
            check=between(0),
        ),
        _ID,
    ),
    blocks=(
        Block(
            name="item",
            description="One thing to show.",
            attributes=(
                Attribute(name="key", required=True, description="What it is."),
                Attribute(name="value", optional=True, description="The value."),
                flag("sensitive", "Whether the value is told nowhere."),
                Attribute(
                    name="is_null", type=BOOL, computed=True, description="Whether there is none."
                ),
            ),
        ),
    ),
)

TAGS = Schema(
    description="Words about what this template needs; there is one kind of worker, which takes "
    "every build.",
    attributes=(
        Attribute(name="tags", type=map_of("string"), optional=True, description="Values by name."),
        Attribute(name="id", computed=True, description="Always null."),
    ),
)


class ScriptResource(RecordResource):
    """A script; something has to start it."""

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check that it is ever run."""
        found = super().validate(config)
        starts = [config[name] for name in ("run_on_start", "run_on_stop", "cron")]
        if all(value in (None, False) for value in starts):
            detail = "Set run_on_start, run_on_stop or cron: nothing runs it else."
            found.append(Diagnostic(summary="A script that never runs", detail=detail))
        if config["start_blocks_login"] is True and config["run_on_start"] in (None, False):
            detail = "Logins can wait only for a script that a start runs: set run_on_start too."
            path = ("start_blocks_login",)
            found.append(Diagnostic(summary="Nothing to wait for", detail=detail, path=path))
        return found


class AppResource(RecordResource):
    """An app; it is a page or a program in a terminal."""

    def validate(self, config: Values) -> list[Diagnostic]:
        """Check that what is set goes together."""
        found = super().validate(config)
        if config["command"] is not None and config["url"] is not None:
            detail = "An app is a page at `url` or a program in a terminal, not both."
            summary = "Both command and url"
            found.append(Diagnostic(summary=summary, detail=detail, path=("command",)))
        if config["external"] is True and config["url"] is None:
            detail = "The browser opens `url` itself: set it."
            found.append(
                Diagnostic(summary="External without a url", detail=detail, path=("external",))
            )
        return found
