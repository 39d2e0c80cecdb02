"""`kled doctor`: checks the connection to the coordinator and reports what is blocked."""

from __future__ import annotations

from functools import partial

import click

from kled_client.cli.context import Invocation, pass_invocation
from kled_client.cli.names import optional_workspace_argument
from kled_client.doctor import judge
from kled_client.doctor.examination import Examination
from kled_client.terminal.interrupt import run
from kled_wire.names import WorkspaceRef


@click.command()
@optional_workspace_argument
@pass_invocation
def doctor(invocation: Invocation, workspace: WorkspaceRef | None) -> int:
    """Check the connection to the coordinator, and with WORKSPACE the connection into it.

    Reports what is blocked and what is used instead. The exit code is 1 if a check failed; a
    warning is not a failure.
    """
    return run(partial(_doctor, invocation, workspace))


async def _doctor(invocation: Invocation, ref: WorkspaceRef | None) -> int:
    with invocation.output.progress("checking") as meter:
        examination = Examination(access=invocation, meter=meter)
        await examination.examine(ref)
    checks = examination.checks
    summary = judge.summarise(checks)
    if invocation.output.as_json:
        listed = [check.as_json() for check in checks]
        invocation.output.json({"ok": judge.works(checks), "summary": summary, "checks": listed})
    else:
        invocation.output.findings(
            [(c.name, c.finding.outcome.value, c.finding.found, c.finding.hint) for c in checks]
        )
        invocation.output.line("")
        invocation.output.line(summary)
    return 0 if judge.works(checks) else 1
