"""secateur-admin storage."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from admin.printed import Json, Sentences, document, objects, size
from store import backup as backups
from store.audit import audit

app = typer.Typer(help="Rows and files: backup, restore, check.", no_args_is_help=True, cls=Sentences)
Folder = Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the backup.")]
FilesOnly = Annotated[
    bool, typer.Option("--files-only", help="The database is dumped, or restored, by other means, and before this.")
]


@app.command()
def backup(folder: Folder, files_only: FilesOnly = False, json: Json = False) -> None:
    """Rows and files into a new folder, while the service runs; 1 where files are missing or damaged."""
    made = backups.backup(folder, files_only)
    if json:
        document(asdict(made))
    else:
        what = "the files alone" if made.database is None else f"the {made.database} database"
        typer.echo(f"{folder} holds {what}, {made.files} files ({size(made.bytes)}), {made.checkpoints} checkpoints")
    for sha256 in made.missing:
        typer.echo(f"error: file {sha256} is missing or damaged; `secateur-admin storage check` says whose", err=True)
    if made.missing:
        raise typer.Exit(1)


@app.command()
def restore(folder: Folder, files_only: FilesOnly = False, json: Json = False) -> None:
    """A backup into an empty database and storage, while no service runs on them."""
    restored = backups.restore(folder, files_only)
    if json:
        document(asdict(restored))
    else:
        typer.echo(f"{restored.files} files are back; jobs that go on when workers start: {len(restored.queued)}")


@app.command()
def check(json: Json = False) -> None:
    """Every file that a row names is read and held against its hash; 1 where one is missing or damaged."""
    found = list(audit())
    if json:
        objects(found)
    for finding in found if not json else ():
        typer.echo(finding.text)
    if not found and not json:
        typer.echo("every row has its files, and every file its row")
    if any(finding.is_wrong for finding in found):
        raise typer.Exit(1)
