"""Names of versions, and what a template says of its workspaces: when they stop, whose they are."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("template_versions") as versions:
        versions.add_column(sa.Column("name", sa.String(40), nullable=True))
    # An index: for a constraint SQLite needs a new table, and builds refer to the old one.
    op.create_index(
        "template_versions_name", "template_versions", ["template_id", "name"], unique=True
    )
    with op.batch_alter_table("templates") as templates:
        templates.add_column(sa.Column("stop_after_s", sa.Integer(), nullable=True))
        templates.add_column(
            sa.Column("usable_by", sa.String(20), nullable=False, server_default="everybody")
        )
