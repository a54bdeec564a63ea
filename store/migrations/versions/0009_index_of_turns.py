"""The index of waiting jobs in the order in which they are taken: the higher priority first"""

import sqlalchemy as sa
from alembic import op

revision = '0009'
down_revision = '0008'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.drop_index('jobs_in_turn', table_name='jobs')
    op.create_index('jobs_in_turn', 'jobs', ['status', sa.text('priority DESC'), 'turn', 'id'])


def downgrade() -> None:

    op.drop_index('jobs_in_turn', table_name='jobs')
    op.create_index('jobs_in_turn', 'jobs', ['status', 'priority', 'turn', 'id'])
