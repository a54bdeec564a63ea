"""What tests share: small models and data, rows on real databases, a real service."""

import asyncio
import io
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import uuid
import zipfile
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import psutil
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper
from PIL import Image
from playwright.sync_api import Browser, sync_playwright
from pydantic import AliasChoices
from sqlalchemy import create_engine, text
from xdist.scheduler import LoadScopeScheduling

from store.settings import Settings

Result = TypeVar("Result")
HOUSE = Path(__file__).parent.parent
EXAMPLES = HOUSE / "examples"
ON_REDIS = (
    "tests/acceptance/test_operate.py",
    "tests/acceptance/test_production.py",
    "tests/integration/test_sweeper.py",
)
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
DATA = Path(os.environ.get("SECATEUR_DATA", HOUSE.parent / "shared" / "data"))


class TwoCores(LoadScopeScheduling):
    """A file at a time on each, those with real services first, as files of few tests last longest there: no core is
    idle at the end. Files that empty the test Redis go one after the other.
    """

    def __init__(self, config: pytest.Config, log: Any) -> None:
        super().__init__(config, log)
        config.option.loadscopereorder = False  # in the order of the folders: by number of tests, the longest came last

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "on Redis" if file in ON_REDIS else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoCores:
    return TwoCores(config, log)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def run_async(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """In a thread of its own: Playwright leaves a loop running in that of the tests."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


def save_npz(
    path: Path, examples: int = 200, shape: tuple[int, ...] = (1, 6, 6), classes: int = 3, **more: object
) -> Path:
    """A data set that a small net can learn: the class is the brightest row."""
    rng = np.random.default_rng(0)
    arrays: dict[str, object] = {}
    for split, n in (("train", examples), ("test", examples // 2)):
        y = rng.integers(0, classes, n)
        x = rng.random((n, *shape), dtype=np.float32) * 0.5
        x[np.arange(n), :, y % shape[1]] += 1
        arrays |= {f"x_{split}": x, f"y_{split}": y}
    np.savez(path, **{**arrays, **more})  # type: ignore[arg-type]
    return path


def pack(path: Path, files: Mapping[str, bytes]) -> Path:
    """A zip or tar archive, by the suffix of its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(name, content)
        return path
    with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as archive:
        for name, content in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def png(pixels: np.ndarray) -> bytes:
    """(H, W) or (H, W, 3) bytes as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def bytes_of_rows(examples: int = 120, classes: int = 3) -> dict[str, np.ndarray]:
    """As save_npz, but images of bytes, (N, 6, 6)."""
    rng = np.random.default_rng(0)
    arrays: dict[str, np.ndarray] = {}
    for split, n in (("train", examples), ("test", examples // 2)):
        y = rng.integers(0, classes, n)
        x = rng.integers(0, 80, (n, 6, 6)).astype(np.uint8)
        x[np.arange(n), y] += 170
        arrays |= {f"x_{split}": x, f"y_{split}": y}
    return arrays


def folders(arrays: Mapping[str, np.ndarray]) -> dict[str, bytes]:
    """These images as files in folders of classes, in their order."""
    return {
        f"{s}/class{y}/{i:04}.png": png(x)
        for s in ("train", "test")
        for i, (x, y) in enumerate(zip(arrays[f"x_{s}"], arrays[f"y_{s}"], strict=True))
    }


def tiny_model(classes: int = 3, opset: int = 17) -> ModelProto:
    """Conv, BatchNormalization, Relu, MaxPool, Flatten, Gemm on (N, 1, 6, 6)."""
    rng = np.random.default_rng(1)

    def tensor(name: str, *shape: int, fill: float | None = None) -> TensorProto:
        values = rng.standard_normal(shape) / 3 if fill is None else np.full(shape, fill)
        return numpy_helper.from_array(values.astype(np.float32), name)

    nodes = [
        helper.make_node("Conv", ["image", "conv1.weight"], ["c"], "conv1", pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", ["c", "bn.g", "bn.b", "bn.m", "bn.v"], ["n"], "bn"),
        helper.make_node("Relu", ["n"], ["r"], "relu"),
        helper.make_node("MaxPool", ["r"], ["p"], "pool", kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["f"], "flatten"),
        helper.make_node("Gemm", ["f", "fc.weight", "fc.bias"], ["logits"], "fc", transB=1),
    ]
    weights = [
        tensor("conv1.weight", 8, 1, 3, 3),
        *(tensor(f"bn.{k}", 8, fill=v) for k, v in {"g": 1, "b": 0, "m": 0, "v": 1}.items()),
        tensor("fc.weight", classes, 72),
        tensor("fc.bias", classes),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 6, 6])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture
def tiny() -> bytes:
    return tiny_model().SerializeToString()


@pytest.fixture
def tiny_data(tmp_path: Path) -> Path:
    return save_npz(tmp_path / "tiny.npz")


def postgres_url() -> str | None:
    """A PostgreSQL to test against, such as postgresql+psycopg://localhost/test."""
    return os.environ.get("SECATEUR_TEST_POSTGRES")


@contextmanager
def schema_of_its_own() -> Iterator[str]:
    """URL of an empty schema of the test PostgreSQL; dropped afterwards."""
    schema = f"test_{uuid.uuid4().hex}"
    admin = create_engine(postgres_url() or "", isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
        yield f"{postgres_url()}?options=-csearch_path%3D{schema}"
        connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
    admin.dispose()


def variables() -> set[str]:
    """Names of all settings in the environment."""
    found: set[str] = set()
    for name, field in Settings.model_fields.items():
        match field.validation_alias:
            case AliasChoices(choices=choices):
                found |= {str(choice) for choice in choices}
            case alias:
                found.add(str(alias or f"SECATEUR_{name.upper()}"))
    return found


def redis_url() -> str | None:
    """A Redis to test against, such as redis://localhost:6379/15; its queues are emptied."""
    return os.environ.get("SECATEUR_TEST_REDIS")


class Service:
    """`python -m service` in a process of its own."""

    command: tuple[str, ...] = (sys.executable, "-m", "service")

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("SECATEUR_")}
        self.environment |= {
            "SECATEUR_DATA_DIR": str(folder),
            "TMPDIR": str(folder / "tmp"),  # where tests can see what is left behind
            "SECATEUR_SWEEP_SECONDS": "1",
            "SECATEUR_LEASE_SECONDS": "4",
            "SECATEUR_GRACE_SECONDS": "1",
            "SECATEUR_WEBHOOK_HOSTS": "127.0.0.1",  # where tests receive
            "OMP_NUM_THREADS": "1",  # tiny nets: where a core is busy, two threads take three times as long as one
        }
        self.environment |= {f"SECATEUR_{k.upper()}": v for k, v in settings.items()}
        self.url = ""

    def start(self) -> "Service":
        (self.folder / "tmp").mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen(
            self.command,
            cwd=HOUSE,
            env=self.environment | {"PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if " is at " in line:
                self.url = line.split(" is at ")[1].split(" ")[0]
                self.http = httpx.Client(base_url=self.url, timeout=30)
                return self
        raise AssertionError(f"the service did not start:\n{self.logs()}")

    def logs(self) -> str:
        return "\n".join(f"== {p.name}\n{p.read_text()[-3000:]}" for p in (self.folder / "logs").glob("*.log"))

    def stop(self) -> int:
        self.process.terminate()
        code = self.process.wait(30)
        self.forget()
        return code

    def forget(self) -> None:
        """Close what this test process holds of a service that has ended."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.http.close()

    def pids(self, pattern: str) -> list[int]:
        """Processes of this service whose command line matches."""
        found = []
        for child in psutil.Process(self.process.pid).children(recursive=True):
            try:
                if pattern in " ".join(child.cmdline()):
                    found.append(child.pid)
            except psutil.NoSuchProcess:
                continue
        return found

    @contextmanager
    def paused(self, pid: int) -> Iterator[None]:
        """A process of this service that is there and does nothing."""
        os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(pid, signal.SIGCONT)

    def new_key(self, owner: str, *options: str) -> str:
        """Of a service that asks for keys; options: --scope read."""
        command = [sys.executable, "-m", "admin", "keys", "create", owner, *options]
        environment = os.environ | self.environment
        made = subprocess.run(command, cwd=HOUSE, env=environment, capture_output=True, text=True, check=True)
        return made.stdout.strip()

    def upload(self, noun: str, content: bytes, **parameters: object) -> str:
        """Upload and wait until it is ready; returns the id."""
        row = self.http.post(f"/v1/{noun}", content=content, params=parameters).json()  # type: ignore[arg-type]
        row = self.until(f"/v1/{noun}/{row['id']}", lambda r: r["status"] != "validating")
        assert row["status"] == "ready", row["problems"]
        return row["id"]

    def post_job(self, plan: Mapping[str, Any], **more: object) -> str:
        short = {"seconds": 0.2, **plan.get("deliver", {})}  # of timing
        response = self.http.post("/v1/jobs", json={"plan": {**plan, "deliver": short}, **more})
        assert response.status_code == 201, response.text
        return response.json()["id"]

    def until(self, path: str, is_so: Callable[[dict], bool], seconds: float = 90) -> dict:
        end, body = time.monotonic() + seconds, {}
        while time.monotonic() < end:
            body = self.http.get(path).json()
            if is_so(body):
                return body
            time.sleep(0.1)
        raise AssertionError(f"{path} is still {body}\n{self.logs()}")

    def ended(self, job_id: str, seconds: float = 120) -> dict:
        return self.until(f"/v1/jobs/{job_id}", lambda j: j["status"] in ("succeeded", "failed", "cancelled"), seconds)


@contextmanager
def part_of_a_service(command: Sequence[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen]:
    """A process of its own, such as a worker (service.parts.worker_command), killed at the end if it still runs."""
    with log.open("ab") as out:
        process = subprocess.Popen(command, cwd=HOUSE, env=dict(environment), stdout=out, stderr=out)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """One service on the embedded default for all tests that do not kill it."""
    running = Service(tmp_path_factory.mktemp("service")).start()
    yield running
    assert running.stop() == 0


@pytest.fixture
def name() -> str:
    return uuid.uuid4().hex


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A real Chromium, for a machine without network. One for all tests: a second would find a loop running."""
    if CHROMIUM is None:
        pytest.skip("no Chromium on this machine; CHROMIUM can name one")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield opened
        opened.close()
