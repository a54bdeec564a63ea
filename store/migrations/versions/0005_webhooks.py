"""Webhooks: where a job's end is told, what is on its way, and what it is signed with"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column('jobs', sa.Column('webhook_url', sa.String(), nullable=True))
    op.create_table(
        'deliveries',
        sa.Column('id', sa.String(), nullable=False),
        sa.Column('job_id', sa.String(), nullable=False),
        sa.Column('owner', sa.String(), nullable=False),
        sa.Column('host', sa.String(), nullable=False),
        sa.Column('url', sa.String(), nullable=False),
        sa.Column('type', sa.String(), nullable=False),
        sa.Column('payload', sa.String(), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('created_at', sa.Float(), nullable=False),
        sa.Column('next_at', sa.Float(), nullable=True),
        sa.Column('leased_until', sa.Float(), nullable=True),
        sa.Column('delivered_at', sa.Float(), nullable=True),
        sa.Column('gave_up_at', sa.Float(), nullable=True),
        sa.Column('last_error', sa.String(), nullable=True),
        sa.ForeignKeyConstraint(
            ['job_id'], ['jobs.id'], name=op.f('fk_deliveries_job_id_jobs'), ondelete='CASCADE'
        ),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_deliveries')),
    )
    op.create_index('deliveries_by_next', 'deliveries', ['next_at'])
    op.create_index(op.f('ix_deliveries_job_id'), 'deliveries', ['job_id'])
    op.create_table(
        'webhook_secrets',
        sa.Column('owner', sa.String(), nullable=False),
        sa.Column('secret', sa.String(), nullable=False),
        sa.Column('previous', sa.String(), nullable=True),
        sa.Column('previous_until', sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint('owner', name=op.f('pk_webhook_secrets')),
    )


def downgrade() -> None:

    op.drop_table('webhook_secrets')
    op.drop_table('deliveries')
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_column('webhook_url')
