"""Scopes, uses and ends of keys; quotas of accounts"""

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column('keys', sa.Column('name', sa.String(), nullable=True))
    op.add_column('keys', sa.Column('scope', sa.String(), nullable=False, server_default='write'))
    op.add_column('keys', sa.Column('last_used_at', sa.Float(), nullable=True))
    op.add_column('keys', sa.Column('expires_at', sa.Float(), nullable=True))
    op.add_column('keys', sa.Column('revoked_at', sa.Float(), nullable=True))
    op.create_table('quotas',
    sa.Column('owner', sa.String(), nullable=False),
    sa.Column('max_jobs_queued', sa.Integer(), nullable=True),
    sa.Column('max_jobs_running', sa.Integer(), nullable=True),
    sa.Column('max_bytes_stored', sa.BigInteger(), nullable=True),
    sa.Column('max_requests_a_minute', sa.Integer(), nullable=True),
    sa.PrimaryKeyConstraint('owner', name=op.f('pk_quotas'))
    )


def downgrade() -> None:

    op.drop_table('quotas')
    # what the older schema cannot say would become a key that may write
    op.execute("DELETE FROM keys WHERE revoked_at IS NOT NULL OR expires_at IS NOT NULL OR scope = 'read'")
    with op.batch_alter_table('keys', schema=None) as batch_op:
        for column in ('revoked_at', 'expires_at', 'last_used_at', 'scope', 'name'):
            batch_op.drop_column(column)
