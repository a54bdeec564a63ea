"""The first job: the digits at 20x, through the service's own HTTP, with the client that users have."""

import sys
from pathlib import Path
from typing import Any

from secateur import Job, Secateur

HOUSE = Path(__file__).parent.parent
PLAN = {"budget": {"pruning_rate": 20}}


def demo(url: str, out: Path = Path("out")) -> None:
    """Upload, prune, download, print a table.

    Raises: secateur.SecateurError: the service refused something, or the job failed.
    """
    with Secateur(url) as client:
        _run(client, url, out)


def _run(client: Secateur, url: str, out: Path) -> None:
    examples = HOUSE / "examples"
    job = client.prune(examples / "digits.onnx", examples / "digits.npz", plan=PLAN, name="digits at 20x")
    job.wait(_show)
    print(file=sys.stderr)
    job.download(out, "pruned.onnx", "report.json")
    print(_table(job.report()))
    print(f"{out}/pruned.onnx and {out}/report.json are written; the job is at {url}/jobs/{job.id}", flush=True)


def _show(job: Job) -> None:
    """One line that is written over: where the job is."""
    state = job.state
    done = round(30 * state["progress"])
    text = f"\r[{'#' * done}{'.' * (30 - done)}] {state['progress']:4.0%} {state['phase'] or state['status']:<10}"
    print(text, end="", file=sys.stderr, flush=True)


def _table(report: dict[str, Any]) -> str:
    accuracy, size = report["accuracy"], report["compression"]
    latency, packed = report["latency"], size["bytes"]["packed"]
    beside = f"{size['bytes']['pruned_gzip']:,} gzipped" if packed is None else f"{packed:,} packed"
    rows = [
        ("", "dense", "pruned"),
        (f"top-1 on {accuracy['examples']:,} test images", f"{accuracy['dense']:.2%}", f"{accuracy['pruned']:.2%}"),
        ("weights kept", f"{size['weights_total']:,}", f"{size['weights_kept']:,} ({size['pruning_rate']:.1f}x)"),
        ("bytes", f"{size['bytes']['dense']:,}", f"{size['bytes']['pruned']:,} ({beside})"),
        ("milliseconds, one thread", f"{latency['dense_ms']:.3f}", f"{latency['pruned_ms']:.3f}"),
    ]
    return "\n".join(f"{name:<30}{dense:>12}  {pruned}" for name, dense, pruned in rows)
