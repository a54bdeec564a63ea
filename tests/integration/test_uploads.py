"""Uploads and their rows."""

import pytest
from sqlalchemy import select

from api.problems import Problem
from api.routes.uploads import add
from store.artifacts import Blob
from store.database import reading, writing
from store.tables import Model


def test_an_upload_that_was_collected_before_it_had_its_row_is_asked_for_again(db):
    with pytest.raises(Problem) as refused, writing() as session:
        add(session, "model", "anna", {"name": "m"}, Blob("0" * 64, 1))
    assert (refused.value.status, refused.value.headers) == (503, {"Retry-After": "1"})
    with reading() as session:
        assert session.scalars(select(Model)).all() == []
