"""`kled ssh` and `kled exec`: run programs in a workspace on the local standard streams."""

from __future__ import annotations

import os
import shlex
import sys
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from typing import Final

import click
import trio

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import workspace_argument
from kled_client.cli.session import complete_session
from kled_client.report import only_cause
from kled_client.terminal.interrupt import run
from kled_client.terminal.session import LEFT, Attachment, TypedAhead, run_session
from kled_client.terminal.tty import WAIT_VARIABLE, raw_mode, sent_environment, size
from kled_wire.errors import InputError, KledError, UnavailableError
from kled_wire.names import WorkspaceRef, check_name
from kled_wire.resume.retry import WORKSPACE_STOPPED, is_final
from kled_wire.ssh.subsystems import SESSION_MODE_VARIABLE, SESSION_VARIABLE
from kled_wire.text import printable

# An agent that is restarted is back within seconds, a workspace that was stopped is not.
REATTACH_S: Final = 120.0
REATTACH_PAUSE_S: Final = 1.0


def _ask_to_wait(ctx: click.Context, _param: click.Parameter, no_wait: bool) -> None:
    """Have sessions of this invocation ask the agent to wait for scripts, or not."""
    if isinstance(ctx.obj, Invocation):
        env = {**ctx.obj.env, WAIT_VARIABLE: "0" if no_wait else "1"}
        ctx.obj = replace(ctx.obj, env=env)


_no_wait = click.option(
    "--no-wait",
    is_flag=True,
    expose_value=False,
    callback=_ask_to_wait,
    help="Do not wait for startup scripts.",
)
_command_argument = click.argument("command", nargs=-1, type=click.UNPROCESSED)
# Options after WORKSPACE belong to the command, as in ssh(1).
_SETTINGS = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_SETTINGS)
@click.option("-A", "forward_agent", is_flag=True, help="Forward your SSH agent to the workspace.")
@click.option("-t/-T", "terminal", default=None, help="Force a terminal (-t) or disable it (-T).")
@click.option(
    "--session",
    "name",
    metavar="NAME",
    help="Attach to a named session that survives disconnection.",
    shell_complete=complete_session,
)
@click.option("--read-only", is_flag=True, help="With --session: show the terminal, send no input.")
@click.option(
    "--predict",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    help="Show typed keys before the workspace echoes them; auto: on slow networks.",
)
@_no_wait
@workspace_argument
@_command_argument
@pass_invocation
def ssh(
    invocation: Invocation,
    forward_agent: bool,
    terminal: bool | None,
    name: str | None,
    read_only: bool,
    predict: str,
    workspace: WorkspaceRef,
    command: tuple[str, ...],
) -> int:
    """Open a shell in WORKSPACE, or run COMMAND in the workspace's shell.

    The exit status is the command's; 128 plus the number of a signal; 255 if the connection broke.
    ~. at the start of a line closes the connection.

    --session NAME attaches to a named shell, which is created if needed. It survives
    disconnection, and several clients can attach at once. At the start of a line ~d detaches and
    ~? lists the keys. The exit status after detaching is 0.
    """
    name, read_only, command = late_options(name, read_only, command)
    if name is not None:
        attachment = named_session(name, read_only, command)
        return run(partial(_attach, invocation, workspace, attachment, forward_agent, predict))
    if read_only:
        raise InputError(
            "session_name_missing", "--read-only needs --session", hint="--session NAME"
        )
    wanted = sys.stdin.isatty() and not command if terminal is None else terminal
    line = " ".join(without_dashes(command)) or None
    return run(partial(run_line, invocation, workspace, line, wanted, forward_agent, predict))


@click.command("exec", context_settings=_SETTINGS)
@click.option(
    "--synced",
    is_flag=True,
    help="Sync saved files to the workspace before, and results back after.",
)
@_no_wait
@workspace_argument
@click.argument("command", nargs=-1, type=click.UNPROCESSED, required=True)
@pass_invocation
def exec_(
    invocation: Invocation, synced: bool, workspace: WorkspaceRef, command: tuple[str, ...]
) -> int:
    """Run COMMAND in WORKSPACE without a terminal and without a shell.

    The words of COMMAND are passed unchanged. Standard output and error stay separate; the exit
    status is the command's. For shell syntax: kled exec WORKSPACE -- sh -c '…'.
    """
    line = shlex.join(without_dashes(command))
    work = partial(run_line, invocation, workspace, line, False, False)
    if not synced:
        return run(work)
    from kled_client.sync.barrier import syncs_of

    names = syncs_of(invocation.env, workspace)
    _flush(invocation, names)
    code = run(work)
    _flush(invocation, names)
    return code


def _flush(invocation: Invocation, names: list[str]) -> None:
    """Wait until the syncs have brought over what was saved, and say what they could not."""
    from kled_client.cli.sync_flush import flush_sync

    for error in [flush_sync(invocation, name)[1] for name in names]:
        if error is not None:
            invocation.output.note(error.message)


def late_options(
    name: str | None, read_only: bool, command: tuple[str, ...]
) -> tuple[str | None, bool, tuple[str, ...]]:
    """--session and --read-only may also stand after the workspace: no command begins so."""
    words = list(command)
    while words and words[0].partition("=")[0] in {"--session", "--read-only"}:
        option, given, value = words.pop(0).partition("=")
        if option == "--read-only":
            read_only = True
        elif given or words:
            name = value if given else words.pop(0)
        else:
            raise InputError("session_name_missing", "--session needs a name")
    return name, read_only, tuple(words)


def named_session(name: str, read_only: bool, command: tuple[str, ...]) -> Attachment:
    """Raises InputError for names that cannot be, and for a command."""
    if command:
        raise InputError(
            "session_with_command",
            "a named session is a shell, not a command",
            hint="start the session, then run the command in it",
        )
    return Attachment(name=check_name("session", name), read_only=read_only)


async def _attach(
    invocation: Invocation,
    ref: WorkspaceRef,
    attachment: Attachment,
    forward_agent: bool,
    predict: str,
) -> int:
    """Attach, and again whenever the connection breaks: the session is still there.

    Raises what `invocation.ssh` does; once attached only after REATTACH_S without success.
    """
    tried_since: float | None = None
    while True:
        try:
            code = await _attach_once(invocation, ref, attachment, forward_agent, predict)
            if code != LEFT or not attachment.lost:
                return code
        except (KledError, BaseExceptionGroup) as exc:
            cause = only_cause(exc)
            if not may_pass(cause):
                raise
            since = trio.current_time() if tried_since is None else tried_since
            if not attachment.seen or trio.current_time() - since > REATTACH_S:
                raise
        if attachment.lost or tried_since is None:
            attachment.again()
            tried_since = trio.current_time()
            invocation.output.note(
                f"the connection to {ref} is lost; attaching again; Ctrl-C stops"
            )
        await trio.sleep(REATTACH_PAUSE_S)


def may_pass(cause: BaseException | None) -> bool:
    """Whether a named session may be reached again after `cause`.

    Streams that an agent has forgotten count: the session itself has outlived it.
    """
    if isinstance(cause, UnavailableError):
        return cause.code != WORKSPACE_STOPPED
    return isinstance(cause, KledError) and not is_final(cause, begun=True)


async def _attach_once(
    invocation: Invocation,
    ref: WorkspaceRef,
    attachment: Attachment,
    forward_agent: bool,
    predict: str,
) -> int:
    env = {
        **sent_environment(invocation.env),
        SESSION_VARIABLE: attachment.name,
        SESSION_MODE_VARIABLE: attachment.mode,
    }
    ahead = None if attachment.read_only else typed_ahead(predict)
    return await _run_channel(
        invocation,
        ref,
        None,
        env,
        terminal=True,
        forward_agent=forward_agent,
        ahead=ahead,
        named=attachment,
    )


def typed_ahead(predict: str) -> TypedAhead | None:
    """What shows keys before their echo, where there is a person and it is wanted."""
    output = sys.stdout.fileno()
    if predict == "never" or not (os.isatty(sys.stdin.fileno()) and os.isatty(output)):
        return None
    return TypedAhead(size(output)[0], always=predict == "always")


def tell_connection(ahead: TypedAhead | None, reason: str) -> None:
    """Say that the connection to the workspace is lost, and why, or is there again."""
    on_terminal = sys.stderr.isatty()
    if on_terminal and ahead is not None:
        ahead.disturb()
    leave = "~." if os.isatty(sys.stdin.fileno()) and on_terminal else "Ctrl-C"
    lost = f"the connection is lost ({printable(reason)}); trying again, {leave} gives up"
    # A terminal in raw mode wants the carriage return.
    before, after = ("\r\n", "\r\n") if on_terminal else ("", "\n")
    sys.stderr.write(f"{before}kled: {lost if reason else 'connected again'}{after}")
    sys.stderr.flush()


def without_dashes(command: tuple[str, ...]) -> tuple[str, ...]:
    """The command without the `--` that may stand between it and the workspace."""
    return command[1:] if command[:1] == ("--",) else command


async def run_line(
    invocation: Invocation,
    ref: WorkspaceRef,
    command: str | None,
    terminal: bool,
    forward_agent: bool,
    predict: str = "never",
) -> int:
    """Run a line of the workspace's shell, or the shell, on our streams; its exit status."""
    env = sent_environment(invocation.env)
    ahead = typed_ahead(predict) if terminal and command is None else None
    return await _run_channel(
        invocation, ref, command, env, terminal=terminal, forward_agent=forward_agent, ahead=ahead
    )


async def _run_channel(
    invocation: Invocation,
    ref: WorkspaceRef,
    command: str | None,
    env: dict[str, str],
    *,
    terminal: bool,
    forward_agent: bool,
    ahead: TypedAhead | None,
    named: Attachment | None = None,
) -> int:
    """Run a session on our streams, which are raw for one with a terminal; its exit status."""
    descriptor = sys.stdin.fileno()
    described = None
    if terminal:
        described = (invocation.env.get("TERM") or "xterm", *size(sys.stdout.fileno()))
    connecting = invocation.ssh(
        ref, forward_agent=forward_agent, on_change=partial(tell_connection, ahead)
    )
    async with connecting as connection:
        from kled_client.ssh.connection import open_channel  # `connecting` did

        channel = await open_channel(connection, command, env=env, terminal=described)
        with raw_mode(descriptor) if terminal and os.isatty(descriptor) else nullcontext():
            return await run_session(
                channel, descriptor, interactive=terminal, named=named, ahead=ahead
            )
