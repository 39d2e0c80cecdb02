"""The resources that describe an agent: scripts, variables, apps, and notes on resources.

Their attributes have the names that templates use already. `after` aside, the same schemas serve
`coder_*` (kled_provider/coder).
"""

from __future__ import annotations

from kled_provider.kled.agent_schema import order
from kled_provider.kled.record import RecordResource
from kled_provider.plugin.checks import all_of, at_most, between, matching, one_of
from kled_provider.plugin.diagnostics import Diagnostic
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Block,
    Nesting,
    Schema,
    computed,
    defaulted,
    flag,
    list_of,
    map_of,
    optional,
    required,
)
from kled_provider.plugin.values import Values

AGENT_ID = required("agent_id", "The `id` of the agent.")
ICON = optional("icon", "Path or URL of an icon.")
_ID = computed("id", "Stable id.")
_VARIABLE_NAME = matching(
    r"[A-Za-z_][A-Za-z0-9_]*", "letters, digits and underscores, not starting with a digit"
)


def _cron_field(one: str) -> str:
    """A field of crontab(5), where `one` is a value of it: a list of values, ranges and steps."""
    part = rf"(?:[*?]|(?:{one})(?:-(?:{one}))?)(?:/0?[1-9][0-9]*)?"
    return rf"{part}(?:,{part})*"


# The grammar that the agent reads (kled_agent/scripts/cron.py); only the agent knows when such a
# time comes.
_SIXTY = _cron_field("[0-5]?[0-9]")
_CRON_FIELDS = (
    _SIXTY,
    _cron_field("[01]?[0-9]|2[0-3]"),
    _cron_field("0?[1-9]|[12][0-9]|3[01]"),
    _cron_field("0?[1-9]|1[0-2]|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec"),
    _cron_field("0?[0-7]|sun|mon|tue|wed|thu|fri|sat"),
)
_CRON_FIVE = r"\s+".join(_CRON_FIELDS)
_CRON = matching(
    r"(?i:\s*(?:@(?:yearly|annually|monthly|weekly|daily|midnight|hourly)"
    r"|@every (?=\S*[1-9])(?:[0-9]+h)?(?:[0-9]+m)?(?:[0-9]+s)?"
    rf"|(?:{_SIXTY}\s+)?{_CRON_FIVE})\s*)",
    "five fields (minute, hour, day, month, weekday), or six with seconds before them, each of "
    "numbers that such a field has",
)


SCRIPT = Schema(
    description="A script that an agent runs.",
    attributes=(
        AGENT_ID,
        required("display_name", "Name to display."),
        required(
            "script",
            "The script. It runs as the user in a login environment; its first line "
            "names the interpreter (`#!`), else it is the user's shell.",
        ),
        ICON,
        flag("run_on_start", "Whether the agent runs it at each start."),
        flag("run_on_stop", "Whether the agent runs it at each stop, before the workspace stops."),
        optional(
            "cron",
            "Schedule on which the agent runs it too: five fields as in crontab(5), "
            "or six with seconds first.",
            check=_CRON,
        ),
        flag("start_blocks_login", "Whether logins after a start wait for its end."),
        defaulted(
            "timeout",
            0,
            "Seconds after which it is ended; 0: no limit.",
            of=NUMBER,
            check=between(0),
        ),
        optional(
            "log_path",
            "File in the workspace to which the output is written too, up to 8 MiB of "
            "each run. `~` and variables are those of the user; a relative path is below the "
            "directory of temporary files.",
        ),
        optional(
            "after", "The `id`s of scripts that must end before this one starts.", list_of("string")
        ),
        _ID,
    ),
)

ENV = Schema(
    description="An environment variable of an agent's sessions and scripts. Variables of one "
    "name are "
    "merged in the order of their addresses; the agent's own `env` comes last.",
    attributes=(
        AGENT_ID,
        required("name", "Name of the variable.", check=_VARIABLE_NAME),
        defaulted(
            "value", "", "Value of the variable; `$NAME` and `${NAME}` are as in the agent's `env`."
        ),
        defaulted(
            "merge_strategy",
            "replace",
            "What to do with the value of an earlier one: `replace` it, `append` or `prepend` "
            "this value with a colon between them, or `error`.",
            check=one_of("replace", "append", "prepend", "error"),
        ),
        _ID,
    ),
)

_HEALTHCHECK = Block(
    name="healthcheck",
    nesting=Nesting.SET,
    max_items=1,
    description="How the agent checks the app: it is healthy if it answers with a status below "
    "500.",
    attributes=(
        required("url", "URL to request, from within the workspace."),
        required("interval", "Seconds between two requests.", NUMBER, check=between(1)),
        required(
            "threshold",
            "Number of failures in a row after which the app is unhealthy.",
            NUMBER,
            check=between(1),
        ),
    ),
)
APP = Schema(
    description="A program in the workspace that people open.",
    attributes=(
        AGENT_ID,
        required(
            "slug",
            "Name in URLs, unique within the agent.",
            check=all_of(
                at_most(63),  # it is a label of a host name
                matching(
                    r"[a-z0-9]+(-[a-z0-9]+)*",
                    "lower-case letters, digits and single hyphens between them",
                ),
            ),
        ),
        optional("display_name", "Name to display; by default the slug."),
        ICON,
        optional("url", "URL at which the app listens in the workspace."),
        optional("command", "Command to run in a terminal instead."),
        flag("external", "Whether the browser opens `url` directly, not through the coordinator."),
        flag("subdomain", "Whether the app has a host name of its own."),
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
        order("others"),
        optional("group", "Heading under which the app is displayed."),
        flag("hidden", "Whether it is not displayed."),
        optional("tooltip", "Short description, in Markdown."),
        _ID,
    ),
    blocks=(_HEALTHCHECK,),
)

METADATA = Schema(
    description="Information about a resource, displayed in the log of a start and by `kled show`.",
    attributes=(
        required("resource_id", "The `id` of any resource of the template."),
        flag("hide", "Whether it is not displayed."),
        ICON,
        defaulted(
            "daily_cost",
            0,
            "Cost per day, in a unit of your choice.",
            of=NUMBER,
            check=between(0),
        ),
        _ID,
    ),
    blocks=(
        Block(
            name="item",
            description="One line of the information.",
            attributes=(
                required("key", "Name of the value."),
                optional("value", "The value."),
                flag("sensitive", "Whether the value is displayed nowhere."),
                computed("is_null", "Whether there is no value.", BOOL),
            ),
        ),
    ),
)

TAGS = Schema(
    description="Tags of the workers that the template needs; they have no effect, because every "
    "worker takes every build.",
    attributes=(
        optional("tags", "Values of the tags, by name.", map_of("string")),
        computed("id", "Always null."),
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
