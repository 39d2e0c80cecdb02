"""The newest connections, found without a look at all of them."""

from __future__ import annotations

from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index("sessions_opened_at", "sessions", ["opened_at"])
