"""Jobs: what is sent, what is shown, how waiting ends."""
import base64
import hashlib
import json
import os
import pty
import re
import signal
import subprocess
import time

import pytest

from conftest import BIN, problem, reply

JOBS = "/api/gpu/jobs"


def job(id="7", state="succeeded", **more):
    return {"id": id, "type": "script", "state": state, "waitingReason": None, "attempt": 1, "progress": None, "result": None,
            "error": None, "runSeconds": 1.5, **more}


@pytest.fixture
def takes(server):
    server.on("POST", JOBS, {"jobId": "7", "workerId": None, "assigned": False, "state": "queued", "waitingReason": "no_worker"}, 202)
    return lambda: server.last("POST", JOBS)


# ---- submit ----

def test_a_file_with_everything(gp, takes, tmp_path):
    (tmp_path / "train.py").write_text("print('é')\n")
    (tmp_path / "data.bin").write_bytes(b"\xff\x00\x01")
    (tmp_path / "words.txt").write_text("wörds")
    (tmp_path / "req.txt").write_text("# comment\nnumpy\n\n  scipy>=1 \n")
    done = gp("jobs", "submit", "train.py", "--name", "n", "--tag", "a", "--tag=b", "--priority", "9", "--accelerator", "T4",
              "--accelerator", "A100", "--gpus", "2", "--timeout", "2h", "--estimate", "90s", "--max-attempts", "5", "--retry-on-error",
              "--env", "A=b=c", "--env", "FROM_HERE", "--file", "sub/data.bin=data.bin", "--file", "words.txt", "--requirement", "torch",
              "--requirements", "req.txt", "--type", "training", "--", "--epochs", "3", env={"FROM_HERE": "yes"}, code=0)
    assert done.out == "7\n"
    call = takes()
    assert call["json"] == {
        "type": "training", "name": "n", "tags": ["a", "b"], "priority": 9, "accelerator": ["T4", "A100"], "gpus": 2,
        "timeoutSeconds": 7200, "estimatedSeconds": 90, "maxAttempts": 5, "retryOn": ["error"],
        "payload": {"code": "print('é')\n", "args": ["--epochs", "3"], "env": {"A": "b=c", "FROM_HERE": "yes"},
                    "files": {"sub/data.bin": {"base64": base64.b64encode(b"\xff\x00\x01").decode()}, "words.txt": "wörds"},
                    "requirements": ["torch", "numpy", "scipy>=1"]}}
    assert call["headers"]["authorization"] == "Bearer gpt_secret"
    assert re.fullmatch(r"[0-9a-f-]{36}", call["headers"]["idempotency-key"])


def test_a_command_and_standard_input(gp, takes):
    gp("jobs", "submit", "--command", "--", "nvidia-smi", "-L", code=0)
    assert takes()["json"]["payload"] == {"command": ["nvidia-smi", "-L"]}
    gp("jobs", "submit", "-", stdin="print(1)", code=0)
    assert takes()["json"]["payload"] == {"code": "print(1)"}


def test_an_endpoint(gp, takes):
    gp("jobs", "submit", "--endpoint", "e", "--input", '{"a": 1}', code=0)
    assert takes()["json"] == {"type": "inference", "endpoint": "e", "payload": {"input": {"a": 1}}}
    gp("jobs", "submit", "--endpoint", "e", "--input", "{", code=2)


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"a\0b"])
def test_what_is_no_program_is_not_sent(gp, server, tmp_path, content):
    (tmp_path / "x.py").write_bytes(content)
    gp("jobs", "submit", "x.py", code=2)
    assert not server.seen


def test_too_large_is_said_before_it_is_sent(gp, server, tmp_path):
    (tmp_path / "x.py").write_bytes(b"#" * (1 << 20) + b"\n")
    assert "larger" in gp("jobs", "submit", "x.py", code=2).err
    assert not server.seen


def test_after_takes_a_duration_or_a_time(gp, takes):
    gp("jobs", "submit", "-", "--after", "10m", stdin="1", code=0)
    at = time.mktime(time.strptime(takes()["json"]["runAfter"], "%Y-%m-%dT%H:%M:%SZ")) - time.timezone
    assert abs(at - time.time() - 600) < 5
    gp("jobs", "submit", "-", "--after", "2031-01-02T03:04:05Z", stdin="1", code=0)
    assert takes()["json"]["runAfter"] == "2031-01-02T03:04:05Z"
    gp("jobs", "submit", "-", "--after", "tomorrow", stdin="1", code=2)


def test_a_batch_goes_in_parts(gp, server, tmp_path):
    def take(call):
        return reply({"jobs": [{"jobId": j["name"]} for j in call["json"]["jobs"]]}, 202)
    server.on("POST", JOBS + "/batch", take)
    lines = [json.dumps({"type": "script", "name": "j%d" % i, "payload": {"code": "1"}}) for i in range(2300)]
    (tmp_path / "batch.jsonl").write_text("\n".join(lines) + "\n\n")
    done = gp("jobs", "submit", "--batch", "batch.jsonl", code=0)
    assert done.out.split() == ["j%d" % i for i in range(2300)]
    assert [len(c["json"]["jobs"]) for c in server.seen] == [1000, 1000, 300]
    assert len({c["headers"]["idempotency-key"] for c in server.seen}) == 3
    (tmp_path / "batch.json").write_text("[" + ",".join(lines[:2]) + "]")
    assert gp("jobs", "submit", "--batch", "batch.json", code=0).out.split() == ["j0", "j1"]
    done = gp("jobs", "submit", "--batch", "-", stdin=lines[0] + "\n{oops\n", code=2)
    assert "line 2" in done.err


# ---- wait and follow ----

def states(*list_):
    left = list(list_)

    def answer(call):
        return reply(left.pop(0) if len(left) > 1 else left[0])
    return answer


def test_wait_ends_with_the_result(gp, server):
    server.on("GET", JOBS + "/7", states(job(state="queued"), job(state="running"), job(result={"accuracy": 0.97})))
    done = gp("jobs", "wait", "7", code=0)
    assert '{"accuracy":0.97}' in done.out
    assert not done.err, "a progress bar without a terminal"


@pytest.mark.parametrize("state", ["failed", "cancelled", "timed_out"])
def test_wait_is_1_when_a_job_did_not_succeed(gp, server, state):
    server.on("GET", JOBS + "/7", job())
    server.on("GET", JOBS + "/8", job("8", state, error={"type": "error", "message": "no luck"}))
    done = gp("jobs", "wait", "7", "8", code=1)
    assert "no luck" in done.out
    assert [j["state"] for j in json.loads(gp("jobs", "wait", "7", "8", "--json", code=1).out)] == ["succeeded", state]


def test_wait_has_an_end(gp, server):
    server.on("GET", JOBS + "/7", job(state="running"))
    gp("jobs", "wait", "7", "--timeout", "1", code=7)


def test_wait_outlives_a_server_that_is_away(gp, server):
    answers = [problem(503, "Away", "The database is away."), problem(502, "Away", "Nobody."), reply(job())]
    server.on("GET", JOBS + "/7", lambda call: answers.pop(0) if len(answers) > 1 else answers[0])
    gp("jobs", "wait", "7", code=0)


def test_submit_and_follow(gp, server, takes):
    log = "line 1\nline 2\n"
    server.on("GET", JOBS + "/7", states(job(state="running"), job(state="running"), job(result=5)))
    shown = []

    def logs(call):
        offset = int(call["query"]["offset"])
        end = 7 if not shown else len(log)
        shown.append(offset)
        return 200, "text/plain", log.encode()[offset:end]
    server.on("GET", JOBS + "/7/logs", logs)
    done = gp("jobs", "submit", "-", "--follow", stdin="1", code=0)
    assert done.out.startswith(log) and done.out.count("line 2") == 1
    assert shown[:2] == [0, 7]


def test_a_new_attempt_has_a_log_of_its_own(gp, server):
    server.on("GET", JOBS + "/7", states(job(state="running"), job(state="running", attempt=2), job(attempt=2)))
    server.on("GET", JOBS + "/7/logs", lambda call: (200, "text/plain", b"twelve bytes"[int(call["query"]["offset"]):]))
    assert gp("jobs", "logs", "7", "--follow", code=0).out == "twelve bytes" * 2


def test_no_character_is_cut_in_two(gp, server):
    log = ("é€😀" * 20000).encode()
    server.on("GET", JOBS + "/7", job())
    server.on("GET", JOBS + "/7/logs", lambda call: (200, "text/plain", log[int(call["query"]["offset"]):]))
    assert gp("jobs", "logs", "7", code=0).out.encode() == log
    assert gp("jobs", "logs", "7", "--follow", code=0).out.encode() == log


def on_terminal(*args, env):
    """What it writes when standard error is a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen([str(BIN / "gpupool"), *args], stdout=subprocess.DEVNULL, stderr=slave, env=env)
    os.close(slave)
    seen = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(master)
    return process.wait(30), seen.decode()


def test_a_terminal_gets_a_progress_bar(server):
    running = job(state="running", progress={"fraction": 0.5, "message": "epoch\x1b[2J 3"})
    server.on("GET", JOBS + "/7", states(running, running, job()))
    code, seen = on_terminal("jobs", "wait", "7", env={"GPUPOOL_PUBLIC_URL": server.url, "GPUPOOL_TOKEN": "t", "TERM": "xterm"})
    assert code == 0
    assert "[############............]  50%" in seen and "epoch[2J 3" in seen
    assert seen.endswith("\r\x1b[K")


def test_ctrl_c_ends_the_wait(server):
    server.on("GET", JOBS + "/7", job(state="running"))
    process = subprocess.Popen([str(BIN / "gpupool"), "jobs", "wait", "7"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                               env={"GPUPOOL_PUBLIC_URL": server.url, "GPUPOOL_TOKEN": "t"})
    end = time.monotonic() + 10
    while not server.seen and time.monotonic() < end:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    assert process.wait(10) == 130


# ---- lists ----

def test_pages_are_followed(gp, server):
    rows = [job(str(i)) for i in range(1200)]

    def page(call):
        at, limit = int(call["query"].get("pageToken", 0)), int(call["query"]["limit"])
        assert limit <= 500
        more = {"nextPageToken": str(at + limit)} if at + limit < len(rows) else {}
        return reply({"jobs": rows[at:at + limit], **more})
    server.on("GET", JOBS, page)
    assert len(json.loads(gp("jobs", "list", "--all", "--json", code=0).out)["jobs"]) == 1200
    assert len(json.loads(gp("jobs", "list", "--limit", "600", "--json", code=0).out)["jobs"]) == 600
    assert len(gp("jobs", "list", code=0).out.splitlines()) == 51


def test_no_name_steers_the_terminal(gp, server):
    evil = "a\x1b]0;owned\x07\nb\tc\x9b31m"
    server.on("GET", JOBS, {"jobs": [job(name=evil)]})
    server.on("GET", JOBS + "/7", job(name=evil, error={"type": "e", "message": evil, "traceback": evil}))
    server.on("GET", JOBS + "/7/logs", (200, "text/plain", evil.encode()))
    server.on("GET", JOBS + "/8", problem(404, "No", evil))
    for args in (["jobs", "list"], ["jobs", "show", "7"], ["jobs", "logs", "7"], ["jobs", "show", "8"]):
        done = gp(*args)
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f]", done.out + done.err), (args, done.out, done.err)
        assert "owned" in done.out + done.err
    assert len(gp("jobs", "list", code=0).out.splitlines()) == 2
    assert "\x1b]0;" in gp("jobs", "logs", "7", "--raw", code=0).out


def test_cancel_by_id_and_by_filter(gp, server):
    server.on("POST", JOBS + "/7/cancel", job(state="cancelled"))
    server.on("POST", JOBS + "/8/cancel", problem(409, "Conflict", "It has ended."))
    server.on("POST", JOBS + "/cancel", {"cancelled": 12})
    gp("jobs", "cancel", "7", code=0)
    assert "7 cancelled" in gp("jobs", "cancel", "8", "7", code=5).out
    assert "12 cancelled" in gp("jobs", "cancel", "--tag", "x", "--state", "queued", code=0).out
    assert server.last("POST", JOBS + "/cancel")["json"] == {"tag": "x", "state": "queued"}


# ---- artifacts ----

@pytest.fixture
def files(server):
    content = {"model.npz": os.urandom(300000), "deep/er/log.txt": b"text", ".cache/..x": b"dots"}
    listed = [{"name": n, "size": len(b), "sha256": hashlib.sha256(b).hexdigest()} for n, b in content.items()]
    server.on("GET", JOBS + "/7/artifacts", lambda call: reply({"artifacts": listed}))
    for name, body in content.items():
        server.on("GET", JOBS + "/7/artifacts/" + name, (200, "application/octet-stream", body))
    return content, listed


def test_artifacts_arrive_whole(gp, files, tmp_path):
    content, _ = files
    assert "model.npz" in gp("jobs", "artifacts", "7", code=0).out
    gp("jobs", "artifacts", "7", "--to", "out", code=0)
    for name, body in content.items():
        assert (tmp_path / "out" / name).read_bytes() == body
    gp("jobs", "artifacts", "7", "model.npz", "--to", "one", code=0)
    assert os.listdir(tmp_path / "one") == ["model.npz"]
    gp("jobs", "artifacts", "7", "nothing", "--to", "two", code=3)


def test_a_damaged_artifact_leaves_nothing(gp, files, server, tmp_path):
    server.on("GET", JOBS + "/7/artifacts/model.npz", (200, "application/octet-stream", b"x" * 300000))
    assert "damaged" in gp("jobs", "artifacts", "7", "model.npz", "--to", "out", code=8).err
    assert os.listdir(tmp_path / "out") == []
    server.on("GET", JOBS + "/7/artifacts/model.npz", problem(410, "Gone", "It has left."))
    assert "It has left." in gp("jobs", "artifacts", "7", "model.npz", "--to", "out", code=5).err
    assert os.listdir(tmp_path / "out") == []


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "a/../../evil", "..", "a/.", "./a", "a//b", "a\nb", ""])
def test_no_artifact_name_leads_elsewhere(gp, files, server, tmp_path, name):
    files[1][:] = [{"name": name, "size": 1, "sha256": "0" * 64}]
    gp("jobs", "artifacts", "7", "--to", "out/deep", code=2 if not (tmp_path / "out").exists() else 8)
    (tmp_path / "out").mkdir()
    gp("jobs", "artifacts", "7", "--to", "out/deep", code=8)
    assert os.listdir(tmp_path / "out" / "deep") == []


def test_no_link_is_followed(gp, files, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out" / "deep").symlink_to(tmp_path / "elsewhere")
    gp("jobs", "artifacts", "7", "--to", "out", code=8)
    assert os.listdir(tmp_path / "elsewhere") == []
