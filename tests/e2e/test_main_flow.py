"""The main flow through nginx, with a real worker and real jobs."""
import hashlib
import json
import os
import signal
import subprocess
import time

from stack import ROOT, Client, until

DIGITS = (ROOT / "src/examples/digits.py").read_text()


def test_worker_registers_by_itself(admin, worker):
    n = admin.notebook(worker)
    assert n["state"] == "healthy" and n["provider"] == "local" and n["gpu"] is not None
    assert n["session"]["startedAt"] and n["quota"] is None
    assert n["jobs"]["running"] == 0


def test_training_on_real_digits(admin, worker):
    id = admin.submit(DIGITS, type="training", name="digits", args=["--epochs", "20", "--seed", "1"])
    seen = []

    def over():
        j = admin.job(id)
        if j["progress"]:
            seen.append(j["progress"]["fraction"])
        return j["state"] != "running" and j["state"] != "queued" and j
    j = until(over, 90)
    assert j["state"] == "succeeded", (j, admin.log(id))
    assert j["attempt"] == 1 and j["error"] is None
    assert 0.8 < j["result"]["accuracy"] <= 1
    assert len(set(seen)) > 1, "progress was never seen to move"
    assert "epoch" in admin.log(id)
    files = admin.get(f"/api/gpu/jobs/{id}/artifacts")["artifacts"]
    assert files
    body = admin.call("GET", f"/api/gpu/jobs/{id}/artifacts/{files[0]['name']}")
    assert body.status == 200 and len(body.body) == files[0]["size"]
    assert body.headers["content-disposition"].startswith("attachment")
    assert body.headers["x-content-type-options"] == "nosniff"


def test_answer_of_submit_names_the_worker(admin, worker):
    reply = admin.post("/api/gpu/jobs", {"type": "script", "payload": {"code": "print('hi')"}})
    assert set(reply) >= {"jobId", "workerId", "assigned", "state", "waitingReason"}
    j = admin.ends(reply["jobId"])
    assert j["state"] == "succeeded" and j["workerId"] == worker


def test_log_grows_while_it_runs(admin, worker):
    id = admin.submit("import time\nfor i in range(60):\n print('line', i, flush=True)\n time.sleep(0.1)\n")
    until(lambda: "line 3\n" in admin.log(id))
    assert admin.job(id)["state"] == "running"
    whole = admin.log(id)
    tail = admin.call("GET", f"/api/gpu/jobs/{id}/logs?offset=5").body.decode()
    assert tail.startswith(whole[5:20])
    admin.post(f"/api/gpu/jobs/{id}/cancel")


def test_cancel_kills_within_two_seconds(admin, worker):
    id = admin.submit("import signal,time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\ntime.sleep(600)")
    until(lambda: "up" in admin.log(id))
    start = time.monotonic()
    assert admin.post(f"/api/gpu/jobs/{id}/cancel")["state"] == "cancelled"
    until(lambda: admin.notebook(worker)["jobs"]["running"] == 0, 5)
    nxt = admin.submit("print('next')")
    assert admin.ends(nxt)["state"] == "succeeded"
    assert time.monotonic() - start < 6
    late = admin.call("POST", f"/api/gpu/jobs/{id}/cancel", {})
    assert late.status == 409


def test_failure_has_a_traceback(admin, worker):
    id = admin.submit("def f():\n raise ValueError('no such thing')\nf()")
    j = admin.ends(id)
    assert j["state"] == "failed" and j["attempt"] == 1
    assert "no such thing" in json.dumps(j["error"])


def test_retry_on_error_uses_up_attempts(admin, worker):
    id = admin.submit("import sys; print('try'); sys.exit(3)", retryOn=["error"], maxAttempts=2)
    j = admin.ends(id)
    assert j["state"] == "failed" and j["attempt"] == 2
    assert len(admin.attempts(id)) == 2


def test_timeout(admin, worker):
    id = admin.submit("import time; time.sleep(60)", timeoutSeconds=1)
    assert admin.ends(id)["state"] == "timed_out"


def test_run_after_and_waiting_reason(admin, worker):
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3))
    id = admin.submit("print(1)", runAfter=soon)
    j = admin.job(id)
    assert j["state"] == "queued" and j["waitingReason"] == "run_after"
    j = admin.ends(id)
    assert j["state"] == "succeeded" and j["startedAt"] >= soon[:19]


def test_inputs_args_env(admin, worker):
    code = ("import json,os,sys\nopen(os.environ['GPUPOOL_RESULT'],'w').write(json.dumps({'args':sys.argv[1:],"
            "'env':os.environ['COLOR'],'file':open(os.environ['GPUPOOL_INPUTS']+'/a/b.txt').read()}))")
    id = admin.submit(code, args=["x", "y z"], env={"COLOR": "blue"}, files={"a/b.txt": "content"})
    j = admin.ends(id)
    assert j["result"] == {"args": ["x", "y z"], "env": "blue", "file": "content"}, j


def test_batch_search_and_bulk_cancel(admin, worker):
    jobs = [{"type": "script", "payload": {"code": "import time; time.sleep(300)"}, "name": f"bulk-{i}", "tags": ["bulk"]} for i in range(20)]
    made = admin.post("/api/gpu/jobs/batch", {"jobs": jobs})
    assert len(made["jobs"]) == 20
    assert len(admin.get("/api/gpu/jobs?tag=bulk&limit=50")["jobs"]) == 20
    first = admin.get("/api/gpu/jobs?tag=bulk&limit=7")
    assert len(first["jobs"]) == 7 and first["nextPageToken"]
    second = admin.get(f"/api/gpu/jobs?tag=bulk&limit=7&pageToken={first['nextPageToken']}")
    assert not {j["id"] for j in first["jobs"]} & {j["id"] for j in second["jobs"]}
    admin.post("/api/gpu/jobs/cancel", {"tag": "bulk"})
    until(lambda: all(j["state"] == "cancelled" for j in admin.get("/api/gpu/jobs?tag=bulk&limit=50")["jobs"]))


def test_priority_goes_first(admin, worker):
    block = admin.submit("import time; time.sleep(1.5)")
    admin.runs(block)
    low = admin.submit("print('low')", priority=1)
    high = admin.submit("print('high')", priority=9)
    a, b = admin.ends(low), admin.ends(high)
    assert b["startedAt"] <= a["startedAt"]
    assert b["finishedAt"] <= a["startedAt"]


def test_stop_and_start_again(admin, stack):
    id = admin.worker(title="cycle")
    admin.healthy(id)
    admin.post(f"/api/gpu/workers/notebooks/{id}/stop")
    until(lambda: admin.notebook(id)["state"] == "stopped")
    admin.post(f"/api/gpu/workers/notebooks/{id}/start")
    admin.healthy(id)
    assert admin.call("DELETE", f"/api/gpu/workers/notebooks/{id}").status == 202
    until(lambda: admin.call("GET", f"/api/gpu/workers/notebooks/{id}").status == 404
          or admin.notebook(id)["state"] == "deleted")


def test_session_ends_at_its_deadline(admin):
    id = admin.worker(title="short", maxSessionSeconds=60)
    n = admin.healthy(id)
    assert n["session"]["deadline"] is not None
    admin.call("DELETE", f"/api/gpu/workers/notebooks/{id}")


def test_line_to_paste_makes_a_worker_of_any_machine(admin, tmp_path):
    """The `manual` provider: the line downloads the agent from this server and registers."""
    id = admin.worker(provider="manual", title="pasted")
    n = until(lambda: (n := admin.notebook(id))["state"] == "needs_human" and n)
    assert n["reason"]["message"]
    line = admin.post(f"/api/gpu/workers/notebooks/{id}/enrolment")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    agent = subprocess.Popen(["bash", "-c", "exec 2>&1; " + line["commandWithToken"]], cwd=tmp_path, env=env, stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, start_new_session=True)
    try:
        admin.healthy(id)
        again = admin.call("POST", f"/api/gpu/workers/notebooks/{id}/enrolment", {})
        assert again.status == 409, "a second machine could enter a session that runs"
        admin.post(f"/api/gpu/workers/notebooks/{id}/stop")
        out, _ = agent.communicate(timeout=30)
        assert agent.returncode == 0, out
        assert line["token"] not in out.decode()
        until(lambda: admin.notebook(id)["state"] == "stopped")
    finally:
        if agent.poll() is None:
            os.killpg(agent.pid, signal.SIGKILL)
            agent.wait()
    admin.call("DELETE", f"/api/gpu/workers/notebooks/{id}")


def test_agent_file_names_its_checksum(stack):
    reply = Client(stack.port).call("GET", "/agent/gpupool-agent.py")
    assert reply.status == 200
    assert reply.headers["etag"].strip('W/').strip('"') == hashlib.sha256(reply.body).hexdigest()
    assert len(reply.body) < 200_000
