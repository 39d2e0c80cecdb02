"""Parameters, fixed variables and texts of template versions, and of builds alone."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kled_coord.store.schema import UtcDateTime

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("templates") as templates:
        for name in ("display_name", "icon"):
            templates.add_column(sa.Column(name, sa.String(255), nullable=False, server_default=""))
    with op.batch_alter_table("template_versions") as versions:
        for name in ("fixed", "parameters", "presets"):
            versions.add_column(sa.Column(name, sa.JSON(), nullable=True))
        versions.add_column(sa.Column("fixed_sealed", sa.LargeBinary(), nullable=True))
        versions.add_column(sa.Column("readme", sa.Text(), nullable=False, server_default=""))
        versions.add_column(sa.Column("archived_at", UtcDateTime(), nullable=True))
    with op.batch_alter_table("builds") as builds:
        builds.add_column(sa.Column("ephemeral", sa.JSON(), nullable=True))
