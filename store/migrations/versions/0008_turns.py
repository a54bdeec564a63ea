"""Turns of waiting jobs, queues by capability"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column('jobs', sa.Column('queue', sa.String(), nullable=False, server_default='cpu'))
    op.add_column('jobs', sa.Column('priority', sa.Integer(), nullable=False, server_default='0'))
    op.add_column('jobs', sa.Column('turn', sa.Integer(), nullable=False, server_default='0'))
    op.create_index('jobs_in_turn', 'jobs', ['status', 'priority', 'turn', 'id'])


def downgrade() -> None:

    op.drop_index('jobs_in_turn', table_name='jobs')
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        for name in ('turn', 'priority', 'queue'):
            batch_op.drop_column(name)
