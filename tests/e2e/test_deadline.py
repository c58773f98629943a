"""A session that ends before its jobs do, and slots that are kept for a job that needs several: with real workers."""
import contextlib
import os
import subprocess
import sys

from stack import ROOT, until

# Counts steps of a tenth of a second; told that its session ends, it keeps where it is and asks to go on elsewhere.
TRAINING = """
import json, os, sys, time
at = os.path.join(os.environ["GPUPOOL_CHECKPOINT"], "step")
begun = step = int(open(at).read()) if os.path.exists(at) else 0
while not begun or step < begun + 20:
    step += 1
    time.sleep(0.1)
    if os.path.exists(os.environ["GPUPOOL_NOTICE"]):
        seconds = json.load(open(os.environ["GPUPOOL_NOTICE"]))["seconds"]
        open(at, "w").write(str(step))
        print("told", seconds, "at", step, flush=True)
        sys.exit(75)
json.dump({"begun": begun, "steps": step}, open(os.environ["GPUPOOL_RESULT"], "w"))
"""


def without_workers(admin):
    for n in admin.get("/api/gpu/workers/notebooks")["notebooks"]:
        admin.call("DELETE", f"/api/gpu/workers/notebooks/{n['id']}")
    until(lambda: not admin.get("/api/gpu/workers/notebooks")["notebooks"])


def test_training_goes_on_in_the_next_session(own_stack):
    stack = own_stack()
    admin = stack.admin
    without_workers(admin)
    worker = admin.worker(maxSessionSeconds=60)
    first = admin.healthy(worker)["session"]["id"]
    job = admin.submit(TRAINING, type="training", maxAttempts=1)
    admin.runs(job)
    until(lambda: admin.notebook(worker)["state"] == "draining", 90)
    assert "takes no more jobs" in admin.notebook(worker)["reason"]["message"]
    j = admin.ends(job, 150)
    assert j["state"] == "succeeded", (j, admin.log(job))
    assert j["attempt"] == 1 and j["result"]["begun"] > 100 and j["result"]["steps"] == j["result"]["begun"] + 20
    outcomes = [a["outcome"] for a in admin.attempts(job)]
    assert outcomes == ["released", "succeeded"], outcomes
    assert admin.notebook(worker)["session"]["id"] != first         # it started anew by itself
    assert "checkpoint of an earlier attempt was given back" in admin.log(job)
    reasons = {d["reason"] for d in admin.get(f"/api/gpu/decisions?subject=worker%20{worker}")["decisions"]}
    assert "Its session reaches its deadline." in reasons


@contextlib.contextmanager
def two_slots(stack, tmp_path):
    """A worker with two slots: an agent that a person starts by hand."""
    admin = stack.admin
    worker = admin.worker(provider="manual")
    until(lambda: admin.notebook(worker)["state"] == "needs_human")
    token = admin.post(f"/api/gpu/workers/notebooks/{worker}/enrolment")["token"]
    env = {"PATH": os.environ["PATH"], "GPUPOOL_ENROL_TOKEN": token, "GPUPOOL_SLOTS": "2", "GPUPOOL_UID_BASE": "0", "GPUPOOL_WORK": str(tmp_path / "work")}
    with open(tmp_path / "agent.log", "wb") as log:
        agent = subprocess.Popen([sys.executable, str(ROOT / "src/agent/gpupool-agent.py"), f"http://127.0.0.1:{stack.port}"], env=env,
                                 stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        admin.healthy(worker)
        yield worker
    finally:
        agent.terminate()
        agent.wait(30)


def test_job_of_two_slots_beside_a_stream_of_one(own_stack, tmp_path):
    """Its owner has used more than the stream's, so that each free slot would go to the stream."""
    stack = own_stack(GPUPOOL_PLACE_HOLD_SECONDS="4")
    admin = stack.admin
    without_workers(admin)
    with two_slots(stack, tmp_path):
        # Jobs of one slot each, never two that end at once, and always more of them.
        stream = [admin.submit("import time; time.sleep(%r)" % (1.5 + 0.35 * (i % 3)), priority=9) for i in range(60)]
        until(lambda: sum(admin.job(id)["state"] == "running" for id in stream[:4]) == 2)
        wide = admin.submit("pass", gpus=2)
        until(lambda: admin.job(wide)["waitingReason"] == "no_worker")
        j = admin.ends(wide, 60)
        assert j["state"] == "succeeded", j
        assert j["delaySeconds"] > 4
        why = [d["reason"] for d in admin.get(f"/api/gpu/decisions?subject=job%20{wide}")["decisions"]]
        assert any(reason.startswith("It went to worker ") for reason in why), why
        waiting = [one for one in (admin.job(id) for id in stream) if one["state"] == "queued"]
        assert waiting, "the stream had ended before"
        for id in stream:
            admin.call("POST", f"/api/gpu/jobs/{id}/cancel")
