"""The command `secateur-admin`: one file a noun."""

import sys

import typer
from pydantic import ValidationError
from sqlalchemy.exc import OperationalError, ProgrammingError

from admin import keys, quotas
from store.errors import StoreError

app = typer.Typer(name="secateur-admin", no_args_is_help=True, help=__doc__, pretty_exceptions_enable=False)
app.add_typer(keys.app, name="keys", help="API keys of accounts.")
app.add_typer(quotas.app, name="quotas", help="Limits of accounts.")


def main() -> None:
    """Run the command; what is wrong is said in a sentence, with exit code 1."""
    try:
        app()
    except StoreError as error:
        sys.exit(f"error: {error}")
    except (OperationalError, ProgrammingError) as error:
        first = str(error.orig).strip().split("\n")[0]
        sys.exit(f"error: the database does not answer, or was not migrated with `python -m store.migrate` ({first})")
    except ValidationError as error:
        sys.exit(f"error: {'; '.join(problem['msg'].removeprefix('Value error, ') for problem in error.errors())}")
