"""The start that a restart's stop is followed by."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("then_start", sa.JSON()))
        builds.add_column(sa.Column("then_secrets_sealed", sa.LargeBinary()))
