"""Ends what still runs on this machine of a workspace that is stopped or deleted.

Terraform destroys what its state knows. A Terraform or a coordinator that was killed, a database
restored from a backup, a provisioner that left a daemon behind: each leaves processes that no
state knows. Providers end what they have a record of, and everything else is known by its mark.
"""

from __future__ import annotations

import re
from typing import Final

from kled_coord.builds.host import BuildHost
from kled_coord.builds.job import Reporter
from kled_coord.terraform.process.leftovers import Choice, end_processes, marked
from kled_coord.terraform.providers import load_providers
from kled_wire.names import WorkspaceId

# The variable that says which workspace a process is of. `kled_process` sets it (docs/provider.md),
# and so does every run of Terraform.
WORKSPACE_MARK: Final = "KLED_WORKSPACE_ID"
_GRACE_S: Final = 10.0


async def end_leftovers(workspace_id: WorkspaceId, host: BuildHost, reporter: Reporter) -> None:
    """End every process of the workspace. Raises KledError where one does not end."""
    for provider in load_providers():
        await provider.clear(host)
    ended = await end_processes(of_workspace(workspace_id), grace_s=_GRACE_S)
    if ended:
        await reporter.line("warning", f"ended {ended} processes that were left running")


def of_workspace(workspace_id: WorkspaceId) -> Choice:
    """Choose the processes of a workspace."""
    # Earlier versions set no mark, but told each agent a directory with the workspace's id in it.
    return marked(
        re.compile(
            rb"%(mark)s=%(id)s|KLED_AGENT_STATE_DIR=.*/%(id)s/.*"
            % {b"mark": WORKSPACE_MARK.encode(), b"id": re.escape(workspace_id.encode())},
            re.DOTALL,
        )
    )
