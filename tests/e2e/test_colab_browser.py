"""Colab through a real Chromium, against the small Colab of tests/google/minicolab, which really runs the notebook."""
import json
import os
import signal
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
        body = {"provider": "colab", "start": "browser", "accelerator": accelerator, "credentials": credentials, **fields}
        # A password is taken once the instance has made a key for it.
        made = until(lambda: (r := self.client.call("POST", "/api/gpu/workers/notebooks", body)).status != 409 and r, 60)
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


# ---- measures -----------------------------------------------------------------------

def pss(pid):
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    return int(text.split("\nPss:")[1].split()[0])


def ticks(pid):
    try:
        cells = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0
    return int(cells[11]) + int(cells[12])


def test_what_a_browser_costs(person, browsers, capsys):
    p = person()
    p.becomes(p.add(title="measured"), "healthy")
    tree = [pid for pid, _ in browser_of(browsers)]
    assert len(tree) > 3
    begun, before = time.monotonic(), sum(map(ticks, tree))
    until(lambda: time.monotonic() - begun > 20, 40)
    used = (sum(map(ticks, tree)) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - begun)
    with capsys.disabled():
        print(f"\n  browser of one worker: {sum(map(pss, tree)) / 1024:.0f} MiB PSS in {len(tree)} processes, {100 * used:.1f} % of a core")


# ---- where a person is asked for ------------------------------------------------------

def test_refused_sign_in_waits_for_the_person(person, colab, browsers):
    p = person()
    colab.challenge = "rejected"
    before = colab.count("rejected")
    id = p.add(title="refused")
    until(lambda: p.account()["status"] == "needs_human", 60)
    assert "gpupool browser sign-in" in p.account()["reason"]
    picture = p.client.call("GET", f"/api/gpu/accounts/{p.account()['id']}/picture")
    assert picture.status == 200 and picture.body[:8] == b"\x89PNG\r\n\x1a\n" and picture.headers["content-type"] == "image/png"
    assert picture.headers["x-content-type-options"] == "nosniff" and "sandbox" in picture.headers["content-security-policy"]
    for other in (browsers.admin, browsers.user()):
        assert other.call("GET", f"/api/gpu/accounts/{p.account()['id']}/picture").status == 404
    colab.challenge = None
    p.client.call("POST", f"/api/gpu/accounts/{p.account()['id']}/check")
    until(lambda: p.account()["status"] == "needs_human", 60)
    assert colab.count("rejected") == before + 1 and p.count("signed_in") == 0, "there was one try"
    p.becomes(id, "needs_human")

    # The password given anew is another try, which now succeeds, and the worker goes on.
    p.client.ok("PATCH", f"/api/gpu/accounts/{p.account()['id']}", {"credentials": {"email": p.email, "password": PASSWORD}})
    until(lambda: p.account()["status"] == "ok", 60)
    assert p.client.call("GET", f"/api/gpu/accounts/{p.account()['id']}/picture").status == 404
    p.becomes(id, "healthy")


def test_captcha_stops_and_is_not_tried_again(person, colab):
    p = person()
    colab.dialog = "recaptcha"
    id = p.add(title="captcha")
    n = p.becomes(id, "needs_human")
    assert "whether a person is there" in n["reason"]["message"]
    assert p.client.call("GET", f"/api/gpu/accounts/{p.account()['id']}/picture").status == 200
    runs = colab.count("run")
    until(lambda: p.account()["status"] == "needs_human", 60)
    colab.dialog = None
    begun = time.monotonic()
    until(lambda: time.monotonic() - begun > 6, 20)
    assert colab.count("run") == runs and p.client.notebook(id)["state"] == "needs_human"


def test_quota_waits(person, colab):
    p = person()
    colab.dialog = "quota"
    id = p.add(title="no gpu")
    n = until(lambda: (n := p.client.notebook(id))["state"] == "waiting" and (n["reason"] or {}).get("code") == "quota" and n, 120)
    assert "usage limits" in n["reason"]["message"] and not colab.count("pressed")
    assert p.account()["status"] == "ok"


# ---- restarts -------------------------------------------------------------------------

@pytest.mark.parametrize("after", ["signed_in", "upload", "run", "connected"])
def test_instance_is_killed(person, colab, browsers, after):
    """At any moment of a start: what was run is not run again, and the worker becomes healthy."""
    p = person()
    colab.connect_seconds = 2
    mark = len(colab.events)
    id = p.add(title="killed after " + after.replace("_", " "))
    until(lambda: any(e[0] == after for e in colab.events[mark:]), 90)
    os.kill(provisioner(browsers), signal.SIGKILL)
    until(lambda: browsers.pids("gpupool-provisioner", "colab-browser"), 30)
    if until(lambda: (n := p.client.notebook(id)["state"]) in ("healthy", "needs_human") and n, 200) == "needs_human":
        # The browser had not yet written the sign-in down, and the password is gone with the key: it is asked for again.
        assert after == "signed_in" and "sign-in" in p.account()["reason"]
        given = {"credentials": {"email": p.email, "password": PASSWORD}}
        until(lambda: p.client.call("PATCH", f"/api/gpu/accounts/{p.account()['id']}", given).status == 200, 60)
    p.becomes(id, "healthy", 200)
    assert sum(1 for e in colab.events[mark:] if e[0] == "run") == 1
    assert len(p.live()) == 1


# ---- secrets --------------------------------------------------------------------------

def test_password_is_nowhere(person, browsers):
    p = person()
    p.becomes(p.add(title="secret"), "healthy")
    needles = [PASSWORD.encode(), json.dumps(PASSWORD)[1:-1].encode(), PASSWORD.encode("utf-16-le")]
    found = []
    for top, _, names in os.walk(browsers.dir, followlinks=True):
        for name in names:
            path = os.path.join(top, name)
            try:
                data = Path(path).read_bytes() if os.path.isfile(path) else b""
            except OSError:
                continue
            found += [path for needle in needles if needle in data]
    for pid, _ in descendants(browsers.process.pid):
        for part in ("cmdline", "environ"):
            try:
                data = Path(f"/proc/{pid}/{part}").read_bytes()
            except OSError:
                continue
            found += [f"{pid} {part}" for needle in needles if needle in data]
    assert not found
    assert p.count("signed_in") == 1
