"""The stand-in itself: what other tests lean on must be as strict as they believe."""
import base64
import http.client
import json
import os
import socket
import subprocess
import sys
import time
import types
import urllib.parse

import pytest

import box
import kernels
import standin
from standin import KaggleStandIn

KEY, TOKEN = "0123456789abcdef0123456789abcdef", "KGAT_alice"


def until(what, seconds=10):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("did not come true")


class Caller:
    """A client with nothing hidden: method, request → (status, answer)."""

    def __init__(self, kaggle, **headers):
        self.kaggle = kaggle
        self.headers = {"Content-Type": "application/json", "User-Agent": "test", **headers}

    def http(self, verb, path, body=None, port=None, **headers):
        conn = http.client.HTTPConnection("127.0.0.1", port or self.kaggle.port, timeout=10)
        try:
            conn.request(verb, path, body, {k: v for k, v in {**self.headers, **headers}.items() if v is not None})
            reply = conn.getresponse()
            return reply, reply.read()
        finally:
            conn.close()

    def __call__(self, method, service="kernels.KernelsApiService", **request):
        reply, body = self.http("POST", "/v1/%s/%s" % (service, method), json.dumps(request))
        assert reply.headers["X-Kaggle-RequestId"] and reply.headers["X-Kaggle-ApiVersion"]
        return reply.status, json.loads(body)

    def push(self, slug="pool-worker", text="print('hi')\n", owner="alice", **more):
        fields = {"slug": "%s/%s" % (owner, slug), "newTitle": slug.replace("-", " "), "text": text, "language": "python",
                  "kernelType": "script", "isPrivate": True, "enableInternet": True, "kernelExecutionType": "SAVE_AND_RUN_ALL", **more}
        return self("SaveKernel", **{k: v for k, v in fields.items() if v is not None})

    def status(self, slug="pool-worker", owner="alice", **more):
        code, answer = self("GetKernelSessionStatus", userName=owner, kernelSlug=slug, **more)
        return answer["status"] if code == 200 else code

    def ends(self, slug="pool-worker", **more):
        over = ("COMPLETE", "ERROR", "CANCEL_ACKNOWLEDGED")
        return until(lambda: (s := self.status(slug, **more)) in over and s)


@pytest.fixture
def kaggle():
    with KaggleStandIn() as k:
        k.account("alice", KEY, [TOKEN])
        k.account("bob", "b" * 32, ["KGAT_bob"])
        yield k


@pytest.fixture
def still(kaggle):
    """Without processes."""
    kaggle.world.processes = False
    return kaggle


@pytest.fixture
def alice(kaggle):
    return Caller(kaggle, Authorization="Bearer " + TOKEN)


@pytest.fixture
def bob(kaggle):
    return Caller(kaggle, Authorization="Bearer KGAT_bob")


# ---- the door ------------------------------------------------------------------

def test_only_post_and_only_json(kaggle, alice):
    path = "/v1/kernels.KernelsApiService/GetKernel"
    assert alice.http("GET", path)[0].status == 404
    assert alice.http("POST", "/v1/kernels.KernelsApiService/RunKernel", "{}")[0].status == 404
    assert alice.http("POST", "/api/v1/kernels.KernelsApiService/GetKernel", "{}")[0].status == 404
    assert alice.http("POST", path, "{}", **{"Content-Type": "text/plain"})[0].status == 400
    for body in ("{", "[]", "", "null"):
        assert alice.http("POST", path, body)[0].status == 400


def test_unknown_and_ill_typed_fields_are_refused(alice):
    assert alice("GetKernel", userName="alice", kernelSlug="x", extra=1)[0] == 400
    assert alice.push(machine_shape="NvidiaTeslaT4")[0] == 400
    assert alice.push(isPrivate="true")[0] == 400
    assert alice.push(sessionTimeoutSeconds="3600")[0] == 400
    assert alice.push(datasetDataSources=[1])[0] == 400
    assert alice.push(kernelExecutionType="RUN")[0] == 400
    assert alice.push(language="perl")[0] == 400


def test_credentials(kaggle, alice):
    def basic(pair):
        return "Basic " + base64.b64encode(pair.encode()).decode()
    quota = "/v1/kernels.KernelsApiService/GetAcceleratorQuotaStatistics"
    for header, status in ((basic("alice:" + KEY), 200), (basic("bob:" + KEY), 401), (basic("alice:x"), 401), ("Bearer " + KEY, 401),
                           ("Bearer x", 401), ("Basic !!", 401), (None, 401)):
        reply, body = alice.http("POST", quota, "{}", Authorization=header)
        assert reply.status == status, header
        if status == 401:
            assert json.loads(body) == {"error": {"code": 401, "message": "Unauthenticated", "status": "UNAUTHENTICATED"}}
    kaggle.world.accounts["alice"].revoke()
    assert alice("GetAcceleratorQuotaStatistics")[0] == 401
    assert KEY not in repr([vars(c) for c in kaggle.calls])


def test_introspection_names_the_owner(kaggle, alice):
    code, answer = alice("IntrospectToken", "security.OAuthService", token=TOKEN)
    assert code == 200 and answer["active"] and answer["username"] == "alice"
    nobody = Caller(kaggle)
    assert nobody("IntrospectToken", "security.OAuthService", token=TOKEN)[0] == 200
    assert nobody("IntrospectToken", "security.OAuthService", token="KGAT_x")[0] == 404


def test_a_client_without_a_name_gets_a_page(kaggle, alice):
    conn = http.client.HTTPConnection("127.0.0.1", kaggle.port)
    conn.putrequest("POST", "/v1/kernels.KernelsApiService/ListKernels", skip_accept_encoding=True)
    for name, value in (("Authorization", "Bearer " + TOKEN), ("Content-Type", "application/json"), ("Content-Length", "2")):
        conn.putheader(name, value)
    conn.endheaders(b"{}")
    reply = conn.getresponse()
    assert reply.status == 200 and reply.read().startswith(b"<!DOCTYPE html>")
    with pytest.raises(AssertionError):
        kaggle.blameless()


# ---- saving ----------------------------------------------------------------------

def test_missing_foreign_and_lagging_kernels_look_alike(still, alice, bob):
    still.world.lag = 2
    assert alice.push()[0] == 200
    denied = {"code": 403, "message": "Permission 'kernels.get' was denied", "status": "PERMISSION_DENIED"}
    for who, slug in ((alice, "other"), (bob, "pool-worker"), (alice, "pool-worker"), (alice, "pool-worker")):
        for_one = who("GetKernel", userName="alice", kernelSlug=slug)
        assert for_one == (403, {"error": denied})
        if slug == "pool-worker" and who is alice:
            continue
        for method in ("GetKernelSessionStatus", "ListKernelSessionOutput", "DeleteKernel"):
            assert who(method, userName="alice", kernelSlug=slug)[0] == 403
    assert alice("GetKernel", userName="alice", kernelSlug="pool-worker")[0] == 200
    assert bob.push(owner="alice")[0] == 403


def test_the_title_makes_the_slug(still, alice):
    code, answer = alice.push("pool-worker", newTitle="Another Name!")
    assert code == 200 and answer["ref"] == "/code/alice/another-name" and answer["url"].endswith("/code/alice/another-name")
    assert alice.status("pool-worker") == 403
    assert alice.push("another-name", newTitle="third name")[0] == 409
    for slug, title in (("12-worker", None), ("worker", "\U0001f600 \U0001f600 \U0001f600 \U0001f600 \U0001f600")):
        answer = alice.push(slug, **({"newTitle": title} if title else {}))[1]
        assert answer["error"] == "Notebook not found" and not answer["versionNumber"]
    still.world.mismatch_refused = True
    assert alice.push("pool-worker", newTitle="Yet Another")[1]["error"] == "Notebook not found"
    assert len(still.world.kernels) == 1


def test_limits_of_size(still, alice):
    assert alice.push("a" * 50)[0] == 200
    assert alice.push("a" * 51)[0] == 400
    assert alice.push("exact", text="#" * 1000000)[0] == 200
    assert alice.push("large", text="#" * 1000001)[0] == 400
    assert alice.push("empty", text="")[0] == 400
    assert alice.push("shape", machineShape="NvidiaNone")[0] == 400
    assert alice.push("shape", sessionTimeoutSeconds=43201)[0] == 400
    cells = {"cells": [{"cell_type": "code", "source": ["print(1)"]}], "nbformat": 4}
    assert alice.push("book1", text=json.dumps(cells), kernelType="notebook")[0] == 500
    cells["cells"][0]["source"] = "print(1)"
    assert alice.push("book1", text=json.dumps(cells), kernelType="notebook")[0] == 200
    assert alice.push("book1")[0] == 400


def test_versions_and_labels(still, alice):
    assert alice.push()[1]["versionNumber"] == 1
    assert alice.push(text="print(2)\n", kernelExecutionType="QUICK_SAVE")[1]["versionNumber"] == 2
    assert len(still.runs()) == 1
    assert alice.push(text="print(3)\n")[1]["versionNumber"] == 3
    assert len(still.runs(live=True)) == 2 and still.world.overlaps == [("alice", "pool-worker", 3)]
    until(lambda: alice.status(versionLabel="v1") == "RUNNING")
    assert alice.status(versionLabel="v2") == "NEW_SCRIPT"
    for label, status in (("1", 404), ("v4", 404), ("v0", 404)):
        assert alice.status(versionLabel=label) == status
    assert alice.status("pool-worker/1") == 403
    got = alice("GetKernel", userName="alice", kernelSlug="pool-worker")[1]
    assert got["blob"]["source"] == "print(3)\n" and got["metadata"]["currentVersionNumber"] == 3
    assert alice("GetKernel", userName="alice", kernelSlug="pool-worker", versionLabel="v1")[1]["blob"]["source"] == "print('hi')\n"


def test_unknown_sources_are_told_and_the_run_goes_on(kaggle, alice):
    kaggle.world.sources["datasets"] = {"alice/good"}
    code, answer = alice.push(text="import os; print(open('../input/alice/good/data.txt').read())", datasetDataSources=["alice/good", "x/y"],
                              modelDataSources=["a/b/c/d"])
    assert code == 200 and answer["versionNumber"] == 1
    assert answer["invalidDatasetSources"] == ["x/y"] and answer["invalidModelSources"] == ["a/b/c/d"] and answer["invalidKernelSources"] == []
    assert alice.ends() == "COMPLETE"


# ---- room and hours ---------------------------------------------------------------

def test_two_gpu_and_five_cpu_runs(still, alice):
    gpu = {"machineShape": "NvidiaTeslaT4", "enableGpu": True}
    for i in range(2):
        assert alice.push("gpu-run-%d" % i, **gpu)[1]["versionNumber"] == 1
    refused = alice.push("gpu-run-x", **gpu)
    assert refused[0] == 200 and refused[1]["error"] == "Maximum batch GPU session count of 2 reached." and refused[1]["versionNumber"] == 0
    assert alice.status("gpu-run-x") == 403
    for i in range(5):
        assert alice.push("cpu-run-%d" % i)[1]["versionNumber"] == 1
    assert alice.push("cpu-run-x")[1]["error"] == "Maximum batch CPU session count of 5 reached."
    assert alice("DeleteKernel", userName="alice", kernelSlug="gpu-run-0") == (200, {})
    assert alice.push("gpu-run-x", **gpu)[1]["versionNumber"] == 1


def seconds(text):
    return float(text.removesuffix("s"))


def test_hours_run_while_it_runs(still, alice):
    alice.push(machineShape="NvidiaTeslaT4", sessionTimeoutSeconds=7200)
    until(lambda: alice.status() == "RUNNING")
    still.world.clock.advance(1800)
    quota = alice("GetAcceleratorQuotaStatistics")[1]
    gpu = quota["gpuQuota"]
    if seconds(gpu["timeUsed"]) < 1800:      # the clock passed the turn of a week
        still.world.clock.advance(1800)
        gpu = alice("GetAcceleratorQuotaStatistics")[1]["gpuQuota"]
    assert 1800 <= seconds(gpu["timeUsed"]) < 3700 and seconds(gpu["timeReserved"]) <= 5400
    assert gpu["totalTimeAllowed"] == "108000s" and quota["tpuQuota"]["timeUsed"] == "0.0s"
    assert time.strptime(quota["quotaRefreshTime"], "%Y-%m-%dT%H:%M:%SZ").tm_wday == 5
    still.world.clock.advance(7200)
    assert until(lambda: alice.status() != "RUNNING" and alice.status()) == "CANCEL_ACKNOWLEDGED"
    still.world.use("alice", "gpu", 108000)
    assert alice.push(machineShape="NvidiaTeslaT4")[1]["error"] == "Maximum weekly GPU quota of 30.00 hours reached."
    assert alice.push()[1]["versionNumber"] == 2, "the processor's hours are not counted"
    still.world.clock.advance(kernels.WEEK)
    assert alice("GetAcceleratorQuotaStatistics")[1]["gpuQuota"]["timeUsed"] == "0.0s"


# ---- runs ---------------------------------------------------------------------------

def test_it_really_runs(kaggle, alice, monkeypatch):
    code = ("import os,sys\nprint('out')\nprint('err', file=sys.stderr)\nos.makedirs('sub')\nopen('sub/a.txt','w').write('A')\n"
            "print(sorted(os.environ))\nprint(os.getcwd())\nprint(open(__file__).read()[:9])")
    monkeypatch.setenv("OURS", "seen")
    assert alice.push(text=code)[0] == 200
    assert alice.ends() == "COMPLETE"
    answer = alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker")[1]
    log = json.loads(answer["log"])
    text = {name: "".join(e["data"] for e in log if e["stream_name"] == name) for name in ("stdout", "stderr")}
    assert text["stdout"].startswith("out\n") and "/working\nimport os" in text["stdout"] and "OURS" not in text["stdout"]
    assert "err\n" in text["stderr"] and "NbConvertApp" in text["stderr"]
    names = {f["fileName"]: f["url"] for f in answer["files"]}
    assert set(names) == {"sub/a.txt", "results/out.json", "../x"}
    url = urllib.parse.urlparse(names["sub/a.txt"])
    assert url.port == kaggle.file_port != kaggle.port
    reply, body = alice.http("GET", url.path + "?" + url.query, port=url.port, Authorization=None)
    assert reply.status == 200 and body == b"A"
    assert alice.http("GET", url.path, port=url.port, Authorization=None)[0].status == 403
    kaggle.blameless()
    alice.http("GET", url.path + "?" + url.query, port=url.port)
    assert kaggle.violations == ["Authorization was sent to the file server"]


def test_an_exception_is_an_error(kaggle, alice):
    alice.push(text="raise SystemExit(3)")
    assert alice.ends() == "ERROR"
    assert "exit status 3" in alice("GetKernelSessionStatus", userName="alice", kernelSlug="pool-worker")[1]["failureMessage"]


def test_nothing_is_seen_while_it_runs_and_the_log_comes_late(still, alice):
    still.world.log_seconds = 30
    alice.push()
    until(lambda: alice.status() == "RUNNING")
    for state in ("RUNNING", "COMPLETE"):
        assert alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker") == (200, {"files": [], "log": ""})
        with still.world.lock:
            if state == "RUNNING":
                still.runs()[0].finish("COMPLETE")
    still.world.clock.advance(31)
    assert alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker")[1]["log"]


def test_pages(still, alice):
    still.world.extra_files = {"f%02d" % i: b"x" for i in range(5)}
    alice.push()
    with still.world.lock:
        still.runs()[0].finish("COMPLETE")
    seen, token = [], None
    for _ in range(3):
        answer = alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker", pageSize=2, **({"pageToken": token} if token else {}))[1]
        assert ("log" in answer) == (token is None)
        seen += [f["fileName"] for f in answer["files"]]
        token = answer.get("nextPageToken")
    assert token is None and seen == sorted(still.world.extra_files)
    for bad in ({"pageSize": 201}, {"pageSize": -1}, {"pageToken": "2"}):
        assert alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker", **bad)[0] == 400
    for i in range(3):
        alice.push("worker-%d" % i)
    seen, token = [], None
    for _ in range(2):
        answer = alice("ListKernels", group="PROFILE", pageSize=2, **({"pageToken": token} if token else {}))[1]
        seen += [k["slug"] for k in answer["kernels"]]
        token = answer.get("nextPageToken")
    assert token is None and sorted(seen) == ["pool-worker", "worker-0", "worker-1", "worker-2"]
    assert alice("ListKernels", group="PROFILE", page=2, pageSize=2)[1]["kernels"][0]["slug"] == seen[2]
    assert alice("ListKernels", group="PROFILE", pageSize=101)[0] == 400
    assert alice("ListKernels", group="PROFILE", search="worker 1")[1]["kernels"][0]["slug"] == "worker-1"


SLEEP = "import os, subprocess, sys, time\nsubprocess.Popen(['setsid', 'sleep', '600'])\nprint(os.getpid(), flush=True)\ntime.sleep(600)"


def alive(pids):
    return [p for p in pids if os.path.exists("/proc/%d" % p)]


def asleep(kaggle):
    """A run with two processes, one in a session of its own."""
    run = kaggle.runs(live=True)[-1]
    until(lambda: run.log)
    return run, until(lambda: (below := box.children_of(run.box.pid)) and len(below) >= 2 and below)


def test_cancel_wants_the_session_of_the_302(kaggle, alice, bob):
    alice.push(text=SLEEP)
    run, below = asleep(kaggle)
    reply, _ = alice.http("GET", "/v1/kernels/output/download/alice/pool-worker?versionNumber=1")
    assert reply.status == 302
    where = urllib.parse.urlparse(reply.headers["Location"])
    assert where.port == kaggle.port and where.path == "/v1/kernels/output/download_zip/%d" % run.sid
    assert alice.http("GET", where.path)[0].status == 404
    denied = {"code": 403, "message": "Permission 'kernelSessions.cancel' was denied", "status": "PERMISSION_DENIED"}
    assert bob("CancelKernelSession", kernelSessionId=run.sid) == (403, {"error": denied})
    assert alice("CancelKernelSession", kernelSessionId=run.kernel.id)[0] == 403
    assert alice("CancelKernelSession", kernelSessionId=run.sid) == (200, {})
    assert not alive(below), "a process outlived its run"
    assert alice.ends() == "CANCEL_ACKNOWLEDGED"
    assert alice("CancelKernelSession", kernelSessionId=run.sid)[0] == 403
    assert alice.http("GET", where.path)[0].status == 200


def test_delete_ends_at_once_and_leaves_nothing(kaggle, alice):
    alice.push(text=SLEEP, machineShape="NvidiaTeslaT4")
    run, below = asleep(kaggle)
    where = run.directory
    assert alice("DeleteKernel", userName="alice", kernelSlug="pool-worker") == (200, {})
    assert not alive(below) and not os.path.exists(where)
    used = kaggle.world.used("alice", "gpu")
    kaggle.world.clock.advance(3600)
    assert kaggle.world.used("alice", "gpu") in (used, 0) and not kaggle.runs(live=True)
    assert alice.status() == 403 and alice("DeleteKernel", userName="alice", kernelSlug="pool-worker")[0] == 403


def test_stop_leaves_nothing(alice, kaggle):
    alice.push(text=SLEEP)
    run, below = asleep(kaggle)
    where = run.directory
    kaggle.stop()
    assert not alive(below) and not os.path.exists(where)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", kaggle.port), 1)


def test_kill_9_leaves_no_process(tmp_path):
    env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(tmp_path)}
    with subprocess.Popen([sys.executable, standin.__file__, "--account", "alice:" + KEY, "--token", "alice:" + TOKEN], env=env,
                          stdout=subprocess.PIPE, start_new_session=True) as process:
        try:
            port = urllib.parse.urlparse(process.stdout.readline().decode().strip()).port
            alice = Caller(types.SimpleNamespace(port=port), Authorization="Bearer " + TOKEN)
            assert alice.push(text=SLEEP)[0] == 200
            below = until(lambda: len(b := box.children_of(process.pid)) >= 3 and b)
        finally:
            process.kill()
    until(lambda: not alive(below))


def test_the_queue_and_the_machine(kaggle, alice):
    stuck = kaggle.world.accounts["alice"]
    stuck.stuck = True
    show = "import subprocess\nprint(subprocess.run(['nvidia-smi', '--format=csv,noheader,nounits', '--query-gpu=index,uuid,name,memory.total'], capture_output=True, text=True).stdout)"
    alice.push(text=show, machineShape="NvidiaTeslaT4")
    assert alice.status() == "QUEUED"
    stuck.stuck = False
    assert alice.ends() == "COMPLETE"
    def out(version):
        log = json.loads(alice("ListKernelSessionOutput", userName="alice", kernelSlug="pool-worker", versionLabel="v%d" % version)[1]["log"])
        return "".join(e["data"] for e in log if e["stream_name"] == "stdout")
    assert out(1) == "0, GPU-0-4f1c, Tesla T4, 15360\n1, GPU-1-4f1c, Tesla T4, 15360\n\n"
    stuck.grant = "NvidiaL4X1"
    alice.push(text=show, machineShape="NvidiaTeslaT4")
    assert alice.ends() == "COMPLETE" and out(2).count("NVIDIA L4") == 1 and "T4" not in out(2)
    stuck.grant = "none"
    alice.push(text=show, machineShape="NvidiaTeslaP100")
    assert alice.ends() in ("ERROR", "COMPLETE") and "T4" not in json.dumps(kaggle.runs()[-1].log)
    assert kaggle.runs()[-1].shape == "NvidiaTeslaT4", "the retired one is another without a word"


def test_phone_and_internet(kaggle, alice):
    reach = "import socket\nsocket.create_connection(('127.0.0.1', %d), 2)\nprint('reached')" % kaggle.port
    account = kaggle.world.accounts["alice"]
    alice.push(text=reach)
    assert alice.ends() == "COMPLETE"
    alice.push(text=reach, enableInternet=False)
    assert alice.ends() == "ERROR"
    account.phone = "silent"
    alice.push(text=reach)
    assert alice.ends() == "ERROR"
    account.phone = "refused"
    assert "verify your phone" in alice.push(text=reach)[1]["error"]
    assert alice.push(text="print(1)", enableInternet=False)[1]["versionNumber"] == 4


def test_live_log(kaggle, alice):
    alice.push(text="import os,time\nfor i in range(3): print('line', i, flush=True)\nwhile not os.path.exists('go'): time.sleep(0.02)\n")
    run = kaggle.runs()[0]
    until(lambda: len(run.log) >= 3)
    path = "/v1/kernels/logs/stream/alice/pool-worker"
    kaggle.stream_events = 2
    with pytest.raises((ConnectionResetError, http.client.IncompleteRead)):
        reply, body = alice.http("GET", path)
    kaggle.stream_events = None
    open(run.directory + "/working/go", "w").close()
    reply, body = alice.http("GET", path)
    if reply.headers["Content-Type"] == "text/event-stream":
        assert body.startswith(b'data: {"stream_name": "stdout"') and body.endswith(b"data: END_OF_LOG\n\n") and b"line 0" in body
    assert alice.ends() == "COMPLETE"
    reply, body = alice.http("GET", path)
    assert reply.headers["Content-Type"] == "application/json" and json.loads(body)[0]["data"] == "line 0\n"
    assert alice.http("GET", path + "/1")[0].status == 404


# ---- faults -----------------------------------------------------------------------------

def test_faults_of_transport(still, alice):
    def raw(method="SaveKernel", **q):
        fields = {"slug": "alice/pool-worker", "newTitle": "pool worker", "text": "x", "language": "python", "kernelType": "script", "isPrivate": True}
        return alice.http("POST", "/v1/kernels.KernelsApiService/" + method, json.dumps(fields if method == "SaveKernel" else q))

    def made():
        return sum(len(k.versions) for k in still.world.kernels.values())
    still.fault("SaveKernel", "429", retry_after=0)
    reply, body = raw()
    assert reply.status == 429 and reply.headers["Retry-After"] == "0" and json.loads(body)["error"]["status"] == "RESOURCE_EXHAUSTED"
    still.fault("SaveKernel", "429", retry_after=0, date=True)
    assert raw()[0].headers["Retry-After"].endswith("GMT")
    still.fault("SaveKernel", "429")
    assert "Retry-After" not in raw()[0].headers
    for status in ("500", "503"):
        still.fault("SaveKernel", status)
        assert raw()[0].status == int(status)
    still.fault("SaveKernel", "html")
    assert raw()[0].headers["Content-Type"].startswith("text/html")
    still.fault("SaveKernel", "reset_before")
    with pytest.raises(ConnectionError):
        raw()
    assert made() == 0
    for n, kind in enumerate(("empty", "truncated", "reset_after", "drip"), 1):
        still.fault("SaveKernel", kind, seconds=0.0001)
        if kind == "reset_after":
            with pytest.raises(ConnectionError):
                raw()
        else:
            body = raw()[1]
            if kind == "drip":
                assert json.loads(body)["versionNumber"] == 4
            else:
                with pytest.raises(ValueError):
                    json.loads(body)
        assert made() == n
    still.fault("SaveKernel", "500", effect=True)
    assert raw()[0].status == 500 and made() == 5


def test_faults_of_shape(still, alice):
    still.fault("SaveKernel", "string_ids")
    assert alice.push()[1]["kernelId"] == "9001"
    still.fault("SaveKernel", "nullable")
    answer = alice.push(kernelExecutionType="QUICK_SAVE")[1]
    assert answer["error"] == answer["errorNullable"] == "" and answer["hasError"] is False and answer["hasVersionNumber"] is True
    until(lambda: alice.status(versionLabel="v1") == "RUNNING")
    assert alice("CancelKernelSession", kernelSessionId=str(still.runs()[0].sid)) == (200, {})
    still.world.clock.advance(-100)          # it stays at CANCEL_REQUESTED
    for kind, seen in (("lower_camel", "cancelRequested"), ("prefixed", "KERNEL_WORKER_STATUS_CANCEL_REQUESTED"), ("numeric", 4),
                       ("unknown_status", "HIBERNATING")):
        still.fault("GetKernelSessionStatus", kind)
        assert alice.status(versionLabel="v1") == seen
    still.fault("GetKernelSessionStatus", "omit", fields=["status"])
    assert alice("GetKernelSessionStatus", userName="alice", kernelSlug="pool-worker", versionLabel="v1") == (200, {})
    still.fault("output/download", "redirect")
    reply, _ = alice.http("GET", "/v1/kernels/output/download/alice/pool-worker?versionNumber=1")
    assert urllib.parse.urlparse(reply.headers["Location"]).port == still.file_port


def test_a_call_before_retry_after_is_seen(still, alice):
    still.fault("ListKernels", "429", retry_after=30)
    assert alice("ListKernels", group="PROFILE")[0] == 429
    assert not still.violations
    alice("GetAcceleratorQuotaStatistics")
    assert "before Retry-After" in still.violations[0]


def test_calls_are_counted(still, alice, bob):
    alice("ListKernels", group="PROFILE")
    bob("ListKernels", group="PROFILE")
    assert still.count("ListKernels") == 2 and still.count(owner="alice") == 1 and still.count(since=time.monotonic()) == 0
