"""A busy worker hears of the end of a task at once."""

import os
import threading
import time
from types import SimpleNamespace

from kombu.asynchronous import Hub

from worker.presence import Presence


def test_the_end_of_a_task_in_a_thread_ends_the_sleep_of_the_event_loop():
    here, hub = Presence(), Hub()
    here.look_again()  # not connected yet: nothing is asleep
    here.attach(
        SimpleNamespace(hub=hub, app=SimpleNamespace(amqp=SimpleNamespace(queues=SimpleNamespace(consume_from=()))))
    )
    ear, mouth = os.pipe()
    hub.add_reader(ear, print)  # as the broker's connection, which says nothing
    loop = hub.create_loop()
    threading.Timer(0.05, here.look_again).start()
    start = time.monotonic()
    next(loop)
    assert time.monotonic() - start < 0.9  # the loop sleeps for a second
    hub.close()
    os.close(ear)
    os.close(mouth)
