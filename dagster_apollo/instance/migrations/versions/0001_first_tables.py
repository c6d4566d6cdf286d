"""The first tables: compute logs, services, the audit log, tokens, sessions that were ended."""

from datetime import datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0001"
down_revision = None


def _moment(name: str, *, required: bool = True) -> sa.Column[datetime]:
    default = sa.func.now() if required else None
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=not required, server_default=default
    )


def upgrade() -> None:
    """Create the tables."""
    op.create_table(
        "apollo_compute_log",
        sa.Column("log_key", sa.Text(collation="C"), primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey("runs.run_id", ondelete="CASCADE")),
        sa.Column("length", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("complete", sa.Boolean, nullable=False, server_default="false"),
        _moment("created_at"),
        _moment("updated_at"),
    )
    op.create_index("apollo_compute_log_run_id", "apollo_compute_log", ["run_id"])
    op.create_table(
        "apollo_compute_log_chunk",
        sa.Column("log_key", sa.Text(collation="C"), primary_key=True),
        sa.Column("stream", sa.Text, primary_key=True),
        sa.Column("position", sa.BigInteger, primary_key=True),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["log_key", "stream"],
            ["apollo_compute_log.log_key", "apollo_compute_log.stream"],
            ondelete="CASCADE",
        ),
    )
    op.create_table(
        "apollo_service",
        sa.Column("id", sa.Text, primary_key=True),
        sa.Column("service", sa.Text, nullable=False),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("release", sa.Text, nullable=False),
        sa.Column("dagster_home", sa.Text, nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        _moment("started_at"),
        _moment("heartbeat_at"),
        _moment("stopped_at", required=False),
    )
    op.create_table(
        "apollo_audit",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        _moment("at"),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("role", sa.Text, nullable=False),
        sa.Column("method", sa.Text, nullable=False),
        sa.Column("action", sa.Text, nullable=False),
        sa.Column("target", sa.Text),
        sa.Column("allowed", sa.Boolean, nullable=False),
        sa.Column("remote", sa.Text),
        sa.Column("detail", JSONB),
    )
    op.create_index("apollo_audit_at", "apollo_audit", ["at"])
    op.create_table(
        "apollo_api_token",
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("digest", sa.Text, nullable=False, unique=True),
        sa.Column("role", sa.Text, nullable=False),
        _moment("created_at"),
        sa.Column("created_by", sa.Text, nullable=False),
        _moment("expires_at", required=False),
        _moment("last_used_at", required=False),
        _moment("revoked_at", required=False),
    )
    op.create_table(
        "apollo_revoked_session",
        sa.Column("session_id", sa.Text, primary_key=True),
        _moment("expires_at"),
    )
    op.alter_column("apollo_revoked_session", "expires_at", server_default=None)


def downgrade() -> None:
    """Drop the tables."""
    for table in (
        "apollo_revoked_session",
        "apollo_api_token",
        "apollo_audit",
        "apollo_service",
        "apollo_compute_log_chunk",
        "apollo_compute_log",
    ):
        op.drop_table(table)
