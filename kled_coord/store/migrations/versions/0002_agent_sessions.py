"""The directory and environment of an agent's sessions, from its template."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("agents") as agents:
        agents.add_column(sa.Column("environment", sa.JSON(), nullable=True))
        agents.add_column(sa.Column("directory", sa.Text(), nullable=True))
