"""The command `secateur-admin`: one file a noun."""

import typer

app = typer.Typer(name="secateur-admin", no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
