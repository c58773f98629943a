"""Colab's assisted way: we make the notebook, a person opens it and runs it, and the worker is there."""
import json
import os
import re
import sys
import time
from pathlib import Path

import pytest

from stack import ROOT, Browser, Client, Stack, until

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
    s = Stack(GPUPOOL_COLAB_URL=google.url("colab"), GPUPOOL_HANDS="2", **google.settings())
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
