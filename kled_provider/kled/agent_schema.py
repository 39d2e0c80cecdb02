"""The attributes of an agent, for every resource that describes one."""

from __future__ import annotations

from kled_provider.plugin.checks import between, matching, one_of
from kled_provider.plugin.schema import (
    BOOL,
    NUMBER,
    Attribute,
    Block,
    Nesting,
    defaulted,
    flag,
    map_of,
)

# Ways in that people are shown, and whether they are where the template says nothing.
DISPLAY_APPS = {
    "vscode": True,
    "vscode_insiders": False,
    "web_terminal": True,
    "ssh_helper": True,
    "port_forwarding_helper": True,
}
_PERCENT = Attribute(
    name="threshold",
    type=NUMBER,
    required=True,
    check=between(0, 100),
    description="Percent in use from which on people are told.",
)
_ENABLED = Attribute(
    name="enabled", type=BOOL, required=True, description="Whether it is looked at."
)

DIR = Attribute(
    name="dir",
    optional=True,
    description="Directory sessions start in, seen from the home directory.",
)
ENV = Attribute(
    name="env",
    type=map_of("string"),
    optional=True,
    description="Environment of sessions and scripts. Not for secrets: the init_script of a "
    "kled_agent shows it.",
)
SETTINGS = (
    Attribute(
        name="startup_script",
        optional=True,
        description="A script that each start runs; `kled_script` says more.",
    ),
    defaulted(
        "startup_script_behavior",
        "non-blocking",
        "`blocking`: logins wait for the startup script; `non-blocking`: they do not.",
        check=one_of("blocking", "non-blocking"),
    ),
    Attribute(
        name="shutdown_script", optional=True, description="A script that each stop runs first."
    ),
    defaulted(
        "connection_timeout",
        120,
        "Seconds until an agent that has not connected is called timed out; 0: never.",
        of=NUMBER,
        check=between(0),
    ),
    Attribute(
        name="troubleshooting_url",
        optional=True,
        check=matching(r"https?://\S+", "an http or https URL"),
        description="Page that people are sent to when it does not connect.",
    ),
    Attribute(
        name="motd_file",
        optional=True,
        description="File in the workspace that terminals show at their start.",
    ),
    defaulted("order", 0, "Where it stands among the agents, the least first.", of=NUMBER),
)
ID = Attribute(name="id", computed=True, description="Stable id of the agent.")
INIT_SCRIPT = Attribute(
    name="init_script",
    computed=True,
    follows=("dir", "env"),
    description="A sh script that starts the agent; it reads the token from the environment.",
)

BLOCKS = (
    Block(
        name="metadata",
        description="A value that the agent finds out again and again, for people to see.",
        attributes=(
            Attribute(name="key", required=True, description="Its name, the only one."),
            Attribute(
                name="script", required=True, description="Prints the value; run by the shell."
            ),
            Attribute(
                name="interval",
                type=NUMBER,
                required=True,
                check=between(1),
                description="Seconds from one run to the next.",
            ),
            Attribute(name="display_name", optional=True, description="What people read; the key."),
            defaulted(
                "timeout",
                0,
                "Seconds until a run is ended; 0: as long as the interval.",
                of=NUMBER,
                check=between(0),
            ),
            defaulted("order", 0, "Where it stands among the others.", of=NUMBER),
        ),
    ),
    Block(
        name="display_apps",
        nesting=Nesting.SET,
        max_items=1,
        description="Which of the built-in ways in people are shown.",
        attributes=tuple(
            flag(name, f"Whether it is `{name}`.", default=shown)
            for name, shown in DISPLAY_APPS.items()
        ),
    ),
    Block(
        name="resources_monitoring",
        nesting=Nesting.SET,
        max_items=1,
        description="From when on people are told that something runs out.",
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
                    Attribute(
                        name="path",
                        required=True,
                        check=matching(r"/.*", "an absolute path"),
                        description="Where it is mounted.",
                    ),
                    _ENABLED,
                    _PERCENT,
                ),
            ),
        ),
    ),
)
