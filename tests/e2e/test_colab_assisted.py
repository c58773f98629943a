"""Colab's assisted way: we make the notebook, a person opens it and runs it, and the worker is there."""
import http.client
import json
import os
import re
import signal
import sys
import time
import urllib.parse
from pathlib import Path

import pytest

from stack import ROOT, Browser, Client, Stack, descendants, until

sys.path.insert(0, str(ROOT / "tests" / "google"))
from google_standin import GoogleStandIn  # noqa: E402
from runs import NotebookRun, check  # noqa: E402

T4 = [("Tesla T4", 15360)]
WHERE = "/api/gpu/workers/notebooks"


@pytest.fixture(scope="module")
def google():
    with GoogleStandIn() as g:
        yield g
        g.blameless()


@pytest.fixture(scope="module")
def stack(google):
    s = Stack(GPUPOOL_HANDS="2", **google.settings())
    s.start()
    yield s
    s.close()


@pytest.fixture
def people():
    """Runs notebooks as a person does in Colab; each ends with the test."""
    runs = []

    def run(document, gpus=T4):
        runs.append(NotebookRun(check(document), gpus=gpus))
        return runs[-1]
    yield run
    for r in runs:
        r.halt()
        r.sweep()


@pytest.fixture
def ann(stack):
    """A person of her own: one account a person."""
    return person(stack)


def person(stack):
    name = "p%d" % time.monotonic_ns()
    client = stack.user(name=name)
    browser = Browser(stack.port)
    browser.sign_in(name, "a long password " + name)
    client.browser, client.name = browser, name
    return client


def add(client, **fields):
    return client.post(WHERE, {"provider": "colab", "accelerator": "gpu", **fields})["id"]


def waits(client, id):
    return until(lambda: (n := client.notebook(id))["state"] == "needs_human" and n)


def download(client, id):
    reply = client.call("GET", f"{WHERE}/{id}/notebook.ipynb")
    assert reply.status == 200, reply
    return reply


def gone(client, id):
    client.call("DELETE", f"{WHERE}/{id}")
    until(lambda: client.call("GET", f"{WHERE}/{id}").status == 404)


# ---- by download ---------------------------------------------------------------------

def test_from_post_to_a_job_by_download(ann, people, capsys):
    begun = time.monotonic()
    id = add(ann, title="First light")
    n = waits(ann, id)
    assert n["start"] == "assisted" and n["reason"]["code"] == "open_notebook" and n["url"].endswith(f"{WHERE}/{id}/notebook.ipynb")

    reply = download(ann, id)
    assert reply.headers["cache-control"] == "no-store" and 'filename="gpupool-First-light.ipynb"' in reply.headers["content-disposition"]
    document = reply.json
    assert document["metadata"]["accelerator"] == "GPU" and document["metadata"]["colab"]["gpuType"] == "T4"
    source = "".join(document["cells"][-1]["source"])
    assert re.match(r"# gpupool intent [0-9a-f-]{36}\n# gpupool worker %s of [0-9a-f-]{36}\n" % id, source)

    run = people(document)
    n = ann.healthy(id)
    with capsys.disabled():
        print(f"\n  from POST to healthy, downloaded and run at once: {time.monotonic() - begun:.2f} s")
    assert n["gpu"]["name"] == "Tesla T4" and 39000 < left(n) <= 39600
    job = ann.submit("import json, os\nopen(os.environ['GPUPOOL_RESULT'], 'w').write(json.dumps(6 * 7))", accelerator="T4")
    over = ann.ends(job)
    assert over["state"] == "succeeded" and over["result"] == 42 and over["workerId"] == id

    ann.post(f"{WHERE}/{id}/stop")
    until(lambda: ann.notebook(id)["state"] == "stopped")
    assert until(lambda: run.poll() is not None) and run.poll() == 0, run.executed()
    gone(ann, id)


def left(n):
    import datetime
    at = datetime.datetime.fromisoformat(n["session"]["deadline"].replace("Z", "+00:00"))
    return (at - datetime.datetime.now(datetime.timezone.utc)).total_seconds()


def test_only_the_newest_download_counts(ann, people):
    id = add(ann)
    waits(ann, id)
    old, new = download(ann, id).json, download(ann, id).json
    late = people(old)
    assert until(lambda: late.poll() is not None) and late.poll() != 0
    assert "a newer one was made" in json.dumps(late.executed())
    people(new)
    ann.healthy(id)
    again = people(new)                                  # another machine with the same notebook
    assert until(lambda: again.poll() is not None) and again.poll() != 0
    assert ann.notebook(id)["state"] == "healthy"
    gone(ann, id)


def test_without_the_gpu_its_notebook_stays_good(ann, people):
    id = add(ann, accelerator="T4")
    waits(ann, id)
    document = download(ann, id).json
    run = people(document, gpus=[])
    assert until(lambda: run.poll() is not None) and run.poll() != 0
    assert "Change runtime type" in json.dumps(run.executed())
    people(document)
    assert ann.healthy(id)["gpu"]["name"] == "Tesla T4"
    gone(ann, id)


def test_who_may_download_it(ann, stack):
    id = add(ann)
    waits(ann, id)
    path = f"{WHERE}/{id}/notebook.ipynb"
    bob, browser = person(stack), Client(stack.port)
    assert bob.call("GET", path).status == 404
    assert browser.call("GET", path).status == 401
    for site in ("cross-site", "same-site", "none", None):
        headers = {"Cookie": ann.browser.cookie, **({"Sec-Fetch-Site": site} if site else {})}
        assert browser.call("GET", path, headers=headers).status == 403, site
    assert ann.browser.request("GET", path).status == 200
    assert ann.call("HEAD", path).status == 405
    seen = stack.admin.get("/api/gpu/audit?action=notebooks.file")["audit"]
    assert [e["object"] for e in seen][:1] == [f"worker {id}"]
    gone(ann, id)
    assert ann.call("GET", path).status == 404


def test_stopped_before_anybody_ran_it(ann, people):
    id = add(ann)
    waits(ann, id)
    document = download(ann, id).json
    ann.post(f"{WHERE}/{id}/stop")
    until(lambda: ann.notebook(id)["state"] == "stopped")
    late = people(document)
    assert until(lambda: late.poll() is not None) and late.poll() != 0
    assert ann.call("GET", f"{WHERE}/{id}/notebook.ipynb").status == 409
    ann.post(f"{WHERE}/{id}/start")
    waits(ann, id)
    people(download(ann, id).json)
    ann.healthy(id)
    gone(ann, id)


def test_a_second_gpu_waits_its_turn(ann, people):
    first = add(ann)
    waits(ann, first)
    second = add(ann)
    n = until(lambda: (n := ann.notebook(second))["state"] == "waiting" and n)
    assert n["reason"]["code"] == "capacity"
    gone(ann, first)
    until(lambda: ann.notebook(second)["state"] == "needs_human", 90)
    gone(ann, second)


# ---- by Drive: consent, upload, deep link -----------------------------------------------

ACCOUNTS = "/api/gpu/accounts"
DRIVE = "https://www.googleapis.com/auth/drive.file"


def client_of(google, stack):
    return google.oauth.client([f"http://127.0.0.1:{stack.port}/oauth/google/callback"])


def account(client, oauth):
    return client.post(ACCOUNTS, {"provider": "colab", "credentials": {"clientId": oauth.id, "clientSecret": oauth.secret}})["id"]


def at_google(url, decision="allow"):
    """What a person does on Google's page -> the address that Google sends the browser back to."""
    where = urllib.parse.urlsplit(url)
    query = dict(urllib.parse.parse_qsl(where.query))
    conn = http.client.HTTPConnection(where.hostname, where.port, timeout=30)
    conn.request("POST", where.path, urllib.parse.urlencode({**query, "decision": decision}), {"Content-Type": "application/x-www-form-urlencoded", "User-Agent": "a person"})
    answer = conn.getresponse()
    body = answer.read()
    conn.close()
    assert answer.status == 302, (answer.status, body)
    back = urllib.parse.urlsplit(answer.getheader("Location"))
    return back.path + "?" + back.query


def consent(client, id, google, name=None, **more):
    google.oauth.person = name or client.name + "@example.com"
    return client.post(f"{ACCOUNTS}/{id}/consent", more)["url"]


def go_back(client, path):
    """As Google's redirect does: from another site."""
    return client.browser.request("GET", path, headers={"Sec-Fetch-Site": "cross-site", "Origin": "null"})


def connected(client, google, stack):
    oauth = client_of(google, stack)
    id = account(client, oauth)
    reply = go_back(client, at_google(consent(client, id, google)))
    assert reply.status == 303 and reply.headers["location"].startswith(f"/admin/accounts/{id}?"), reply
    until(lambda: (a := client.get(f"{ACCOUNTS}/{id}"))["status"] == "ok" and a["consent"]["state"] == "given" and a)
    return id, oauth, client.name + "@example.com"


def test_from_consent_to_a_job_by_drive(ann, people, google, stack, capsys):
    id, oauth, owner = connected(ann, google, stack)
    a = ann.get(f"{ACCOUNTS}/{id}")
    assert a["identity"] == owner and DRIVE in a["consent"]["scopes"] and a["consent"]["givenAt"]
    begun, calls = time.monotonic(), google.count()
    worker = add(ann, title="In Drive")
    n = waits(ann, worker)
    file, = google.drive.of(owner)
    assert n["url"] == google.settings()["GPUPOOL_COLAB_URL"] + "/drive/" + file.id and n["reason"]["code"] == "open_notebook"
    people(google.drive.read(file.id))
    ann.healthy(worker)
    with capsys.disabled():
        print(f"\n  from POST to healthy, through Drive: {time.monotonic() - begun:.2f} s, {google.count() - calls} calls to Google")
    job = ann.submit("import json, os\nopen(os.environ['GPUPOOL_RESULT'], 'w').write('7')", accelerator="gpu")
    assert ann.ends(job)["result"] == 7

    ann.post(f"{WHERE}/{worker}/stop")
    until(lambda: ann.notebook(worker)["state"] == "stopped")
    ann.post(f"{WHERE}/{worker}/start")
    n = waits(ann, worker)
    again, = google.drive.of(owner)
    assert again.id != file.id and n["url"].endswith(again.id), "the file of the session before is gone"
    gone(ann, worker)
    assert google.drive.of(owner) == []


def test_others_files_are_left_alone(ann, google, stack):
    _, oauth, owner = connected(ann, google, stack)
    from drive import File
    theirs = File(owner, oauth.id, {"name": "x", "appProperties": {"gpupoolIntent": "0" * 8 + "-0000-4000-8000-000000000000", "gpupoolWorker": "1",
                                                                  "gpupoolInstallation": "0" * 8 + "-0000-4000-8000-000000000001"}}, b"{}")
    google.drive.files[theirs.id] = theirs
    worker = add(ann)
    waits(ann, worker)
    gone(ann, worker)
    assert google.drive.of(owner) == [theirs]


@pytest.mark.parametrize("fault", ["reset_after", 503, "html"])
def test_a_lost_answer_makes_no_second_file(ann, people, google, stack, fault):
    _, _, owner = connected(ann, google, stack)
    if fault == 503:
        google.fault("drive.upload", 503, times=1, effect=True)
    else:
        google.fault("drive.upload", fault, times=1)
    worker = add(ann)
    n = until(lambda: (n := ann.notebook(worker))["state"] == "needs_human" and n, 90)
    file, = google.drive.of(owner)
    assert n["url"].endswith(file.id)
    people(google.drive.read(file.id))
    ann.healthy(worker)
    gone(ann, worker)


def test_a_full_drive_leaves_the_download(ann, google, stack):
    _, _, owner = connected(ann, google, stack)
    google.drive.full.add(owner)
    worker = add(ann)
    assert waits(ann, worker)["url"].endswith("notebook.ipynb")
    download(ann, worker)
    gone(ann, worker)


def test_consent_withdrawn(ann, google, stack):
    id, _, owner = connected(ann, google, stack)
    google.oauth.withdraw(owner)
    ann.post(f"{ACCOUNTS}/{id}/check")
    a = until(lambda: (a := ann.get(f"{ACCOUNTS}/{id}"))["status"] == "needs_human" and a)
    assert "Connect the account anew" in a["reason"]
    worker = add(ann)
    assert waits(ann, worker)["url"].endswith("notebook.ipynb"), "it goes on by download"
    reply = go_back(ann, at_google(consent(ann, id, google)))
    assert reply.status == 303
    until(lambda: ann.get(f"{ACCOUNTS}/{id}")["status"] == "ok")
    gone(ann, worker)


def test_consent_refused_or_less_than_asked(ann, google, stack):
    id = account(ann, client_of(google, stack))
    assert ann.get(f"{ACCOUNTS}/{id}")["consent"]["state"] == "none"
    url = consent(ann, id, google)
    assert ann.get(f"{ACCOUNTS}/{id}")["consent"]["state"] == "asked"
    assert go_back(ann, at_google(url, "deny")).status == 303
    a = ann.get(f"{ACCOUNTS}/{id}")
    assert a["consent"]["state"] == "none" and "did not agree" in a["consent"]["error"]
    google.oauth.grants = {"openid", "email"}
    try:
        go_back(ann, at_google(consent(ann, id, google)))
        a = until(lambda: "leave every tick" in ((a := ann.get(f"{ACCOUNTS}/{id}"))["consent"]["error"] or "") and a)
    finally:
        google.oauth.grants = None
    assert a["consent"]["state"] == "none"


def test_a_state_is_good_once_and_for_one_person(ann, google, stack):
    bob = person(stack)
    id = account(ann, client_of(google, stack))
    url = consent(ann, id, google)
    assert bob.call("POST", f"{ACCOUNTS}/{id}/consent", {}).status == 404
    back = at_google(url)
    assert go_back(bob, back).status == 403, "brought back by another"
    assert go_back(Client_without(stack), back).status == 303, "to the sign-in page"
    assert go_back(ann, back).status == 303
    until(lambda: ann.get(f"{ACCOUNTS}/{id}")["consent"]["state"] == "given")
    again = go_back(ann, back)
    assert again.status == 400 and b"used before" in again.body
    assert go_back(ann, "/oauth/google/callback?state=gpo_unknown&code=x").status == 400
    newer = consent(ann, id, google)
    old = at_google(newer)
    consent(ann, id, google)
    assert go_back(ann, old).status == 400, "a newer one voids the older"


class Client_without:
    def __init__(self, stack):
        self.browser = Browser(stack.port)


def test_wrong_secret_and_unlisted_address(ann, google, stack):
    oauth = client_of(google, stack)
    id = ann.post(ACCOUNTS, {"provider": "colab", "credentials": {"clientId": oauth.id, "clientSecret": "GOCSPX-not-the-right-one"}})["id"]
    go_back(ann, at_google(consent(ann, id, google)))
    a = until(lambda: (a := ann.get(f"{ACCOUNTS}/{id}"))["consent"]["error"] and a)
    assert "ID or secret is wrong" in a["consent"]["error"]
    ann.call("PATCH", f"{ACCOUNTS}/{id}", {"credentials": {"clientId": oauth.id, "clientSecret": oauth.secret}})
    go_back(ann, at_google(consent(ann, id, google)))
    until(lambda: ann.get(f"{ACCOUNTS}/{id}")["status"] == "ok")


def test_pkce_and_what_is_asked(ann, google, stack):
    id = account(ann, client_of(google, stack))
    q = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(consent(ann, id, google)).query))
    assert q["code_challenge_method"] == "S256" and len(q["code_challenge"]) == 43 and q["access_type"] == "offline" and q["prompt"] == "consent"
    assert q["scope"] == "openid email " + DRIVE and q["redirect_uri"].endswith("/oauth/google/callback")
    q = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(consent(ann, id, google, start="api")).query))
    assert q["scope"].endswith("/auth/colaboratory")


# ---- nothing of it is found ---------------------------------------------------------------

def test_secrets_are_nowhere_in_clear(ann, people, google, stack):
    id, oauth, owner = connected(ann, google, stack)
    worker = add(ann)
    waits(ann, worker)
    hidden = [oauth.secret, *google.oauth.refresh, *[t for t, held in google.oauth.tokens.items() if held.principal == owner], *google.oauth.codes]
    assert len(hidden) > 2
    stack.admin.call("GET", "/api/gpu/audit")
    pile = [(p, p.read_bytes()) for p in stack.dir.rglob("*") if p.is_file() and p.stat().st_size < 64 << 20]
    for pid, _ in descendants(stack.process.pid):
        for what in ("cmdline", "environ"):
            try:
                pile.append((f"/proc/{pid}/{what}", Path(f"/proc/{pid}/{what}").read_bytes()))
            except OSError:
                pass
    assert len(pile) > 100
    for where, bytes in pile:
        for secret in hidden:
            assert secret.encode() not in bytes, where
    assert oauth.secret not in json.dumps([ann.get(ACCOUNTS), ann.get(WHERE), ann.get(f"{ACCOUNTS}/{id}")])
    gone(ann, worker)


# ---- a provisioner that dies in the middle ----------------------------------------------------

@pytest.mark.parametrize("at", ["drive.upload", "drive.list", "oauth.token.code"])
def test_the_provisioner_is_killed_in_the_middle(ann, people, google, stack, at):
    pid = lambda: stack.pids("gpupool-provisioner", "--providers=manual")
    if at == "oauth.token.code":
        id = account(ann, client_of(google, stack))
        back = at_google(consent(ann, id, google))
    else:
        connected(ann, google, stack)
    before = google.count(at)
    google.fault(at, "hang", times=1)
    if at == "oauth.token.code":
        go_back(ann, back)
    else:
        worker = add(ann)
    until(lambda: google.count(at) > before)
    for one in pid():
        os.kill(one, signal.SIGKILL)
    google.clear()
    if at == "oauth.token.code":
        until(lambda: ann.get(f"{ACCOUNTS}/{id}")["consent"]["state"] == "given", 200)
        return
    until(lambda: ann.notebook(worker)["state"] == "needs_human", 90)
    file, = google.drive.of(ann.name + "@example.com")
    people(google.drive.read(file.id))
    ann.healthy(worker)
    gone(ann, worker)


# ---- what is refused -------------------------------------------------------------------

@pytest.mark.parametrize("fields,status,field", [
    ({"start": "magic"}, 400, "start"), ({"start": "browser"}, 409, "start"), ({"start": "api"}, 400, "accountId"),
    ({"provider": "local", "accelerator": "cpu", "start": "assisted"}, 400, "start"), ({"accelerator": "B200"}, 400, "accelerator"),
    ({"maxSessionSeconds": 43200}, 400, "maxSessionSeconds"), ({"credentials": {"username": "a", "key": "hidden-key-of-mine"}}, 400, "credentials"),
])
def test_refused_at_its_field(ann, fields, status, field):
    reply = ann.call("POST", WHERE, {"provider": "colab", "accelerator": "gpu", **fields})
    assert reply.status == status and [e["field"] for e in reply.json["errors"]] == [field], reply
    assert b"hidden-key" not in reply.body
    assert not [n for n in ann.get(WHERE)["notebooks"] if n["own"]]
