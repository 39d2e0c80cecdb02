"""Ends of access: how often a user's was ended, and who set their password."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from kled_coord.store.schema import UtcDateTime

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("users") as users:
        users.add_column(sa.Column("endings", sa.Integer(), nullable=False, server_default="0"))
        users.add_column(sa.Column("password_set_at", UtcDateTime(), nullable=True))
        users.add_column(sa.Column("password_set_by", sa.String(40), nullable=True))
