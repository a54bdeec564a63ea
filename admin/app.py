"""The command `secateur-admin`: one file a noun."""

import typer

from admin import check, jobs, keys, queue, quotas, storage, workers
from admin.printed import Sentences

app = typer.Typer(
    cls=Sentences, name="secateur-admin", no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False
)
app.add_typer(check.app)
app.add_typer(keys.app, name="keys", help="API keys of accounts.")
app.add_typer(quotas.app, name="quotas", help="Limits of accounts.")
app.add_typer(workers.app, name="workers")
app.add_typer(jobs.app, name="jobs")
app.add_typer(queue.app, name="queue")
app.add_typer(storage.app, name="storage")


def main() -> None:
    """Run the command; what is wrong is said in a sentence, with exit code 1."""
    app()
