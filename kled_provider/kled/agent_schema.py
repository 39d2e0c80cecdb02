"""The attributes of an agent, for every resource that describes one."""

from __future__ import annotations

from kled_provider.plugin.checks import between, matching, one_of
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    computed,
    defaulted,
    flag,
    map_of,
    optional,
    required,
)

# Ways in that people are shown, and whether they are where the template says nothing.
DISPLAY_APPS = {
    "vscode": True,
    "vscode_insiders": False,
    "web_terminal": True,
    "ssh_helper": True,
    "port_forwarding_helper": True,
}
_PERCENT = required(
    "threshold",
    "Percentage in use above which the owner is notified.",
    NUMBER,
    check=between(0, 100),
)
_ENABLED = required("enabled", "Whether it is monitored.", BOOL)

# The database keeps it in 32 bits.
_POSITIONS = between(-(2**31), 2**31 - 1)


def order(among: str) -> Attribute:
    """Make the attribute that sorts things for people."""
    said = f"Position among the {among}; the lowest is first."
    return defaulted("order", 0, said, of=NUMBER, check=_POSITIONS)


DIR = optional(
    "dir",
    "Directory in which sessions start, relative to the home directory. `~` and variables are "
    "those of the user.",
)
ENV = optional(
    "env",
    "Environment of sessions and scripts. `$NAME` and `${NAME}` stand for what that variable would "
    "be without the template, and are empty where it would not be set: `$HOME/bin:$PATH`. Not for "
    "secrets: the init_script of a kled_agent shows it.",
    map_of("string"),
)
SETTINGS = (
    optional("startup_script", "Script that the agent runs at each start, as a `kled_script`."),
    defaulted(
        "startup_script_behavior",
        "non-blocking",
        "`blocking`: logins wait for the startup script; `non-blocking`: they do not.",
        check=one_of("blocking", "non-blocking"),
    ),
    optional(
        "shutdown_script", "Script that the agent runs at each stop, before the workspace stops."
    ),
    defaulted(
        "connection_timeout",
        120,
        "Seconds after which an agent that has not connected counts as timed out; 0: never.",
        of=NUMBER,
        check=between(0),
    ),
    optional(
        "troubleshooting_url",
        "Page with help for an agent that does not connect.",
        check=matching(r"https?://\S+", "an http or https URL"),
    ),
    optional(
        "motd_file",
        "File in the workspace that each new terminal shows before its shell: at most 64 KiB, and "
        "not to a user with a `~/.hushlogin`. `~` and variables are those of the user.",
    ),
    order("agents"),
)
ID = computed("id", "Stable id of the agent.")
INIT_SCRIPT = computed(
    "init_script",
    "A sh script that starts the agent; it reads the token from the environment.",
    follows=("dir", "env"),
)

BLOCKS = (
    Block(
        name="metadata",
        description="A value that the agent determines periodically, for display.",
        attributes=(
            required("key", "Key of the value, unique within the agent."),
            required("script", "Shell script that prints the value."),
            required("interval", "Seconds between two runs.", NUMBER, check=between(1)),
            optional("display_name", "Name to display; by default the key."),
            defaulted(
                "timeout",
                0,
                "Seconds after which a run is ended; 0: after the interval.",
                of=NUMBER,
                check=between(0),
            ),
            order("others"),
        ),
    ),
    Block(
        name="display_apps",
        nesting=Nesting.SET,
        max_items=1,
        description="Which of the built-in apps are displayed.",
        attributes=tuple(
            flag(name, f"Whether `{name}` is displayed.", default=shown)
            for name, shown in DISPLAY_APPS.items()
        ),
    ),
    Block(
        name="resources_monitoring",
        nesting=Nesting.SET,
        max_items=1,
        description="When the owner is notified that memory or disk space runs out.",
        blocks=(
            Block(
                name="memory",
                nesting=Nesting.SET,
                max_items=1,
                description="Memory of the workspace.",
                attributes=(_ENABLED, _PERCENT),
            ),
            Block(
                name="volume",
                nesting=Nesting.SET,
                description="A file system of the workspace.",
                attributes=(
                    required(
                        "path",
                        "Path of the mount point.",
                        check=matching(r"/.*", "an absolute path"),
                    ),
                    _ENABLED,
                    _PERCENT,
                ),
            ),
        ),
    ),
)
