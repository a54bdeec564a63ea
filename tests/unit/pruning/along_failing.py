"""A second process that has no memory left in the middle of training, as only one of several devices might have."""

import sys

from pruning import launch
from pruning.batches import Batch, Batches
from pruning.errors import OutOfMemory

STEP = 7
AT = Batches.at


def failing(self: Batches, step: int) -> Batch:
    if step == STEP:
        raise OutOfMemory
    return AT(self, step)


if __name__ == "__main__":
    Batches.at = failing
    sys.exit(launch.main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])))
