"""Workers tell of themselves; when an upload was last of use"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:

    op.create_table('workers',
    sa.Column('id', sa.String(), nullable=False),
    sa.Column('host', sa.String(), nullable=False),
    sa.Column('queues', sa.JSON(), nullable=False),
    sa.Column('started_at', sa.Float(), nullable=False),
    sa.Column('seen_at', sa.Float(), nullable=False),
    sa.Column('busy_with', sa.String(), nullable=True),
    sa.Column('done', sa.Integer(), nullable=False),
    sa.Column('draining', sa.Boolean(), nullable=False),
    sa.Column('leaving', sa.Boolean(), nullable=False),
    sa.Column('version', sa.String(), nullable=False),
    sa.Column('facts', sa.JSON(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_workers'))
    )
    with op.batch_alter_table('workers', schema=None) as batch_op:
        batch_op.create_index(batch_op.f('ix_workers_seen_at'), ['seen_at'], unique=False)

    op.add_column('models', sa.Column('touched_at', sa.Float(), nullable=True))
    op.add_column('datasets', sa.Column('touched_at', sa.Float(), nullable=True))


def downgrade() -> None:

    for table in ('datasets', 'models'):
        with op.batch_alter_table(table, schema=None) as batch_op:
            batch_op.drop_column('touched_at')
    op.drop_table('workers')
