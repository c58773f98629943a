"""Colab through its API, by the stand-in of tests/google, whose machines really run the code: from the form to nothing left."""
import http.client
import json
import os
import signal
import subprocess
import sys
import time
import urllib.parse

import pytest

from stack import ROOT, Browser, Stack, until

sys.path.insert(0, str(ROOT / "tests" / "google"))
from google_standin import GoogleStandIn  # noqa: E402

NOTEBOOKS = "/api/gpu/workers/notebooks"


@pytest.fixture(scope="module")
def google():
    with GoogleStandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def colab_stack(google):
    s = Stack(GPUPOOL_COLAB_POLL_SECONDS="1", **google.settings())
    s.start()
    yield s
    s.close()


class Person:
    """A user with a Google account that has consented, as people do it: by the page, and back."""

    def __init__(self, stack, google, paid=True, **switches):
        self.stack, self.google = stack, google
        user = "p%d" % time.monotonic_ns()
        self.name = user + "@example.com"
        self.client, self.browser = stack.user(name=user), Browser(stack.port)
        self.browser.sign_in(user, "a long password " + user)
        self.colab = google.colab_api.person(self.name)
        app = google.oauth.client(["http://127.0.0.1:%d/oauth/google/callback" % stack.port])
        self.account = self.client.post("/api/gpu/accounts", {"provider": "colab", "computeUnits": paid, "credentials": {
            "clientId": app.id, "clientSecret": app.secret}})["id"]
        google.oauth.consent, google.oauth.person = "allow", self.name
        self.consent()
        self.refresh = next(r for r, t in google.oauth.refresh.items() if t.principal == self.name)
        google.colab_api.person(self.name, **switches)

    def consent(self):
        where = urllib.parse.urlsplit(self.client.post("/api/gpu/accounts/%s/consent" % self.account, {"start": "api"})["url"])
        conn = http.client.HTTPConnection("127.0.0.1", self.google.port, timeout=30)
        conn.request("GET", where.path + "?" + where.query, headers={"User-Agent": "test"})
        back = urllib.parse.urlsplit(conn.getresponse().getheader("Location"))
        conn.close()
        assert self.browser.request("GET", back.path + "?" + back.query, headers={"Sec-Fetch-Site": "cross-site", "Origin": "null"}).status == 303
        until(lambda: self.row()["consent"]["state"] == "given" and self.row()["status"] == "ok")

    def row(self):
        return self.client.get("/api/gpu/accounts/" + self.account)

    def sql(self, text):
        run = self.stack.run_dir()
        command = ["psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-c", "set search_path = gpupool", "-c", text,
                   "host='%s/pg' dbname=gpupool user=%s passfile='%s/pass/postgres'" % (run, "postgres", run)]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/")
        assert done.returncode == 0, done.stderr
        return done.stdout.decode().strip()

    def ask(self, accelerator="cpu", **fields):
        return self.client.call("POST", NOTEBOOKS, {"provider": "colab", "start": "api", "accelerator": accelerator, **fields})

    def add(self, accelerator="cpu", **fields):
        reply = self.ask(accelerator, **fields)
        assert reply.status == 202, reply
        return reply.json["id"]

    def notebook(self, id):
        return self.client.notebook(id)

    def becomes(self, id, state, code=None, seconds=60):
        seen = []

        def there():
            n = self.notebook(id)
            seen.append((n["state"], n["reason"]))
            return n["state"] == state and (code is None or (n["reason"] or {}).get("code") == code) and n
        try:
            return until(there, seconds)
        except AssertionError:
            path = [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]]
            raise AssertionError("notebook %s is not %s %s: %s\n%s" % (id, state, code or "", path, self.calls()[-40:])) from None

    def calls(self):
        return [(c.operation, c.status) for c in self.google.calls if c.principal in (self.name, None)]

    def count(self, operation):
        return sum(1 for c in self.google.calls if c.operation == operation and c.principal == self.name)

    def runtimes(self):
        return self.google.colab_api.of(self.name)

    def delete(self, id):
        assert self.client.call("DELETE", NOTEBOOKS + "/" + id).status == 202

        def gone():
            reply = self.client.call("GET", NOTEBOOKS + "/" + id)
            return reply.status == 404 or reply.json["state"] == "deleted"
        until(gone, 90)
        assert not self.runtimes()


@pytest.fixture
def person(google, colab_stack):
    made = []

    def make(**switches):
        made.append(Person(colab_stack, google, **switches))
        return made[-1]
    yield make
    google.clear()
    google.tunnel.hang, google.jupyter.drive, google.jupyter.abrupt, google.jupyter.error = False, False, None, 0
    for p in made:
        p.colab.refuse, p.colab.enabled, p.colab.polls = None, True, 2
        for n in p.client.get(NOTEBOOKS)["notebooks"]:
            p.client.call("DELETE", NOTEBOOKS + "/" + n["id"])
    google.blameless()


def test_from_post_to_nothing_left(person, google, capsys):
    p = person()
    google.jupyter.drive = True
    begun = time.monotonic()
    id = p.add("T4", title="first light")
    n = p.becomes(id, "healthy")
    took = time.monotonic() - begun
    assert "T4" in json.dumps(n["gpu"]) and "datalabBackendUrl" in n["url"]
    assert len(p.runtimes()) == 1 and p.count("colab_api.create") == 1
    assert google.jupyter.declined, "the person's Drive was not given"

    job = p.client.submit("import os, json\nopen(os.environ['GPUPOOL_RESULT'], 'w').write(json.dumps(6 * 7))", accelerator="gpu")
    over = p.client.ends(job)
    assert over["state"] == "succeeded" and over["result"] == 42, over
    runtime = p.runtimes()[0]

    # Colab is told that something runs while a job does, and only then.
    idle, looks = p.count("colab.keep_alive"), p.count("colab_api.get")
    until(lambda: p.count("colab_api.get") >= looks + 2)
    assert p.count("colab.keep_alive") == idle
    gate = str(p.stack.dir / "gate")
    busy = p.client.submit("import os, time\nwhile not os.path.exists(%r): time.sleep(0.05)" % gate, accelerator="gpu")
    p.client.runs(busy)
    until(lambda: p.count("colab.keep_alive") > idle, 40)
    open(gate, "w").close()
    p.client.ends(busy)
    told, looks = p.count("colab.keep_alive"), p.count("colab_api.get")
    until(lambda: p.count("colab_api.get") >= looks + 3, 60)
    assert p.count("colab.keep_alive") <= told + 1

    p.client.post(NOTEBOOKS + "/%s/stop" % id)
    p.becomes(id, "stopped")
    until(lambda: runtime.ended_at)
    assert not p.runtimes()
    outputs = NOTEBOOKS + "/%s/sessions/%s/outputs" % (id, n["session"]["id"])
    log = p.client.call("GET", outputs + "/log").body.decode()
    assert "GPUs seen: Tesla T4" in log and "a clean end" in log, log

    p.client.post(NOTEBOOKS + "/%s/start" % id)
    p.becomes(id, "healthy")
    p.delete(id)
    row = json.dumps([p.client.get("/api/gpu/accounts"), p.client.get(NOTEBOOKS)])
    assert p.refresh not in row
    with capsys.disabled():
        print("\n  Colab API: from POST to healthy: %.2f s" % took)


def test_without_an_attested_balance(person):
    p = person(paid=False)
    reply = p.ask()
    assert reply.status == 409 and "compute units" in reply.json["detail"] + json.dumps(reply.json.get("errors", "")), reply
    assert p.client.call("PATCH", "/api/gpu/accounts/" + p.account, {"computeUnits": True}).status == 200
    id = p.add()
    p.becomes(id, "healthy")
    p.client.call("PATCH", "/api/gpu/accounts/" + p.account, {"computeUnits": False})
    p.client.post(NOTEBOOKS + "/%s/stop" % id)
    p.becomes(id, "stopped")
    p.client.call("POST", NOTEBOOKS + "/%s/start" % id, {})
    made = p.count("colab_api.create")
    n = until(lambda: (n := p.notebook(id))["state"] in ("needs_human", "stopped") and n)
    assert n["state"] == "stopped" or n["reason"]["code"] == "compute_units", n
    assert p.count("colab_api.create") == made and not p.runtimes()


ERRORS = [  # switches, state and code that it comes to, words of the sentence
    ({"refuse": "too_many"}, "waiting", "capacity", "at once"),
    ({"refuse": "quota"}, "waiting", "quota", "for now"),
    ({"refuse": "no_machine"}, "waiting", "capacity", "free for this account"),
    ({"refuse": "denylisted"}, "needs_human", "denylisted", "barred"),
    ({"enabled": False}, "needs_human", "account", "console.cloud.google.com/apis/library/colaboratory.googleapis.com"),
    ({"enabled": "allowlist"}, "needs_human", "account", "admit"),
    ({"eligible": {"NONE"}}, "needs_human", "not_eligible", "compute units"),
    ({"grant": []}, "waiting", "capacity", "without a GPU"),
]


@pytest.mark.parametrize("switches,state,code,words", ERRORS, ids=[e[2] + str(i) for i, e in enumerate(ERRORS)])
def test_refusal(person, switches, state, code, words):
    p = person(**switches)
    id = p.add("T4")
    n = p.becomes(id, state, code)
    assert words in n["reason"]["text" if "text" in n["reason"] else "sentence" if "sentence" in n["reason"] else "message"], n["reason"]
    assert not p.runtimes()
    if code in ("account", "denylisted"):
        row = p.client.get("/api/gpu/accounts")["accounts"][0]
        assert row["status"] == "needs_human" and words in json.dumps(row), row
    if code == "denylisted":
        # Nobody asks again, whatever is due.
        made = p.count("colab_api.create")
        p.sql("update account set check_at = now() where id = %s" % p.account)
        p.client.call("POST", NOTEBOOKS + "/%s/start" % id, {})
        time.sleep(0.1)
        p.becomes(id, "needs_human")
        assert p.count("colab_api.create") == made


def test_connection_that_breaks(person, google):
    p = person()
    google.jupyter.abrupt, google.jupyter.abrupt_left = "before", 1
    id = p.add()
    p.becomes(id, "healthy")
    assert len(p.runtimes()) == 1


def test_runtime_that_colab_ends(person, google):
    p = person()
    id = p.add()
    p.becomes(id, "healthy")
    first = p.runtimes()[0]
    session = p.notebook(id)["session"]["id"]
    google.colab_api.end(first)
    until(lambda: (n := p.notebook(id))["state"] == "healthy" and n["session"]["id"] != session, 90)
    assert len(p.runtimes()) == 1 and p.runtimes()[0] is not first


# ---- a restart in the middle of each step ------------------------------------------------

STEPS = ["colab_api.specs", "colab_api.create", "colab_api.wait", "colab_api.get", "jupyter.session", "jupyter.channels"]


def kill_provisioner(stack):
    for pid in stack.pids("gpupool-provisioner", "colab"):
        os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("step", STEPS)
def test_killed_in_the_middle(person, google, step):
    p = person()
    seen, note = [], google.note

    def noted(call):
        note(call)
        if call.operation == step and not seen:
            seen.append(call)
            kill_provisioner(p.stack)
    google.note = noted
    try:
        id = p.add()
        until(lambda: seen)
    finally:
        google.note = note
    p.becomes(id, "healthy", seconds=120)
    assert len(p.runtimes()) == 1, p.runtimes()
    assert p.sql("select count(*) from session where worker_id = %s and state <> 'ended'" % id) == "1"
    assert p.sql("select provider_ref->>'runtime' from session where worker_id = %s and state <> 'ended'" % id) == p.runtimes()[0].id


def test_killed_while_it_ends(person, google):
    p = person()
    id = p.add()
    p.becomes(id, "healthy")
    seen, note = [], google.note

    def noted(call):
        note(call)
        if call.operation == "colab_api.delete" and not seen:
            seen.append(call)
            kill_provisioner(p.stack)
    google.note = noted
    try:
        p.client.post(NOTEBOOKS + "/%s/stop" % id)
        until(lambda: seen)
    finally:
        google.note = note
    p.becomes(id, "stopped", seconds=120)
    until(lambda: not p.runtimes())
    assert p.sql("select count(*) from session where worker_id = %s and state <> 'ended'" % id) == "0"
