"""The time, in one place: tests replace it."""

import asyncio
import time

now = time.monotonic
sleep = time.sleep
asleep = asyncio.sleep
