"""Who has pushed a version of a state."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("states") as states:
        states.add_column(sa.Column("pushed_by", sa.String(40)))
