"""Plugs pulled in mid-job: every acknowledged job finishes once, none is lost, none is done twice."""
import os
import signal
import time

import pytest

from stack import Client, until

SLOW = "import os,time\nfor i in range(20):\n print(i, flush=True)\n time.sleep(0.15)\nopen(os.environ['GPUPOOL_RESULT'],'w').write('{\"done\": true}')"


def begin(stack, slots="4", jobs=8):
    """A worker with jobs running and more waiting."""
    admin = stack.admin
    worker = admin.worker(title="victim")
    admin.healthy(worker)
    ids = [j["jobId"] for j in admin.post("/api/gpu/jobs/batch", {
        "jobs": [{"type": "script", "payload": {"code": SLOW}} for _ in range(jobs)]})["jobs"]]
    until(lambda: any(admin.job(i)["state"] == "running" for i in ids))
    return worker, ids


def all_done_once(admin, ids, seconds=120):
    for id in ids:
        j = admin.ends(id, seconds)
        assert j["state"] == "succeeded" and j["result"] == {"done": True}, (j, admin.log(id))
        outcomes = [a["outcome"] for a in admin.attempts(id)]
        assert outcomes.count("succeeded") == 1, outcomes


def alive_again(admin, seconds=30):
    def ready():
        try:
            return admin.call("GET", "/readyz", timeout=5).status == 200
        except OSError:
            return False
    until(ready, seconds)


@pytest.mark.parametrize("name, words", [
    ("provisioner", ("gpupool-provisioner", "local")),
    ("every web child", ("gpupool-web",)),
])
def test_kill_9_of_ours(own_stack, name, words):
    stack = own_stack()
    worker, ids = begin(stack, jobs=3)
    victims = stack.pids(*words)
    assert victims
    for pid in victims:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    alive_again(stack.admin)
    all_done_once(stack.admin, ids)
    until(lambda: stack.admin.notebook(worker)["state"] == "healthy")


def test_kill_9_of_the_agent(own_stack):
    stack = own_stack()
    worker, ids = begin(stack, jobs=3)
    agents = [p for p in stack.pids("gpupool-agent.py")]
    assert agents
    for pid in agents:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    all_done_once(stack.admin, ids)
    lost = [a for i in ids for a in stack.admin.attempts(i) if a["outcome"] == "lost"]
    assert lost, "the killed agent's attempt is not recorded as lost"


def test_kill_9_of_postgresql(own_stack):
    stack = own_stack()
    worker, ids = begin(stack, jobs=3)
    postmaster = [p for p in stack.pids("postgres", "-D")]
    assert postmaster
    os.kill(postmaster[0], signal.SIGKILL)
    statuses = set()

    def back():
        try:
            r = stack.admin.call("GET", "/api/gpu/jobs?limit=1", timeout=20)
        except OSError:
            return False
        statuses.add(r.status)
        assert r.status in (200, 503), r
        if r.status == 503:
            assert "retry-after" in r.headers
        return r.status == 200
    until(back, 60)
    all_done_once(stack.admin, ids)


def test_stop_releases_and_restart_finishes_with_attempt_1(own_stack):
    stack = own_stack()
    worker, ids = begin(stack, jobs=2)
    assert stack.stop(signal.SIGINT) == 0
    stack.start()
    all_done_once(stack.admin, ids)
    assert all(stack.admin.job(i)["attempt"] == 1 for i in ids)
    assert any(a["outcome"] == "released" for i in ids for a in stack.admin.attempts(i))
    assert stack.admin.notebook(worker)["state"] == "healthy"


def test_kill_9_of_everything_and_restart(own_stack):
    stack = own_stack()
    worker, ids = begin(stack, jobs=2)
    below = stack.pids()
    stack.process.kill()
    stack.process.wait()
    until(lambda: not any(os.path.exists(f"/proc/{p}") and "postgres" in open(f"/proc/{p}/cmdline").read() for p in below
                          if os.path.exists(f"/proc/{p}/cmdline")), 20)
    stack.start()
    all_done_once(stack.admin, ids)


def test_two_side_by_side(own_stack):
    a, b = own_stack(), own_stack()
    ja, jb = a.admin.submit("print('a')"), b.admin.submit("print('b')")
    assert a.admin.call("GET", f"/api/gpu/jobs/{jb}").status == 404 or ja == jb
    wa, wb = a.admin.worker(), b.admin.worker()
    assert a.admin.ends(ja)["state"] == b.admin.ends(jb)["state"] == "succeeded"
    assert a.admin.log(ja) == "a\n" and b.admin.log(jb) == "b\n"
    assert Client(b.port, a.admin.token).call("GET", "/api/gpu/jobs").status == 401


def test_nothing_is_left_behind(own_stack):
    stack = own_stack()
    begin(stack, jobs=1)
    below = stack.pids()
    assert len(below) > 5
    assert stack.stop() == 0
    left = [p for p in below if os.path.exists(f"/proc/{p}")]
    assert not left, [open(f"/proc/{p}/cmdline").read() for p in left]
