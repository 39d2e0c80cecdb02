"""Limits of one user, and the forced stop of a build, whichever process runs it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("max_workspaces", sa.Integer(), nullable=True))
        users.add_column(sa.Column("max_waiting_builds", sa.Integer(), nullable=True))
    with op.batch_alter_table("builds") as builds:
        builds.add_column(
            sa.Column("forced", sa.Boolean(), nullable=False, server_default=sa.false())
        )
