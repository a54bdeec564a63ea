"""secateur-admin keys and quotas, on a real database."""

import json
import sys

import pytest

from admin.app import main
from store import database
from store.settings import settings

COLUMNS = {"id", "owner", "name", "scope", "created_at", "last_used_at", "expires_at", "revoked_at"}


@pytest.fixture
def run(db, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """A command line; returns its exit code and what it printed, or what it said was wrong."""

    def ran(*command: str) -> tuple[object, str]:
        monkeypatch.setattr(sys, "argv", ["secateur-admin", *command])
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        assert not (printed.out and printed.err)
        return ended.value.code, printed.out or printed.err

    return ran


def test_a_key_from_making_to_revoking(run):
    code, secret = run("keys", "create", "anna", "--name", "laptop", "--scope", "read", "--expires", "7")
    assert code == 0 and secret.startswith("sct_") and secret.count("\n") == 1 and len(secret) == 48
    run("keys", "create", "bert")
    (key,) = json.loads(run("keys", "list", "--owner", "anna", "--json")[1])
    assert set(key) == COLUMNS and (key["name"], key["scope"], key["revoked_at"]) == ("laptop", "read", None)
    assert key["id"] in run("keys", "list")[1]  # whole, however narrow the terminal is
    code, said = run("keys", "revoke", key["id"])
    assert code == 0 and said == f"{key['id']} of anna is revoked\n"
    assert json.loads(run("keys", "list", "--json")[1])[1]["revoked_at"] is not None


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (("keys", "revoke", "key_no"), "error: there is no key key_no"),
        (("keys", "create", "a b"), "error: An owner's name begins with"),
    ],
)
def test_what_is_wrong_is_one_sentence(run, command: tuple[str, ...], says: str):
    code, said = run(*command)
    assert code == 1 and said.startswith(says) and said.count("\n") == 1


def test_a_database_that_was_not_migrated_is_said(run, tmp_path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECATEUR_DATABASE_URL", f"sqlite:///{tmp_path}/empty.db")
    database.engine().dispose()
    settings.cache_clear()
    database.engine.cache_clear()
    code, said = run("keys", "list")
    assert code == 1 and said.startswith("error: the database does not answer, or was not migrated")


def test_quotas_are_set_one_by_one_and_reset(run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SECATEUR_AUTH", "true")
    settings.cache_clear()
    run("quotas", "set", "anna", "--max-jobs-queued", "0")
    shown = json.loads(run("quotas", "set", "anna", "--max-bytes-stored", "9")[1])
    assert shown["own"] == {**dict.fromkeys(shown["own"]), "max_jobs_queued": 0, "max_bytes_stored": 9}
    assert shown["limits"]["max_jobs_queued"] is None and shown["limits"]["max_bytes_stored"] == 9
    assert shown["used"] == {"jobs_queued": 0, "jobs_running": 0, "bytes_stored": 0}
    run("quotas", "set", "anna", "--reset")
    assert json.loads(run("quotas", "show", "anna")[1])["limits"]["max_jobs_queued"] == settings().max_jobs_queued
