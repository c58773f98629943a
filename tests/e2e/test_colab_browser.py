"""Colab through a real Chromium, against the small Colab of tests/google/minicolab, which really runs the notebook."""
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from stack import ROOT, Stack, descendants, until

sys.path.insert(0, str(ROOT / "tests" / "google" / "minicolab"))
from minicolab import MiniColab  # noqa: E402

PASSWORD = "a very private Pa55word \u2603 nobody else has"


def settings(colab, **more):
    return {"GPUPOOL_COLAB_BROWSER": "1", "GPUPOOL_COLAB_URL": colab.url, "GPUPOOL_GOOGLE_ACCOUNTS_URL": colab.accounts_url, **more}


@pytest.fixture(scope="module")
def colab():
    with MiniColab() as c:
        yield c


@pytest.fixture(scope="module")
def browsers(colab):
    s = Stack(**settings(colab))
    s.start()
    yield s
    s.close()


class Person:
    """A user with an account at Google; what they started is over at the end."""

    def __init__(self, stack, colab, name):
        self.stack, self.colab, self.client = stack, colab, stack.user(name=name)
        self.email = name + "@example.com"
        colab.user(self.email, PASSWORD)

    def add(self, accelerator="T4", password=True, **fields):
        credentials = {"email": self.email, **({"password": PASSWORD} if password else {})}
        made = self.client.call("POST", "/api/gpu/workers/notebooks", {"provider": "colab", "start": "browser", "accelerator": accelerator,
                                                                       "credentials": credentials, **fields})
        assert made.status == 202, made
        return made.json["id"]

    def becomes(self, id, state, seconds=120):
        return until(lambda: (n := self.client.notebook(id))["state"] == state and n, seconds)

    def account(self):
        return next(a for a in self.client.get("/api/gpu/accounts")["accounts"] if a["provider"] == "colab")

    def live(self):
        return [n for n in self.colab.live() if n.owner == self.email]

    def count(self, what):
        return sum(1 for e in self.colab.events if e[0] == what and self.email in e)


@pytest.fixture
def person(browsers, colab):
    made = []

    def make():
        made.append(Person(browsers, colab, f"p{time.monotonic_ns()}"))
        return made[-1]
    yield make
    colab.reset()
    for p in made:
        for n in p.client.get("/api/gpu/workers/notebooks")["notebooks"]:
            p.client.call("DELETE", f"/api/gpu/workers/notebooks/{n['id']}")
        for n in p.live():
            colab.drop(n, "disconnected")


def provisioner(stack):
    """The browser instance's process."""
    return stack.pids("gpupool-provisioner", "colab-browser")[0]


def browser_of(stack):
    return [(pid, line) for pid, line in descendants(stack.process.pid) if "/chromium" in line or "chromedriver" in line]


# ---- the way through ----------------------------------------------------------------

def test_from_the_form_to_a_job_and_back(person, colab, browsers, capsys):
    p = person()
    begun = time.monotonic()
    id = p.add(title="first light")
    n = p.becomes(id, "healthy")
    with capsys.disabled():
        print(f"\n  from POST to healthy, sign-in included: {time.monotonic() - begun:.1f} s")
    assert n["url"].startswith(colab.url + "/drive/") and "T4" in json.dumps(n["gpu"])
    assert p.account()["status"] == "ok" and p.account()["identity"] == p.email
    job = p.client.submit("import json, os\nopen(os.environ['GPUPOOL_RESULT'], 'w').write(json.dumps('from Colab'))", accelerator="gpu")
    over = p.client.ends(job)
    assert over["state"] == "succeeded" and over["result"] == "from Colab" and over["workerId"] == id, over

    p.client.post(f"/api/gpu/workers/notebooks/{id}/stop")
    p.becomes(id, "stopped")
    until(lambda: not p.live(), 60)
    until(lambda: not browser_of(browsers), 60)
    assert p.count("signed_in") == 1
    begun = time.monotonic()
    p.client.post(f"/api/gpu/workers/notebooks/{id}/start")
    p.becomes(id, "healthy")
    with capsys.disabled():
        print(f"\n  from start to healthy, signed in before: {time.monotonic() - begun:.1f} s")
    assert p.count("signed_in") == 1
