"""A pool that grows with the queue and shrinks when it is idle, with real local workers."""
import subprocess
import time

import pytest

from stack import BUILD, until



@pytest.fixture
def pool(own_stack):
    s = own_stack()
    first = s.admin.get("/api/gpu/workers/notebooks")["notebooks"][0]["id"]
    s.admin.healthy(first)
    return s, s.admin, first


def set_policy(admin, **policy):
    policy = {"enabled": True, "accelerator": "cpu", "maxWorkers": 3, "upDelaySeconds": 0, "downDelaySeconds": 0, "idleStopSeconds": 3, **policy}
    reply = admin.call("PUT", "/api/gpu/autoscale", policy)
    assert reply.status == 200, reply
    return reply.json


def notebooks(admin):
    return [n for n in admin.get("/api/gpu/workers/notebooks")["notebooks"] if n["own"]]


def healthy(admin):
    return [n["id"] for n in notebooks(admin) if n["state"] == "healthy"]


def test_grows_and_shrinks(pool):
    s, admin, first = pool
    set_policy(admin, idleStopSeconds=None)
    jobs = [admin.submit("import time; time.sleep(300)") for _ in range(8)]
    until(lambda: admin.get("/api/gpu/queue")["running"] >= 1)
    # Seven wait: more than five, so one more worker, and once it has taken one, six: another.
    until(lambda: len(healthy(admin)) == 3, 60)
    until(lambda: admin.get("/api/gpu/queue")["running"] == 3)
    assert len(notebooks(admin)) == 3
    why = [d for d in admin.get("/api/gpu/decisions?limit=100")["decisions"] if d["kind"] == "scaling"]
    assert {d["inputs"]["action"] for d in why} == {"create"} and len(why) == 2
    assert all(d["inputs"]["queued"] > 5 and d["inputs"]["reason"]["code"] == "queue_threshold" for d in why)
    # Nothing waits and nothing runs: all of them go, and nobody starts them again.
    set_policy(admin)
    for id in jobs:
        admin.post(f"/api/gpu/jobs/{id}/cancel")
    until(lambda: all(n["state"] == "stopped" and n["desiredState"] == "stopped" for n in notebooks(admin)), 60)
    # The next need starts those that are there before it makes any.
    again = [admin.submit("print('x')") for _ in range(6)]
    for id in again:
        assert admin.ends(id, 60)["state"] == "succeeded"
    assert len(notebooks(admin)) == 3


def test_a_worker_with_a_job_drains(pool, tmp_path):
    s, admin, first = pool
    id = admin.submit("import time\nfor i in range(40):\n print(i, flush=True)\n time.sleep(0.1)\nprint('whole')")
    admin.runs(id)
    set_policy(admin, maxWorkers=0)
    until(lambda: admin.notebook(first)["state"] == "draining")
    assert admin.notebook(first)["reason"]["code"] == "above_max"
    later = admin.submit("print('later')")
    j = admin.ends(id)
    assert j["state"] == "succeeded" and j["attempt"] == 1 and "whole" in admin.log(id)
    until(lambda: admin.notebook(first)["state"] == "stopped" and admin.notebook(first)["desiredState"] == "stopped")
    assert admin.job(later)["state"] == "queued"
    until(lambda: admin.post("/api/gpu/autoscale/plan", {})["jobs"][0]["reason"]["code"] in ("below_threshold", "max_workers"))
    set_policy(admin, maxWorkers=1, targetWaitSeconds=1)
    assert admin.ends(later, 60)["state"] == "succeeded"


def test_plan_and_commit_by_the_command_line(pool):
    s, admin, first = pool

    def gp(*words):
        return subprocess.run([str(BUILD / "gpupool"), *words, "--server", f"http://127.0.0.1:{s.port}", "--token-file", str(s.dir / "state/admin-token")],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60).stdout.decode()
    shown = gp("autoscale", "set", "--max", "2", "--up-delay", "10m", "--accelerator", "cpu")
    assert "workers, at most 2" in shown and "10m 0s" in shown and gp("autoscale", "show") == shown
    jobs = [admin.submit("import time; time.sleep(300)") for _ in range(8)]
    until(lambda: admin.get("/api/gpu/queue")["running"] == 1)
    out = gp("plan")
    assert "create" in out and "More jobs wait than the threshold allows." in out
    assert len(notebooks(admin)) == 1
    assert "create" in gp("plan", "--commit")
    until(lambda: len(healthy(admin)) == 2)
    assert "Nothing is to be done." in gp("plan")
    # The round that the commit kept is decided again to the byte; under another policy it is another.
    again = gp("replay")
    assert "1 create later" in again and "0 of 1 rounds would be decided otherwise." in again
    other = gp("replay", "--threshold", "50")
    assert "nothing" in other and "1 of 1 rounds would be decided otherwise." in other
    for id in jobs:
        admin.post(f"/api/gpu/jobs/{id}/cancel")


# ---- at Kaggle, by its stand-in -----------------------------------------------------

def kaggle_account(p):
    id = p.client.post("/api/gpu/accounts", {"provider": "kaggle", "credentials": p.credentials})["id"]
    until(lambda: p.account_row()["status"] == "ok" and p.account_row()["checkedAt"])
    return id


def waits_for(p):
    return [j["reason"]["code"] for j in p.client.post("/api/gpu/autoscale/plan", {})["jobs"]]


def test_kaggle_grows_to_what_the_account_may(person):
    p = person()
    set_policy(p.client, accelerator="gpu", maxWorkers=5, accounts=[kaggle_account(p)])
    jobs = [p.client.submit("import time; time.sleep(600)", accelerator="gpu") for _ in range(20)]
    until(lambda: len([n for n in notebooks(p.client) if n["state"] == "healthy"]) == 2, 60)
    # Two sessions at once with two GPUs each; all else waits for room, and nothing more is tried.
    until(lambda: p.client.get("/api/gpu/queue")["running"] == 4)
    until(lambda: waits_for(p)[-1] == "capacity")
    assert len(notebooks(p.client)) == 2 and len(p.runs()) == 2
    why = [d["inputs"] for d in p.client.get("/api/gpu/decisions?limit=100")["decisions"] if d["kind"] == "scaling"]
    assert [(d["reservesSeconds"], d["remainingAfterSeconds"]) for d in reversed(why)] == [(39600, 67500), (39600, 27900)]
    for id in jobs:
        p.client.post(f"/api/gpu/jobs/{id}/cancel")
    until(lambda: all(n["state"] == "stopped" and n["desiredState"] == "stopped" for n in notebooks(p.client)), 180)
    assert not p.runs(live=True) and len(p.runs()) == 2


def test_kaggle_starts_nothing_without_hours(person):
    p = person(week={"gpu": 1500, "tpu": 0})
    set_policy(p.client, accelerator="gpu", accounts=[kaggle_account(p)], targetWaitSeconds=1)
    for _ in range(8):
        p.client.submit("print(1)", accelerator="gpu")
    until(lambda: set(waits_for(p)) == {"quota"})
    before = p.client.post("/api/gpu/autoscale/plan", {})["jobs"][0]["startsAt"]
    assert before > "2026", "when the hours come back"
    assert not notebooks(p.client) and not p.runs()
