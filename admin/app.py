"""The command `secateur-admin`: one file a noun."""

import typer

from admin import check, jobs, queue, storage, workers

app = typer.Typer(name="secateur-admin", no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(check.app)
app.add_typer(workers.app, name="workers")
app.add_typer(jobs.app, name="jobs")
app.add_typer(queue.app, name="queue")
app.add_typer(storage.app, name="storage")
