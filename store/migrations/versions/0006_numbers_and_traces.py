"""Numbers for /metrics, and the trace that a row belongs to"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table('tallies',
    sa.Column('name', sa.String(), nullable=False),
    sa.Column('label', sa.String(), nullable=False),
    sa.Column('count', sa.BigInteger(), nullable=False),
    sa.Column('total', sa.Float(), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('name', 'label', name=op.f('pk_tallies'))
    )
    for table in ('models', 'datasets', 'jobs'):
        op.add_column(table, sa.Column('trace', sa.String(), nullable=True))
    op.add_column('jobs', sa.Column('queued_at', sa.Float(), nullable=True))
    op.add_column('jobs', sa.Column('phase_since', sa.Float(), nullable=True))
    op.execute('UPDATE jobs SET queued_at = created_at')
    op.create_index('jobs_by_wait', 'jobs', ['status', 'queued_at'])


def downgrade() -> None:

    op.drop_index('jobs_by_wait', 'jobs')
    for column in ('phase_since', 'queued_at'):
        with op.batch_alter_table('jobs', schema=None) as batch_op:
            batch_op.drop_column(column)
    for table in ('models', 'datasets', 'jobs'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column('trace')
    op.drop_table('tallies')
