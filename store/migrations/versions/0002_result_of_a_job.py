"""Result of a job, and its layers while it runs"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.add_column('jobs', sa.Column('result', sa.JSON(), nullable=True))
    op.add_column('jobs', sa.Column('layers', sa.JSON(), nullable=True))


def downgrade() -> None:

    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_column('layers')
        batch_op.drop_column('result')
