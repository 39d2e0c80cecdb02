"""Deadlines of one template."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("templates") as templates:
        templates.add_column(sa.Column("check_deadline_s", sa.Integer(), nullable=True))
        templates.add_column(sa.Column("build_quiet_s", sa.Integer(), nullable=True))
