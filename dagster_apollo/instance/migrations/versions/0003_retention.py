"""What retention has begun: runs whose events are to follow them, snapshots that no run uses."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the tables."""
    for table, key, moment in (
        ("apollo_pruned_run", "run_id", "pruned_at"),
        ("apollo_unused_snapshot", "snapshot_id", "marked_at"),
    ):
        op.create_table(
            table,
            sa.Column(key, sa.Text, primary_key=True),
            sa.Column(
                moment, sa.DateTime(timezone=True), nullable=False, server_default=sa.func.now()
            ),
        )


def downgrade() -> None:
    """Drop the tables."""
    op.drop_table("apollo_unused_snapshot")
    op.drop_table("apollo_pruned_run")
