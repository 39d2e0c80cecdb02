"""Parameters belong to a build until it has succeeded; sensitive ones are sealed.

A workspace's version becomes the one that was applied last: it used to move when an update was
queued, whatever became of it.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_APPLIED = """
    SELECT b.version_id FROM builds b
    WHERE b.workspace_id = workspaces.id AND b.status = 'succeeded' AND b.transition <> 'delete'
    ORDER BY b.number DESC LIMIT 1
"""


def upgrade() -> None:
    with op.batch_alter_table("template_versions") as versions:
        versions.add_column(sa.Column("variables", sa.JSON(), nullable=True))
    with op.batch_alter_table("workspaces") as workspaces:
        workspaces.add_column(sa.Column("secrets_sealed", sa.LargeBinary(), nullable=True))
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("parameters", sa.JSON(), nullable=False, server_default="{}"))
        builds.add_column(sa.Column("secrets_sealed", sa.LargeBinary(), nullable=True))
    op.execute(
        "UPDATE builds SET parameters = "
        "(SELECT w.parameters FROM workspaces w WHERE w.id = builds.workspace_id) "
        "WHERE status IN ('pending', 'running', 'canceling')"
    )
    op.execute(f"UPDATE workspaces SET version_id = ({_APPLIED}) WHERE EXISTS ({_APPLIED})")  # noqa: S608  # no input
