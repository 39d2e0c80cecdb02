"""The command line of the agent, by argparse, because click would stay in memory for ever."""

from __future__ import annotations

import argparse
import json
import os
from dataclasses import fields
from pathlib import Path

from kled_agent.config import CODER_ENVIRONMENT, ENVIRONMENT, AgentConfig, load_config
from kled_agent.host_key import begin_host_key
from kled_agent.machine.surroundings import check_surroundings
from kled_wire.eventlog import open_log
from kled_wire.version import SOFTWARE_VERSION


def run(argv: list[str]) -> None:
    """Do what the command line says. Raises KledError."""
    arguments = _parser().parse_args(argv)
    flags = {
        f.name: getattr(arguments, f.name, None) for f in fields(AgentConfig) if f.name != "token"
    }
    flags["token_file"] = arguments.token_file
    config = load_config(arguments.config, os.environ, flags)
    # Sessions never see the token; /proc shows it to the same user only.
    for variable in (ENVIRONMENT["token"], CODER_ENVIRONMENT["token"]):
        os.environ.pop(variable, None)
    log = open_log("kled.agent", level=config.log_level)
    if arguments.command == "check":
        _print_config(config)
        return
    check_surroundings()
    is_new = config.token and not os.path.exists(config.identity_file)  # noqa: PTH110 - never raises
    making = begin_host_key() if is_new else None
    # The key is made meanwhile.
    import trio  # noqa: PLC0415

    from kled_agent.app import obtain_identity, run_agent  # noqa: PLC0415

    trio.run(obtain_identity if arguments.command == "enroll" else run_agent, config, log, making)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="kled-agent",
        description="Serve this machine as a workspace: terminals, files and forwards over SSH. "
        "The agent connects to the coordinator and listens on no port by default.",
        epilog="Settings are also read from KLED_AGENT_… variables and /etc/kled/agent.toml. "
        "A token is read from there or from a file, never from an argument.",
    )
    parser.add_argument("--version", action="version", version=f"kled-agent {SOFTWARE_VERSION}")
    parser.add_argument(
        "command",
        nargs="?",
        default="run",
        choices=("run", "check", "enroll"),
        help="run: serve (default); check: print the settings; enroll: fetch the identity and exit",
    )
    parser.add_argument("--config", type=Path, help="configuration file (TOML)")
    parser.add_argument("--coordinator-url", help="URL of the coordinator, https://HOST")
    parser.add_argument("--token-file", help="file that holds the agent's token")
    parser.add_argument("--state-dir", help="directory of the identity")
    parser.add_argument("--user", help="local user that sessions run as")
    parser.add_argument("--shell", help="shell of that user; default: the one in passwd")
    parser.add_argument("--log-level", help="debug, info, warning or error")
    return parser


def _print_config(config: AgentConfig) -> None:
    shown = {f.name: str(getattr(config, f.name)) for f in fields(config)}
    shown["token"] = "***" if config.token else ""
    print(json.dumps(shown, indent=2))  # noqa: T201 - what `check` is for
