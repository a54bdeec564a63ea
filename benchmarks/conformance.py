"""Every operation of the OpenAPI document against a running service, without keys and with one: schemathesis.

Usage: python -m benchmarks.conformance [--examples 30] [--seed 1]
A service of its own, with a model, a data set and a job that has ended: generated requests first, then requests for
what is there. With keys it is on PostgreSQL where SECATEUR_TEST_POSTGRES names one. Answers are held to
benchmarks/schemathesis.toml; a failure is printed with the request that makes it again.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.results import HOUSE, save
from tests.conftest import Service, postgres_url, save_npz, schema_of_its_own, tiny_model

CONFIG = HOUSE / "benchmarks" / "schemathesis.toml"
PLAN = {"budget": {"pruning_rate": 2}, "admm": {"rounds": 1}, "retrain": {"epochs": 1}}
UNLIMITED = {"max_requests_a_minute": "0", "max_wrong_keys_a_minute": "0"}  # 429 is an answer, but says little


@dataclass(frozen=True)
class Filled:
    """A service, the key that is sent, and what is there by the names of the document's parameters."""

    url: str
    key: str
    there: dict[str, str]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=30, help="of each operation, beside the systematic ones")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    start = time.monotonic()
    with ThreadPoolExecutor() as threads:
        both = threads.map(lambda has_keys: _both(has_keys, arguments.examples, arguments.seed), (False, True))
        runs = {name: run for found in both for name, run in found.items()}
    save("conformance", _summary(runs, arguments.seed, start))
    sys.exit(any(run["failures"] or run["errors"] for run in runs.values()))


def _both(has_keys: bool, examples: int, seed: int) -> dict[str, dict[str, Any]]:
    """Requests of all kinds, then those for what is there."""
    keys = "with a key" if has_keys else "without keys"
    with _filled(has_keys) as service:
        return {
            f"{keys}, generated ids": _run(service, {}, examples, seed),
            f"{keys}, ids that are there": _run(service, service.there, examples, seed),
        }


@contextmanager
def _filled(has_keys: bool) -> Iterator[Filled]:
    database = schema_of_its_own() if has_keys and postgres_url() else nullcontext("")
    with tempfile.TemporaryDirectory() as folder, database as url:
        service = Service(Path(folder), database_url=url, auth=str(has_keys).lower(), **UNLIMITED).start()
        try:
            key = service.new_key("anna", "--scope", "admin") if has_keys else ""
            service.http.headers.update({"Authorization": f"Bearer {key}"} if key else {})
            model = service.upload("models", tiny_model().SerializeToString())
            dataset = service.upload("datasets", save_npz(Path(folder) / "tiny.npz").read_bytes())
            job = service.post_job(PLAN, model_id=model, dataset_id=dataset)
            assert service.ended(job)["status"] == "succeeded"
            yield Filled(service.url, key, {"model_id": model, "dataset_id": dataset, "job_id": job})
        finally:
            service.stop()


def _run(service: Filled, there: dict[str, str], examples: int, seed: int) -> dict[str, Any]:
    """Schemathesis' own report. Where ids are given nothing is removed: the others have to find it."""
    with tempfile.TemporaryDirectory() as folder:
        config, report = Path(folder) / "schemathesis.toml", Path(folder) / "report.json"
        given = "".join(f'"path.{name}" = "{id}"\n' for name, id in there.items())
        config.write_text(f"{CONFIG.read_text()}\n[parameters]\n{given}")
        command = [sys.executable, "-m", "schemathesis.cli", "--config-file", str(config), "run"]
        command += [f"{service.url}/openapi.json", "--checks", "all", "--max-examples", str(examples)]
        command += ["--seed", str(seed), "--continue-on-failure", "--no-shrink", "--warnings", "off"]
        command += ["--phases", "fuzzing" if there else "examples,coverage,fuzzing,stateful"]
        command += ["--exclude-method", "DELETE"] if there else []
        command += ["--header", f"Authorization: Bearer {service.key}"] if service.key else []
        command += ["--request-timeout", "60", "--report", "json", "--report-json-path", str(report)]
        environment = os.environ | {"PYTHONPATH": str(HOUSE)}  # of the hooks
        done = subprocess.run(command, cwd=folder, env=environment, stdout=subprocess.PIPE, text=True, check=False)
        print(done.stdout, flush=True)  # at once, as another runs beside it
        return json.loads(report.read_text())


def _summary(runs: dict[str, dict[str, Any]], seed: int, start: float) -> dict[str, Any]:
    kinds = [f"{name}: {f['code']} {f['title']}" for name, run in runs.items() for f in run["failures"]]
    return {
        "schemathesis": version("schemathesis"),
        "seed": seed,
        "operations": min(run["operations"]["tested"] for run in runs.values() if run["operations"]["tested"]),
        "requests": sum(run["test_cases"]["generated"] for run in runs.values()),
        **{f"requests, {name}": run["test_cases"]["generated"] for name, run in runs.items()},
        "answers of 500 and above": sum("Server error" in kind for kind in kinds),
        "breaches of the contract": sum(run["test_cases"]["unique_failures"] for run in runs.values()),
        "runs that broke off": sum(len(run["errors"]) for run in runs.values()),
        "seconds": round(time.monotonic() - start),
        "kinds of breaches": kinds,
    }


if __name__ == "__main__":
    main()
