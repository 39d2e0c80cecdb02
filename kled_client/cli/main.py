"""The root of the command line: the global options and the list of commands."""

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
from kled_wire.version import software_version

_HERE = "kled_client.cli"


# Heading → (name, module:attribute, its line in the help).
_COMMANDS = {
    "Sign in": [
        ("login", "login:login", "Sign in to a coordinator"),
        ("logout", "login:logout", "Revoke the token and forget it"),
        ("whoami", "login:whoami", "Show who you are and where"),
        ("profile", "profile:profile", "List the sign-ins of this machine"),
    ],
    "Workspaces": [
        ("create", "workspace:create", "Make a workspace and wait until it can be used"),
        ("list", "workspace:list_", "List your workspaces"),
        ("show", "workspace:show", "Show one workspace"),
        ("start", "workspace:start", "Start a stopped workspace"),
        ("update", "workspace:update", "Bring a workspace to another version of its template"),
        ("stop", "workspace:stop", "Stop a workspace; its volumes stay"),
        ("delete", "workspace:delete", "Destroy a workspace and what is in it"),
        ("logs", "logs:logs", "Show the log of a build"),
        ("cancel", "cancel:cancel", "Stop a build that waits or goes on"),
        ("workspace", "workspace:workspace", "The same, as a group of commands, and more"),
    ],
    "Work inside": [
        ("ssh", "shell:ssh", "Open a shell, or run a command with a terminal"),
        ("exec", "shell:exec_", "Run a command without a terminal"),
        ("session", "session:session", "Named shells that outlive their connections"),
        ("forward", "forward:forward", "Reach ports of the workspace from here"),
        ("ports", "forward:ports", "List what listens in the workspace"),
        ("up", "up:up", "Hold up what a project's .kled.toml names"),
        ("cp", "cp:cp", "Copy files in and out"),
        ("open", "open:open_", "Open an editor in the workspace"),
        ("status", "status:status", "Show where you are and which path leads to the workspace"),
        ("ping", "ping:ping", "Measure the way to the workspace"),
        ("config-ssh", "config_ssh:config_ssh", "Let plain ssh, scp, rsync and IDEs in"),
        ("ssh-cert", "ssh_cert:ssh_cert", "Renew the SSH certificate where that is due"),
        ("stream", "stream:stream", "The byte stream that ssh's ProxyCommand uses"),
        ("known-hosts", "known_hosts:known_hosts", "Print a workspace's host key, to pin it"),
    ],
    "Administration": [
        ("template", "template:template", "List and push templates"),
        ("user", "user:user", "Manage users"),
        ("token", "token:token", "Manage your API tokens"),
        ("key", "key:key", "Register public keys for clients without certificates"),
    ],
    "Other": [
        ("doctor", "doctor:doctor", "Check the way to the coordinator and say what is blocked"),
        ("help", "help:help_", "Show the help of a command"),
        ("version", "version:version", "Show versions, here and there"),
        ("completion", "completion:completion", "Print a shell's completion script"),
    ],
}


def _complete_profile(
    ctx: click.Context, param: click.Parameter, incomplete: str
) -> list[CompletionItem[str]]:
    from kled_client.cli.names import complete_profile  # noqa: PLC0415  # start-up time

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
    help="Which stored sign-in to use (or KLED_PROFILE).",
    shell_complete=_complete_profile,
)
@click.option("--url", metavar="URL", help="Another coordinator than the profile's (or KLED_URL).")
@click.option(*FLAGS, type=FORMATS, default="table", help=f"{HELP} Also after the command.")
@click.option("--verbose", "-v", is_flag=True, help="Show more of what happens.")
@click.version_option(software_version(), prog_name="kled", message="%(prog)s %(version)s")
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
