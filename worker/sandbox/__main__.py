"""python -m worker.sandbox: whether processes can be confined here that talk to each other; 1, and why not."""

import sys

from worker import sandbox
from worker.sandbox.kernel import Unavailable

try:
    sandbox.leave_together()
except Unavailable as error:
    sys.exit(str(error))
