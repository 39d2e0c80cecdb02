"""`kled cp`: files in and out, over sftp."""

from __future__ import annotations

from functools import partial

import click

from kled_client.cli.context import Session, pass_session
from kled_client.interrupt import run
from kled_client.output import Meter
from kled_client.remote_path import CopyPlan, plan_copy
from kled_wire.errors import InputError, KledError, NotFoundError


@click.command()
@click.option("-r", "recurse", is_flag=True, help="Copy directories with what is in them.")
@click.argument("paths", nargs=-1, required=True, metavar="SRC... DST")
@pass_session
def cp(session: Session, recurse: bool, paths: tuple[str, ...]) -> int:
    """Copy SRC to DST; one side is WORKSPACE:path.

    Remote paths are relative to the home directory. Times and modes are kept. A local name with
    a colon is written ./like:this.
    """
    return run(partial(_copy, session, plan_copy(paths), recurse))


async def _copy(session: Session, plan: CopyPlan, recurse: bool) -> None:
    import asyncssh  # noqa: PLC0415  # only when it runs

    from kled_client.ssh import aio  # noqa: PLC0415

    async with session.ssh(plan.workspace) as connection:
        sftp = await aio(connection.start_sftp_client)
        move = sftp.put if plan.upload else sftp.get
        try:
            with session.output.progress("copying") as meter:
                await aio(
                    move,
                    list(plan.sources) if len(plan.sources) > 1 else plan.sources[0],
                    plan.target,
                    preserve=True,
                    recurse=recurse,
                    progress_handler=_show(meter),
                )
        except (asyncssh.SFTPError, OSError) as exc:
            raise _explain(exc, plan, recurse=recurse) from exc
        finally:
            sftp.exit()


class _show:  # noqa: N801  # used as the function it is
    """asyncssh's progress handler: sizes in bytes, one file at a time."""

    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __call__(self, source: bytes, _target: bytes, done: int, total: int) -> None:
        name = source.rpartition(b"/")[2].decode("utf-8", "replace")
        self._meter.update(done, total, name)


def _explain(exc: Exception, plan: CopyPlan, *, recurse: bool) -> KledError:
    """Say which file it was, on which side."""
    import asyncssh  # noqa: PLC0415

    reason = getattr(exc, "reason", None) or getattr(exc, "strerror", None) or str(exc)
    path = getattr(exc, "srcpath", None) or getattr(exc, "filename", None)
    # asyncssh does not always say which source; with one source it is that one.
    name = path.decode("utf-8", "replace") if isinstance(path, bytes) else path
    name = name or ", ".join(plan.sources)
    text = reason if name in reason else f"{name}: {reason}"
    if isinstance(exc, asyncssh.SFTPNoSuchFile | FileNotFoundError):
        return NotFoundError("file_not_found", text)
    if reason.endswith("is a directory") and not recurse:
        # asyncssh refuses with its general failure and these words.
        return InputError("is_a_directory", text, hint="kled cp -r copies directories")
    return KledError("copy_failed", f"{plan.workspace}: {text}")
