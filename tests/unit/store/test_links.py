"""Signed addresses, against the example that Amazon gives."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from pydantic import ValidationError

from store.links import Signer
from store.settings import Settings

AT = datetime(2013, 5, 24, tzinfo=UTC)
SIGNER = Signer("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1")


def test_amazons_example() -> None:
    link = SIGNER.link("https://examplebucket.s3.amazonaws.com/test.txt", [], AT, 86400)
    assert link == (
        "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256"
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request"
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host"
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"
    )


def test_headers_and_a_token_are_signed_too() -> None:
    def signature(signer: Signer, *headers: tuple[str, str]) -> str:
        link = signer.link("https://s3/bucket/file", headers, AT, 60)
        return parse_qs(urlsplit(link).query)["X-Amz-Signature"][0]

    name = ("Content-Disposition", "attachment; filename*=utf-8''%C3%BC.onnx")
    temporary = Signer(SIGNER.key, SIGNER.secret, SIGNER.region, "token")
    assert len({signature(SIGNER), signature(SIGNER, name), signature(temporary)}) == 3
    query = parse_qs(urlsplit(SIGNER.link("https://s3/bucket/file", [name], AT, 60)).query)
    assert query["response-content-disposition"] == [name[1]]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"SECATEUR_ARTIFACTS_URL": "gs://bucket"}, "must be a folder, or s3://BUCKET"),
        ({"SECATEUR_ARTIFACTS_URL": "s3://Bucket"}, "of a bucket it is s3://BUCKET"),
        ({"AWS_SECRET_ACCESS_KEY": ""}, "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"),
        ({"AWS_ENDPOINT_URL": "minio:9000"}, "AWS_ENDPOINT_URL must be http:// or https://"),
        ({"SECATEUR_LINK_ENDPOINT": "https://s3/path"}, "SECATEUR_LINK_ENDPOINT must be http:// or https://"),
    ],
)
def test_a_setting_that_cannot_be_is_refused(monkeypatch: pytest.MonkeyPatch, more: dict[str, str], said: str) -> None:
    right = {
        "SECATEUR_ARTIFACTS_URL": "s3://bucket/a/b",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "hunter2",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:9000",
    }
    for name, value in right.items():
        monkeypatch.setenv(name, value)
    assert Settings().artifacts_at == "s3://bucket/a/b" and "hunter2" not in repr(Settings())
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as error:
        Settings()
    assert said in str(error.value) and "hunter2" not in str(error.value)
