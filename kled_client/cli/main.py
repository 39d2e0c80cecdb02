"""The root of the command line: global options and the list of commands."""

from __future__ import annotations

import logging
import os

import click
from click.shell_completion import CompletionItem

from kled_client.cli.completion import VARIABLE, register_shells
from kled_client.cli.context import Invocation
from kled_client.cli.lazy import CommandEntry, LazyGroup
from kled_client.cli.output_option import FLAGS, FORMATS, HELP, is_json_asked, remember_asked
from kled_client.report import INTERRUPTED, ErrorFormat
from kled_wire.errors import InputError
from kled_wire.version import SOFTWARE_VERSION

_HERE = "kled_client.cli"


# Heading → (name, module:attribute, its line in the help).
_COMMANDS = {
    "Sign in": [
        ("login", "login:login", "Sign in to a coordinator"),
        ("logout", "login:logout", "Revoke the stored token and delete it"),
        ("whoami", "login:whoami", "Show your user and coordinator"),
        ("profile", "profile:profile", "List the profiles stored on this machine"),
    ],
    "Workspaces": [
        ("create", "lifecycle:create", "Create a workspace and wait until it is ready"),
        ("list", "workspace:list_", "List your workspaces"),
        ("show", "workspace:show", "Show one workspace"),
        ("start", "lifecycle:start", "Start a stopped workspace"),
        ("restart", "lifecycle:restart", "Stop a workspace and start it again"),
        ("update", "update:update", "Update a workspace to another version of its template"),
        ("stop", "lifecycle:stop", "Stop a workspace; its volumes are kept"),
        ("delete", "lifecycle:delete", "Delete a workspace and everything in it"),
        ("builds", "builds:builds", "List the builds of a workspace"),
        ("drift", "plan:drift", "Show the resources that differ from the state"),
        ("rename", "plan:rename", "Give a workspace another name"),
        ("state", "state:state", "List, pull and push the versions of a workspace's state"),
        ("logs", "logs:logs", "Show the log of a build"),
        ("retry", "lifecycle:retry", "Run a failed or cancelled build again"),
        ("cancel", "cancel:cancel", "Cancel a queued or running build"),
        ("workspace", "workspace:workspace", "These commands as a group, and agent-token"),
    ],
    "Inside a workspace": [
        ("ssh", "shell:ssh", "Open a shell, or run a command with a terminal"),
        ("exec", "shell:exec_", "Run a command without a terminal"),
        ("session", "session:session", "Manage named shells that survive disconnection"),
        ("forward", "forward:forward", "Forward ports between this machine and a workspace"),
        ("ports", "forward:ports", "List the listening TCP ports of a workspace"),
        ("up", "up:up", "Run the forwards of a project's .kled.toml"),
        ("cp", "cp:cp", "Copy files to and from a workspace"),
        ("sync", "sync:sync", "Synchronise a folder with a workspace"),
        ("open", "open:open_", "Open an editor or an app in the workspace"),
        ("dotfiles", "dotfiles:dotfiles", "Install a repository of dotfiles, here or there"),
        ("stat", "stat:stat", "Show processor, memory and disk use where it runs"),
        ("status", "status:status", "Show your workspaces, or the path to one of them"),
        ("ping", "ping:ping", "Measure round-trip times to a workspace"),
        (
            "config-ssh",
            "config_ssh:config_ssh",
            "Configure ssh, scp, rsync and IDEs for workspaces",
        ),
        ("ssh-cert", "ssh_cert:ssh_cert", "Renew the SSH certificate if it ends soon"),
        ("stream", "stream:stream", "Open the byte stream for ssh's ProxyCommand"),
        ("sync-server", "sync_copy:sync_server", "Serve the other end of a sync over ssh"),
        ("known-hosts", "known_hosts:known_hosts", "Print a workspace's host key for known_hosts"),
    ],
    "Administration": [
        ("template", "template:template", "Manage templates"),
        ("user", "user:user", "Manage users"),
        ("audit", "audit:audit", "Show who did what, and what was refused"),
        ("connections", "audit:connections", "Show who was connected to which workspace"),
        ("token", "token:token", "Manage your API tokens"),
        ("key", "key:key", "Register public keys for clients without certificates"),
    ],
    "Other": [
        ("doctor", "doctor:doctor", "Check the connection and report what is blocked"),
        ("api", "api:api", "Send one request to the coordinator's API"),
        ("help", "help:help_", "Show the help of a command"),
        ("version", "version:version", "Show the versions of kled and of the coordinator"),
        ("completion", "completion:completion", "Print a shell's completion script"),
    ],
}


def _complete_profile(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    from kled_client.cli.names import complete_profile

    return complete_profile(ctx, param, incomplete)


def _entries() -> dict[str, CommandEntry]:
    return {
        name: CommandEntry(target=f"{_HERE}.{target}", help=text, section=section)
        for section, lines in _COMMANDS.items()
        for name, target, text in lines
    }


@click.group(
    cls=LazyGroup,
    entries=_entries(),
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="First steps: kled login URL, then kled create dev, then kled ssh dev.",
)
@click.option(
    "--profile",
    metavar="NAME",
    help="Profile to use (or KLED_PROFILE).",
    shell_complete=_complete_profile,
)
@click.option(
    "--url", metavar="URL", help="Coordinator to use instead of the profile's (or KLED_URL)."
)
@click.option(
    *FLAGS, type=FORMATS, default="table", help=f"{HELP} Also accepted after the command."
)
@click.option("--verbose", "-v", is_flag=True, help="Log diagnostic messages to standard error.")
@click.version_option(SOFTWARE_VERSION, prog_name="kled", message="%(prog)s %(version)s")
@click.pass_context
def cli(
    ctx: click.Context, profile: str | None, url: str | None, output: str, verbose: bool
) -> None:
    """Development environments on any machine that can dial out."""
    if verbose:
        logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    asked = ctx.find_object(ErrorFormat)
    if asked is not None:
        remember_asked(ctx, asked)
    ctx.obj = Invocation.from_options(
        profile=profile, url=url, as_json=output == "json", verbose=verbose
    )


def run(arguments: list[str], asked: ErrorFormat) -> int:
    """Run the command line; returns the exit code. Raises KledError for wrong usage too."""
    # Known before the options are read: a wrong command line is an error as well.
    asked.as_json = is_json_asked(arguments)
    if VARIABLE in os.environ:
        register_shells()
    try:
        result = cli.main(arguments, prog_name="kled", standalone_mode=False, obj=asked)
    except click.exceptions.NoArgsIsHelpError as exc:
        click.echo(exc.message)  # the help itself
        return 0
    except click.UsageError as exc:
        where = f"{exc.ctx.command_path} --help" if exc.ctx else "kled --help"
        raise InputError("usage", exc.format_message().rstrip("."), hint=where) from exc
    except click.ClickException as exc:
        raise InputError("usage", exc.format_message()) from exc
    except click.Abort:
        return INTERRUPTED
    return result if isinstance(result, int) else 0
