"""secateur models, secateur datasets."""

from typing import Annotated, Any

import typer

from secateur.cli import exits, output
from secateur.cli.options import Json, Key, Url, Yes, connected, data_argument, ids, model_argument
from secateur.cli.prune import option, require, upload_data, upload_model
from secateur.cli.removing import remove

models = typer.Typer(help="Models: list, look into, upload, remove.", no_args_is_help=True)
datasets = typer.Typer(help="Data sets: list, look into, upload, remove.", no_args_is_help=True)

ModelId = Annotated[str, typer.Argument(metavar="ID", help="mdl_...", autocompletion=ids("models"))]
ModelIds = Annotated[list[str], typer.Argument(metavar="ID...", help="mdl_...", autocompletion=ids("models"))]
DataId = Annotated[str, typer.Argument(metavar="ID", help="dat_...", autocompletion=ids("datasets"))]
DataIds = Annotated[list[str], typer.Argument(metavar="ID...", help="dat_...", autocompletion=ids("datasets"))]
Limit = Annotated[int, typer.Option(min=1, help="How many.")]
All = Annotated[bool, typer.Option("--all", help="All of them.")]


@models.command("ls")
def list_models(limit: Limit = 20, all: All = False, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Models, newest first."""
    with connected(url, key) as client:
        return _listing(client.models(None if all else limit), json)


@datasets.command("ls")
def list_datasets(limit: Limit = 20, all: All = False, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Data sets, newest first."""
    with connected(url, key) as client:
        return _listing(client.datasets(None if all else limit), json)


@models.command("show")
def show_model(id: ModelId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """What can be pruned in a model, layer by layer."""
    with connected(url, key) as client:
        row = client.model(id)
        analysis = client.analysis(id) if row["status"] == "ready" else None
    if json:
        output.document({**row, "analysis": analysis})
        return exits.DONE
    output.blocks(_facts(row))
    if analysis is not None:
        _show_analysis(analysis)
    return exits.DONE


@datasets.command("show")
def show_dataset(id: DataId, json: Json = False, url: Url = None, key: Key = None) -> int:
    """What a data set holds, and how it is read."""
    with connected(url, key) as client:
        row = client.dataset(id)
    if json:
        output.document(row)
        return exits.DONE
    reading = {k: v for k, v in row["preprocess"].items() if v is not None}
    output.blocks(
        [*_facts(row), ("format", row["format"]), ("read with", ", ".join(f"{k}={v}" for k, v in reading.items()))]
    )
    if summary := row["summary"]:
        output.blocks([("targets", summary.get("targets")), ("classes", summary.get("classes"))])
        output.say("")
        splits = [
            (k, output.numbers(v["examples"]), _shape(v["shape"]), v["dtype"]) for k, v in summary["splits"].items()
        ]
        output.table(("split", "examples", "shape", "dtype"), splits, right=(1,))
    return exits.DONE


@models.command("rm")
def rm_models(ids: ModelIds, yes: Yes = False, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Remove models that no job uses."""
    with connected(url, key) as client:
        return remove(ids, client.delete_model, yes, json)


@datasets.command("rm")
def rm_datasets(ids: DataIds, yes: Yes = False, json: Json = False, url: Url = None, key: Key = None) -> int:
    """Remove data sets that no job uses."""
    with connected(url, key) as client:
        return remove(ids, client.delete_dataset, yes, json)


@models.command("upload")
def add_model(
    file: Annotated[str, model_argument("ONNX file.")], json: Json = False, url: Url = None, key: Key = None
) -> int:
    """Upload a model and wait until it is examined."""
    require(file, "mdl")
    with connected(url, key) as client:
        id = upload_model(client, file)
        output.document(client.model(id)) if json else output.say(id)
    return exits.DONE


@datasets.command("upload")
def add_dataset(
    file: Annotated[str, data_argument("Data set file.")],
    format: Annotated[str | None, option("npz, imagefolder, parquet or idx; else guessed.")] = None,
    scale: Annotated[float | None, option("(x * scale - mean) / std.")] = None,
    mean: Annotated[str | None, option("One value, or one a channel.")] = None,
    std: Annotated[str | None, option("As --mean.")] = None,
    size: Annotated[str | None, option("Height,width of images.")] = None,
    fit: Annotated[str | None, option("stretch or crop.")] = None,
    color: Annotated[str | None, option("rgb or gray.")] = None,
    layout: Annotated[str | None, option("nchw or nhwc.")] = None,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Upload a data set and wait until it is examined."""
    require(file, "dat")
    options = {"format": format, "scale": scale, "mean": mean, "std": std, "size": size}
    options |= {"fit": fit, "color": color, "layout": layout}
    with connected(url, key) as client:
        id = upload_data(client, file, {k: v for k, v in options.items() if v is not None})
        output.document(client.dataset(id)) if json else output.say(id)
    return exits.DONE


def _listing(rows: Any, json: bool) -> int:
    if json:
        output.document(rows)
        return exits.DONE
    lines = [(r["id"], r["status"], output.numbers(r["bytes"]), output.numbers(r.get("jobs")), r["name"]) for r in rows]
    output.table(("id", "status", "bytes", "jobs", "name"), lines, right=(2, 3), spare=(3, 2))
    return exits.DONE


def _facts(row: Any) -> list[tuple[str, Any]]:
    return [
        ("id", row["id"]),
        ("name", row["name"]),
        ("status", row["status"]),
        ("problems", "; ".join(row["problems"])),
        ("bytes", output.numbers(row["bytes"])),
        ("sha256", row["sha256"]),
        ("created", row["created_at"]),
        ("jobs", row.get("jobs")),
    ]


def _show_analysis(analysis: dict[str, Any]) -> None:
    ports = {"inputs": analysis["inputs"], "outputs": analysis["outputs"]}
    named = [(k, "; ".join(f"{p['name']} {_shape(p['shape'])} {p['dtype']}" for p in v)) for k, v in ports.items()]
    totals = [(k.replace("_", "-"), output.numbers(analysis[k])) for k in ("weights", "multiply_adds")]
    output.blocks([*named, ("opset", analysis["opset"]), *totals])
    output.say("")
    rows = [
        (
            x["name"],
            x["kind"],
            _shape(x["shape"]),
            output.numbers(x["weights"]),
            output.numbers(x["multiply_adds"]),
            " ".join(x["patterns"]),
        )
        for x in analysis["layers"]
    ]
    headers = ("layer", "kind", "shape", "weights", "multiply-adds", "patterns")
    output.table(headers, rows, right=(3, 4), spare=(2, 1, 4))
    for text in analysis["warnings"]:
        output.note(f"warning: {text}")


def _shape(shape: list[int | None]) -> str:
    return "x".join("N" if n is None else str(n) for n in shape)
