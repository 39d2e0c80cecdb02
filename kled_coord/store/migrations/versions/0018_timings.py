"""How long the steps of a build took, and when its agents connected."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("timings", sa.JSON()))
    op.create_table(
        "agent_arrivals",
        sa.Column("build_id", sa.String(40), sa.ForeignKey("builds.id"), primary_key=True),
        sa.Column("agent_id", sa.String(40), sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("connected_at", sa.DateTime(timezone=True), nullable=False),
    )
