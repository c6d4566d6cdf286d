"""Who executes each run: its heartbeat, and what became of it where the platform ended it."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_MOMENTS = ("started_at", "heartbeat_at", "ended_at", "lost_at", "requested_at", "settled_at")


def _moment(name: str) -> sa.Column[datetime]:
    return sa.Column(name, sa.DateTime(timezone=True))


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "apollo_run_worker",
        sa.Column(
            "run_id", sa.Text, sa.ForeignKey("runs.run_id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("worker", sa.Text),
        sa.Column("server", sa.Text),
        sa.Column("host", sa.Text),
        sa.Column("pid", sa.Integer),
        sa.Column("beat_seconds", sa.Integer),
        sa.Column("lease_seconds", sa.Integer),
        *(_moment(name) for name in _MOMENTS),
        sa.Column("cause", sa.Text),
        sa.Column("verdict", sa.Text),
        sa.Column("resumed_by", sa.Text),
    )


def downgrade() -> None:
    """Drop the table."""
    op.drop_table("apollo_run_worker")
