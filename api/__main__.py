"""python -m api: the API on SECATEUR_HOST and SECATEUR_PORT, or on a socket that --fd names."""

import argparse
import socket
import sys
from contextlib import suppress

import uvicorn

from store import logs
from store.settings import settings

if __name__ == "__main__":
    arguments = argparse.ArgumentParser(prog="python -m api", description="The API alone.")
    arguments.add_argument("--fd", type=int, help="the number of an inherited socket that listens")
    fd: int | None = arguments.parse_args().fd
    logs.configure()
    config = uvicorn.Config(
        "api.app:create",
        factory=True,
        host=settings().host,
        port=settings().port or 8000,
        access_log=False,  # ours says more: api.requests
        log_config=None,
        timeout_graceful_shutdown=3,  # open event streams must not hold the end up
    )
    server = uvicorn.Server(config)
    with suppress(KeyboardInterrupt):
        server.run(sockets=None if fd is None else [socket.socket(fileno=fd)])
    if not server.started:
        sys.exit("the API did not start")
