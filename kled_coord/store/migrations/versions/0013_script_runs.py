"""The spec of an agent from its template, the runs of its scripts, and their output."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("agents") as agents:
        agents.add_column(sa.Column("spec_sealed", sa.LargeBinary(), nullable=True))
    op.create_table(
        "script_runs",
        sa.Column("agent_id", sa.String(40), sa.ForeignKey("agents.id"), primary_key=True),
        sa.Column("run", sa.String(40), primary_key=True),
        sa.Column("build_id", sa.String(40), sa.ForeignKey("builds.id"), nullable=False),
        sa.Column("script", sa.String(200), nullable=False),
        sa.Column("name", sa.String(200), nullable=False),
        sa.Column("stage", sa.String(10), nullable=False),
        sa.Column("state", sa.String(20), nullable=False),
        sa.Column("exit_code", sa.Integer()),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("blocks_login", sa.Boolean(), nullable=False),
        sa.Column("position", sa.Integer(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True)),
        sa.Column("duration_s", sa.Float(), nullable=False),
    )
    op.create_index("ix_script_runs_build_id", "script_runs", ["build_id"])
    op.create_table(
        "script_output",
        sa.Column("agent_id", sa.String(40), primary_key=True),
        sa.Column("run", sa.String(40), primary_key=True),
        sa.Column("start", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("size", sa.Integer(), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
    )
