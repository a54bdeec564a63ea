"""secateur prune: from files to smaller files."""

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from secateur import Secateur
from secateur.cli import exits, output, watching
from secateur.cli.options import Json, Key, Out, Url, connected, data_argument, model_argument
from secateur.cli.screen import transfer
from secateur.formats import Format, guess
from secateur.plans import build, read
from secateur.sources import OnBytes, is_id


def option(text: str, *names: str, **more: Any) -> Any:
    """An option that need not be given."""
    return typer.Option(*names, help=text, show_default=False, **more)


HOW_FAR, HOW, READ = "How far (one of these, or in --plan)", "How", "How the data is read"


def prune(  # an option is an argument here: typer makes the one from the other
    model: Annotated[str, model_argument("ONNX file, or mdl_...")],
    data: Annotated[str, data_argument("Data set file, or dat_...")],
    rate: Annotated[
        float | None, option("Pruning rate: 20 keeps a twentieth of the weights.", min=1, rich_help_panel=HOW_FAR)
    ] = None,
    sparsity: Annotated[
        float | None, option("Share of zeros: 0.95 keeps a twentieth.", min=0, max=1, rich_help_panel=HOW_FAR)
    ] = None,
    max_drop: Annotated[
        float | None, option("Highest rate that loses at most so much: 0.005.", min=0, max=1, rich_help_panel=HOW_FAR)
    ] = None,
    multiply_adds: Annotated[
        float | None, option("Share of the multiply-adds that stays: 0.5.", min=0, max=1, rich_help_panel=HOW_FAR)
    ] = None,
    bytes: Annotated[int | None, option("Bytes of packed.onnx at most.", min=1, rich_help_panel=HOW_FAR)] = None,
    method: Annotated[str | None, option("direct, progressive, joint or gradual.", rich_help_panel=HOW)] = None,
    pattern: Annotated[str | None, option("unstructured, filter, column, ...", rich_help_panel=HOW)] = None,
    bits: Annotated[int | None, option("Bits of a kept weight.", min=1, rich_help_panel=HOW)] = None,
    plan: Annotated[
        Path | None,
        option("JSON plan; or manifest.json or report.json of an earlier job. Options go before.", rich_help_panel=HOW),
    ] = None,
    name: Annotated[str | None, option("Name of the job.")] = None,
    label: Annotated[list[str] | None, option("Label of the job; repeatable.")] = None,
    webhook: Annotated[str | None, option("https://... that is told of the job's end.")] = None,
    priority: Annotated[int, option("-10 to 10; higher goes first.")] = 0,
    format: Annotated[Format | None, option("Of the data set; else guessed.", rich_help_panel=READ)] = None,
    scale: Annotated[float | None, option("(x * scale - mean) / std.", rich_help_panel=READ)] = None,
    mean: Annotated[str | None, option("One value, or one a channel: 0.5,0.4,0.3.", rich_help_panel=READ)] = None,
    std: Annotated[str | None, option("As --mean.", rich_help_panel=READ)] = None,
    size: Annotated[str | None, option("Height,width of images: 224,224 or 224.", rich_help_panel=READ)] = None,
    fit: Annotated[Literal["stretch", "crop"] | None, option("Of images, to that size.", rich_help_panel=READ)] = None,
    color: Annotated[Literal["rgb", "gray"] | None, option("Of images.", rich_help_panel=READ)] = None,
    layout: Annotated[Literal["nchw", "nhwc"] | None, option("Of images.", rich_help_panel=READ)] = None,
    out: Out = Path("out"),
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="--no-wait: submit, print the id, leave.")] = True,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Prune a model: upload, wait, download, and a table of before and after."""
    given, reading = read(plan) if plan else ({}, {})
    budget = {"rate": rate, "sparsity": sparsity, "max_drop": max_drop, "multiply_adds": multiply_adds, "bytes": bytes}
    whole = build(given, budget, method=method, pattern=pattern, bits=bits)
    options = {"format": format, "scale": scale, "mean": mean, "std": std, "size": size}
    options |= {"fit": fit, "color": color, "layout": layout}
    asked = {k: v for k, v in options.items() if v is not None}
    for path, prefix in ((model, "mdl"), (data, "dat")):
        require(path, prefix)
    asked = asked if is_id(data, "dat") else {**reading, **asked}
    check_reading(data, asked)
    with connected(url, key) as client:
        client.check_plan(whole)  # before gigabytes are sent
        model_id = upload_model(client, model)
        dataset_id = upload_data(client, data, asked)
        job = client.submit(model_id, dataset_id, whole, name, label or [], webhook, priority)
        if not wait:
            output.document(job.state) if json else output.say(job.id)
            return exits.DONE
        output.note(f"{job.id} is at {job.url}")
        watching.follow(client, job)
        files = watching.download(job, out)
        if json:
            output.document({"job": job.state, "report": job.report(), "files": [str(f) for f in files]})
        else:
            watching.show_report(job.report())
            output.say(f"\n{out}: {', '.join(f.name for f in files)}")
        return watching.code_of(job)


def require(given: str, prefix: str) -> None:
    """Raises: typer.BadParameter: it is neither a file nor an id."""
    if not is_id(given, prefix) and not Path(given).is_file():
        what = "is a folder; pack it as a zip or tar" if Path(given).is_dir() else "is neither a file nor an id"
        raise typer.BadParameter(f"{given} {what}")


def upload_model(client: Secateur, model: str) -> str:
    """Upload a file with a bar, or wait for an id; returns the id."""
    with _sending(model, "mdl") as on_bytes:
        return client.upload_model(model, on_bytes=on_bytes)["id"]


def upload_data(client: Secateur, data: str, reading: dict[str, Any]) -> str:
    """Upload a file with a bar, or wait for an id; returns the id. Raises: typer.BadParameter."""
    check_reading(data, reading)
    with _sending(data, "dat") as on_bytes:
        return client.upload_dataset(data, on_bytes=on_bytes, **reading)["id"]


def _sending(given: str, prefix: str) -> AbstractContextManager[OnBytes | None]:
    if is_id(given, prefix):
        return nullcontext()
    name = Path(given).name
    return transfer(f"uploading {name}", f"examining {name}")


def check_reading(data: str, reading: dict[str, Any]) -> None:
    """Raises: typer.BadParameter: an id cannot be read another way; a file's format is anyone's guess."""
    if is_id(data, "dat") and reading:
        flags = ", ".join(f"--{name}" for name in reading)
        raise typer.BadParameter(f"{data} is there already: {flags} can be set only while uploading")
    if not is_id(data, "dat") and "format" not in reading and guess(Path(data)) is None:
        raise typer.BadParameter(f"what is in {data}? Say --format npz, imagefolder, parquet or idx")
