"""secateur plan."""

from pathlib import Path
from typing import Annotated

import typer

from secateur.cli import exits, output
from secateur.cli.options import Json, Key, Url, connected, ids
from secateur.cli.prune import require, upload_data, upload_model
from secateur.plans import check as check_budget
from secateur.plans import read

app = typer.Typer(help="Plans: check one, or see what one may say.", no_args_is_help=True)
Model = Annotated[str | None, typer.Option(help="ONNX file or mdl_...", autocompletion=ids("models", True))]
Data = Annotated[str | None, typer.Option(help="Data set file or dat_...", autocompletion=ids("datasets", True))]


@app.command()
def check(
    plan: Annotated[Path, typer.Argument(help="JSON plan, manifest.json or report.json.")],
    model: Model = None,
    data: Data = None,
    json: Json = False,
    url: Url = None,
    key: Key = None,
) -> int:
    """Hold a plan against a model and data without running it."""
    whole, reading = read(plan)
    check_budget(whole)
    for given, prefix in ((model, "mdl"), (data, "dat")):
        if given is not None:
            require(given, prefix)
    with connected(url, key) as client:
        model_id = upload_model(client, model) if model else None
        dataset_id = upload_data(client, data, {} if data.startswith("dat_") else reading) if data else None
        checked = client.check_plan(whole, model_id, dataset_id)
    if json:
        output.document(checked)
        return exits.DONE
    rows = [
        (x["name"], x["kind"], output.numbers(x["weights"]), _keeps(x["keeps"], x["excluded"]), x["pattern"])
        for x in checked.get("layers") or []
    ]
    if rows:
        output.table(("layer", "kind", "weights", "keeps", "pattern"), rows, right=(2, 3), spare=(1,))
    if (highest := checked["highest_rate"]) is not None:
        rate = f"{highest:,.0f}" if highest >= 100 else f"{highest:.3g}"
        output.say(f"a pruning rate of at most {rate}x is possible")
    output.note(_verdict(plan, model, data))
    return exits.DONE


@app.command()
def schema(json: Json = False, url: Url = None, key: Key = None) -> int:
    """JSON Schema of a plan (always JSON)."""
    with connected(url, key) as client:
        output.document(client.methods()["plan"])
    return exits.DONE


def _verdict(plan: Path, model: str | None, data: str | None) -> str:
    if model is None:
        return f"{plan} is a plan; whether it fits a model is said with --model, and the data too with --data"
    return f"{plan} fits {model} and {data}" if data else f"{plan} fits {model}; add --data to check that too"


def _keeps(keeps: int | None, is_excluded: bool) -> str:
    return "all" if is_excluded else "decided while training" if keeps is None else f"{keeps:,}"
