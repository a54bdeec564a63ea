"""python -m service: the whole service until Ctrl-C. python -m service demo [--exit]: with a first job."""

import sys
import threading

from pydantic import ValidationError
from secateur import SecateurError

from service.demo import demo
from service.supervisor import CannotStart, Supervisor, running
from store.settings import settings


def main(arguments: list[str]) -> int:
    """Returns the exit code: 0, or 1 where the service could not start or the demo's job failed."""
    failures: list[BaseException] = []
    try:
        with running(settings()) as supervisor:
            print(f"Secateur is at {supervisor.url} (API: {supervisor.url}/docs). Ctrl-C stops it.", flush=True)
            if "demo" in arguments:
                threading.Thread(target=_demo, args=(supervisor, "--exit" in arguments, failures), daemon=True).start()
            supervisor.watch()
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except ValidationError as error:
        for problem in error.errors():
            where = "".join(f"SECATEUR_{field}: ".upper() for field in problem["loc"])
            print(f"error: {where}{problem['msg'].removeprefix('Value error, ')}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nstopped", flush=True)
    return 1 if failures else 0


def _demo(supervisor: Supervisor, ends: bool, failures: list[BaseException]) -> None:
    try:
        demo(supervisor.url)
    except (SecateurError, OSError) as error:
        failures.append(error)
        print(f"error: {error}", file=sys.stderr, flush=True)
    if ends:
        supervisor.stopping.set()
    else:
        print(f"Secateur stays at {supervisor.url}. Ctrl-C stops it.", flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
