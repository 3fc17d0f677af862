from __future__ import annotations

import logging

import pytest

from personaagent.server import Settings
from personaagent.server.limits import Rates
from personaagent.server.problems import Problem

ONE = {"user": "amira", "task": "inbox", "query": "the car", "response": "money"}


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(serve):
    client = serve(Settings(body=1_000))
    long = b" " * 2_000
    json = {"Content-Type": "application/json"}
    assert client.post("/v1/interactions", content=long, headers=json).status_code == 413
    parts = (long[:500] for _ in range(4))
    assert client.post("/v1/interactions", content=parts, headers=json).status_code == 413
    lying = json | {"Content-Length": "-5"}
    assert client.post("/v1/interactions", content=b"{}", headers=lying).status_code == 413


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"user": 1}', b"[" * 20_000, b'{"a":' * 5_000],
)
def test_json_that_is_none_is_refused_as_a_problem(client, body):
    headers = {"Content-Type": "application/json"}
    for path in ("/v1/interactions", "/v1/answers", "/v1/feedback", "/v1/erasures"):
        said = client.post(path, content=body, headers=headers)
        assert said.status_code in (400, 422)
        assert said.json()["detail"]


def test_a_form_of_another_site_is_not_read_as_json(client, store):
    plain = {"Content-Type": "text/plain"}
    body = '{"user": "amira", "task": "inbox", "query": "q", "response": "money"}'
    assert client.post("/v1/interactions", content=body, headers=plain).status_code == 422
    assert store.users() == []


def test_an_allowance_is_used_up_and_fills_again():
    now = 0.0
    rates = Rates(2, lambda: now)
    for caller in ("a", "b"):
        rates.take(caller)
        rates.take(caller)
        with pytest.raises(Problem) as refused:
            rates.take(caller)
        assert refused.value.headers == {"Retry-After": "30"}
    now = 31.0
    rates.take("a")
    with pytest.raises(Problem):
        rates.take("a")


def test_a_caller_that_asks_too_often_is_told_when_to_come_again(serve, bearer):
    client, key = serve(Settings(rate=3)), bearer()
    codes = [client.get("/v1/users", headers=key).status_code for _ in range(5)]
    assert codes == [200, 200, 200, 429, 429]
    assert client.get("/v1/users", headers=bearer()).status_code == 200


def test_browsers_of_named_origins_alone_may_read_what_is_answered(serve):
    ask = {"Origin": "https://app.example.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in serve().options("/v1/answers", headers=ask).headers
    client = serve(Settings(origins=("https://app.example.org",)))
    allowed = client.options("/v1/answers", headers=ask).headers
    assert allowed["access-control-allow-origin"] == "https://app.example.org"
    other = ask | {"Origin": "https://evil.example"}
    assert "access-control-allow-origin" not in client.options("/v1/answers", headers=other).headers


def test_every_answer_has_the_headers_that_keep_browsers_careful(client):
    for path in ("/healthz", "/v1/users", "/nowhere"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert headers["cache-control"] == "no-store"


def test_no_text_of_a_client_is_in_the_log(client, store, monkeypatch, caplog):
    caplog.set_level(logging.DEBUG, logger="personaagent.server")

    def broken(*_, **__):
        raise RuntimeError("TATTLE in an error")

    client.post("/v1/interactions", json=ONE | {"query": "TATTLE\nGET /forged 200"})
    client.get("/v1/interactions", params={"user": "TATTLE\r\nforged"})
    client.get("/TATTLE%0aforged")
    client.request("TATTLE", "/healthz")
    client.post("/v1/interactions", json=ONE | {"response": "TATTLE"})
    monkeypatch.setattr(type(store), "users", broken)
    said = client.get("/v1/users")
    assert said.status_code == 500
    assert "TATTLE" not in said.text
    lines = [one.getMessage() for one in caplog.records if one.name == "personaagent.server"]
    assert len(lines) == 7  # one a request, and one for the error
    assert any("RuntimeError at" in line for line in lines)
    assert not any("TATTLE" in line or "forged" in line or "\n" in line for line in lines)


def test_metrics_count_by_route_and_hold_no_text(client):
    client.get("/v1/interactions", params={"user": "TATTLE"})
    said = client.get("/metrics").text
    assert 'personaagent_requests_total{method="GET",route="/v1/interactions",status="200"}' in said
    assert "personaagent_lm_calls_total" in said
    assert "TATTLE" not in said


def test_the_description_of_every_call_is_served(client):
    described = client.get("/openapi.json").json()
    assert {"/v1/interactions", "/v1/answers", "/v1/persona"} <= described["paths"].keys()
    assert client.get("/docs").status_code == 200
