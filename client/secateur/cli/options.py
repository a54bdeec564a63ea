"""Options that several commands have, and completion of ids."""

import glob
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

from secateur import Patience, Secateur, SecateurError

AT_ONCE = Patience(seconds=0, first_answer=0)
COMPLETION_SECONDS = 1
MOST = 100

Url = Annotated[
    str | None,
    typer.Option("--url", envvar="SECATEUR_URL", help="Address of the service (default: http://127.0.0.1:8000)."),
]
Key = Annotated[
    str | None,
    typer.Option("--key", envvar="SECATEUR_KEY", help="API key, where the service asks for one.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
Out = Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")]


@contextmanager
def connected(url: str | None, key: str | None) -> Iterator[Secateur]:
    """The service. Raises: typer.BadParameter: that is no address, or no key."""
    try:
        client = Secateur(url, key)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    with client:
        yield client


def ids(noun: str, with_files: bool = False) -> Callable[[typer.Context, str], list[str]]:
    """Completes ids of models, datasets or jobs; a service that is away has none."""

    def complete(ctx: typer.Context, incomplete: str) -> list[str]:
        typed = glob.glob(f"{glob.escape(incomplete)}*")  # noqa: PTH207  # names as they are typed, ./ and all
        files = [name + "/" * Path(name).is_dir() for name in typed] if with_files else []
        return files + [id for id in _known(noun, ctx.params) if id.startswith(incomplete)]

    return complete


def _known(noun: str, parameters: dict[str, Any]) -> list[str]:
    try:
        where = parameters.get("url"), parameters.get("key")
        with Secateur(*where, timeout=COMPLETION_SECONDS, patience=AT_ONCE) as client:
            if noun == "jobs":
                return [job.id for job in client.jobs(limit=MOST)]
            rows = client.models(MOST) if noun == "models" else client.datasets(MOST)
            return [row["id"] for row in rows]
    except (SecateurError, ValueError, LookupError):
        return []


def model_argument(text: str) -> Any:
    """A file or id of a model, as an argument."""
    return typer.Argument(help=text, autocompletion=ids("models", True), show_default=False)


def data_argument(text: str) -> Any:
    """A file or id of a data set, as an argument."""
    return typer.Argument(help=text, autocompletion=ids("datasets", True), show_default=False)


JobId = Annotated[str, typer.Argument(metavar="ID", help="job_...", autocompletion=ids("jobs"), show_default=False)]
JobIds = Annotated[
    list[str], typer.Argument(metavar="ID...", help="job_...", autocompletion=ids("jobs"), show_default=False)
]
