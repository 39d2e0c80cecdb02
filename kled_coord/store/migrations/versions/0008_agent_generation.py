"""The kled_agent that an agent belongs to, so that an older one does not revoke it."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("agents") as agents:
        agents.add_column(sa.Column("generation", sa.String(40), nullable=False, server_default=""))
