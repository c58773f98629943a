"""Bad input through nginx: a clear 4xx that names the field, and nothing changed."""
import http.client
import json

import pytest

from stack import Client


def problem(reply, status):
    assert reply.status == status, reply
    assert reply.headers["content-type"].startswith("application/problem+json"), reply.headers
    body = reply.json
    assert body["status"] == status and body["title"] and body["requestId"]
    return body


def fields(body):
    return {e["field"] for e in body["errors"]}


GOOD = {"type": "script", "payload": {"code": "print(1)"}}


@pytest.mark.parametrize("body, field", [
    ({**GOOD, "colour": 1}, "colour"),
    ({**GOOD, "priority": "high"}, "priority"),
    ({**GOOD, "priority": 99}, "priority"),
    ({**GOOD, "priority": -1}, "priority"),
    ({**GOOD, "gpus": 1e99}, "gpus"),
    ({**GOOD, "maxAttempts": 0}, "maxAttempts"),
    ({**GOOD, "timeoutSeconds": -5}, "timeoutSeconds"),
    ({**GOOD, "runAfter": "tomorrow"}, "runAfter"),
    ({**GOOD, "type": "game"}, "type"),
    ({**GOOD, "tags": "one"}, "tags"),
    ({**GOOD, "name": "x" * 5000}, "name"),
    ({"type": "script"}, "payload"),
    ({"type": "script", "payload": {"code": "x", "files": {"../etc/passwd": "x"}}}, "payload.files"),
    ({"type": "script", "payload": {"code": "x", "requirements": ["--index-url=http://evil"]}}, "payload.requirements"),
    ({"type": "script", "payload": {"code": "x", "env": {"A=B": "1"}}}, "payload.env"),
])
def test_field_is_named(admin, body, field):
    before = admin.get("/api/gpu/jobs?limit=1")["jobs"]
    got = fields(problem(admin.call("POST", "/api/gpu/jobs", body), 400))
    assert any(f == field or f.startswith(field) for f in got), got
    assert admin.get("/api/gpu/jobs?limit=1")["jobs"] == before


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b'{"type":"script",}', b'{"a":1}{"b":2}', b"\xff\xfe{}", b'{"type":"\xc3\x28"}',
                                  b'{"type":"script","type":"training"}', b"{" * 10000, b'{"type":"a\\u0000b"}'])
def test_malformed_json(admin, body):
    problem(admin.call("POST", "/api/gpu/jobs", body, headers={"Content-Type": "application/json"}, raw=True), 400)


def test_ten_megabyte_body(admin):
    body = json.dumps({**GOOD, "name": "x" * (10 << 20)}).encode()
    problem(admin.call("POST", "/api/gpu/jobs", body, headers={"Content-Type": "application/json"}, raw=True), 413)


def test_form_on_a_json_route(admin):
    problem(admin.call("POST", "/api/gpu/jobs", b"type=script", headers={"Content-Type": "application/x-www-form-urlencoded"}, raw=True), 415)


@pytest.mark.parametrize("method, path", [("DELETE", "/api/gpu/jobs"), ("PUT", "/api/gpu/quota-nothing"), ("PATCH", "/api/gpu/jobs/1/cancel")])
def test_wrong_method_or_path(admin, method, path):
    reply = admin.call(method, path)
    assert reply.status in (404, 405)
    problem(reply, reply.status)
    if reply.status == 405:
        assert reply.headers["allow"]


@pytest.mark.parametrize("token", [None, "", "x", "gpt_" + "A" * 43, "gps_" + "A" * 43, "x" * 5000])
def test_missing_and_forged_tokens(stack, token):
    reply = Client(stack.port).call("GET", "/api/gpu/jobs", headers={"Authorization": f"Bearer {token}"} if token is not None else {})
    problem(reply, 401 if reply.status != 400 else 400)


def test_token_in_query_is_refused(stack, admin):
    problem(Client(stack.port).call("GET", f"/api/gpu/jobs?access_token={admin.token}"), 400)


def test_header_beats_cookie(stack, admin):
    from stack import Browser
    b = Browser(stack.port)
    b.sign_in("admin", admin.token)
    assert b.request("GET", "/api/gpu/jobs").status == 200
    assert b.request("GET", "/api/gpu/jobs", headers={"Authorization": "Bearer wrong"}).status == 401


def test_cookie_write_needs_csrf_and_same_origin(stack, admin):
    from stack import Browser
    b = Browser(stack.port)
    b.sign_in("admin", admin.token)
    body = json.dumps(GOOD)
    kind = {"Content-Type": "application/json"}
    assert b.request("POST", "/api/gpu/jobs", body, kind).status == 403
    assert b.request("POST", "/api/gpu/jobs", body, {**kind, "X-CSRF-Token": "x" * 40}).status == 403
    evil = {**kind, "X-CSRF-Token": b.csrf, "Origin": "http://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert b.request("POST", "/api/gpu/jobs", body, evil).status == 403
    assert b.json("POST", "/api/gpu/jobs", GOOD).status == 202


def test_other_people_are_404(stack, admin, worker):
    mine = admin.submit("print(1)")
    other = stack.user("operator")
    for path in (f"/api/gpu/jobs/{mine}", f"/api/gpu/jobs/{mine}/logs", f"/api/gpu/jobs/{mine}/attempts", f"/api/gpu/jobs/{mine}/artifacts"):
        assert other.call("GET", path).status == 404, path
    assert other.call("POST", f"/api/gpu/jobs/{mine}/cancel", {}).status == 404
    assert other.call("DELETE", f"/api/gpu/workers/notebooks/{worker}").status == 404
    assert other.call("GET", "/api/gpu/users").status == 403
    viewer = stack.user("viewer")
    assert viewer.call("POST", "/api/gpu/jobs", GOOD).status == 403


def test_idempotency(admin):
    key = {"Idempotency-Key": "k1"}
    one = admin.call("POST", "/api/gpu/jobs", GOOD, headers=key)
    two = admin.call("POST", "/api/gpu/jobs", GOOD, headers=key)
    assert one.status == two.status == 202 and one.json["jobId"] == two.json["jobId"]
    problem(admin.call("POST", "/api/gpu/jobs", {**GOOD, "name": "other"}, headers=key), 422)


def test_etags(admin, worker):
    path = f"/api/gpu/workers/notebooks/{worker}"
    r = admin.call("GET", path)
    tag = r.headers["etag"]
    assert admin.call("GET", path, headers={"If-None-Match": tag}).status in (304, 200)
    problem(admin.call("PATCH", path, {"title": "n"}, headers={"If-Match": '"v999999"'}), 412)


def test_raw_garbage_on_http(stack, admin):
    conn = http.client.HTTPConnection("127.0.0.1", stack.port)
    conn.request("GET", "/api/gpu/jobs/%00%ff/../../etc/passwd")
    assert conn.getresponse().status in (400, 401, 404)
    assert admin.call("GET", "/healthz").status == 200


# What nginx itself refuses looks like what the programs refuse.

@pytest.mark.parametrize("method, path, status", [
    ("TRACE", "/api/gpu/jobs", 405), ("GET", "/api/gpu/jobs?q=" + "a" * 40000, 414), ("GET", "/api/../../x", 400), ("GET", "/v1/%00", 400)])
def test_refused_by_nginx_as_json(stack, method, path, status):
    assert problem(Client(stack.port).call(method, path), status)["code"] in ("invalid", "method_not_allowed")


@pytest.mark.parametrize("path, status", [("/static/nothing.css", 404), ("/internal/store/x", 404), ("/.gpupool-error/json/200", 404),
                                          ("/static/", 403), ("/admin/%00", 400)])
def test_refused_by_nginx_as_page(stack, path, status):
    reply = Client(stack.port).call("GET", path)
    assert reply.status == status and reply.headers["content-type"] == "text/html" and b"gpupool" in reply.body
