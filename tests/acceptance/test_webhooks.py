"""A user's receiver is told of the end of a job, over everything that is real."""

import httpx
import pytest
from secateur.webhooks import verify
from standardwebhooks import Webhook

from tests.conftest import Service, save_npz, tiny_model
from tests.receiver import receiving


@pytest.fixture(scope="module")
def uploads(service: Service, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    data = save_npz(tmp_path_factory.mktemp("data") / "tiny.npz").read_bytes()
    model = service.upload("models", tiny_model().SerializeToString())
    return {"model_id": model, "dataset_id": service.upload("datasets", data)}


def test_the_end_is_told_signed_and_listed(service: Service, uploads: dict[str, str]) -> None:
    plan = {"budget": {"pruning_rate": 2}, "admm": {"rounds": 1}, "retrain": {"epochs": 0}}
    with receiving() as receiver:
        job = service.post_job(plan, **uploads, webhook_url=receiver.url("/hook?token=1"))
        ended = service.ended(job)
        path = f"/v1/jobs/{job}/webhooks"
        [row] = service.until(path, lambda r: r["items"][0]["status"] == "delivered")["items"]
        [(sent, body)] = receiver.got
        secret = service.http.post("/v1/webhooks/secret").json()["secret"]
        assert verify(body, sent, secret) == Webhook(secret).verify(body, sent)
        data = verify(body, sent, secret)["data"]
        assert {k: data[k] for k in ("status", "result", "finished_at")} == {
            k: ended[k] for k in ("status", "result", "finished_at")
        }
        assert sent["webhook-id"] == row["id"] and row["attempts"] == 1 and receiver.paths == ["/hook?token=1"]
        assert secret not in service.http.get(path).text
        again = service.http.post("/v1/webhooks/secret/rotate")
        assert again.json()["secret"] != secret and again.headers["cache-control"] == "no-store"
        assert service.http.post(f"{path}/{row['id']}/resend").json()["status"] == "pending"
        service.until(path, lambda r: r["items"][0]["status"] == "delivered")
        for one in (secret, again.json()["secret"]):
            assert verify(receiver.got[1][1], receiver.got[1][0], one)["data"] == data
        kinds = [e["kind"] for e in service.http.get(f"/v1/jobs/{job}/events?limit=200").json()["items"]]
        assert kinds.count("webhook") == 2 and kinds[-3] == "status"


@pytest.mark.parametrize(
    "url", ["https://169.254.169.254/latest", "http://example.com/", "https://a:b@example.com/", 7, "", "x\u0000"]
)
def test_an_address_that_may_not_be_called_is_a_422(service: Service, uploads: dict[str, str], url: object) -> None:
    body = {"plan": {"budget": {"pruning_rate": 2}}, **uploads, "webhook_url": url}
    refused = service.http.post("/v1/jobs", json=body)
    assert refused.status_code == 422 and refused.json()["errors"][0]["pointer"] == "/webhook_url", refused.text


def test_of_what_is_not_there(service: Service) -> None:
    def status(answer: httpx.Response) -> tuple[int, str]:
        return answer.status_code, answer.json()["detail"]

    assert status(service.http.get("/v1/jobs/job_0/webhooks")) == (404, "there is no job job_0")
    assert status(service.http.post("/v1/jobs/job_0/webhooks/msg_0/resend")) == (404, "there is no job job_0")
