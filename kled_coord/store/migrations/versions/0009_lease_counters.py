"""The lease of a build is a number that its worker increments, not a time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("lease", sa.Integer(), nullable=False, server_default="0"))
        builds.drop_column("lease_until")
