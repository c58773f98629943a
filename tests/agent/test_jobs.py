"""What a job can count on: its environment, its result, its files, its log."""
import ast
import json
import os
import re

import pytest

from conftest import PROGRAM, until

SAVE = "import json, os\ndef save(value):\n    json.dump(value, open(os.environ['GPUPOOL_RESULT'], 'w'))\n"


def test_agent_parses_as_python_3_8_and_is_small():
    with open(PROGRAM, encoding="utf-8") as file:
        source = file.read()
    ast.parse(source, feature_version=(3, 8))
    assert len(source) < 100000


def test_registration_describes_the_machine(pool, start):
    start(GPUPOOL_SLOTS="3", GPUPOOL_PROVIDER="local")
    said = pool.registration
    assert said["provider"] == "local" and said["protocol"] == 1
    assert said["capabilities"]["slots"] == 3
    assert said["capabilities"]["cpus"] >= 1 and said["capabilities"]["memoryBytes"] > 1 << 26
    assert re.fullmatch(r"\d+\.\d+\.\d+", said["capabilities"]["python"])


def test_job_runs_and_everything_arrives_in_order(pool, start):
    start()
    job = pool.submit(SAVE + "print('one')\nopen(os.environ['GPUPOOL_OUT'] + '/model.bin', 'wb').write(b'x' * 70000)\n"
                      "print('two')\nsave({'accuracy': 0.5, 'text': 'ação'})\n")
    assert pool.finish(job) == {"jobId": job.id, "lease": job.lease, "state": "succeeded",
                                "result": {"accuracy": 0.5, "text": "ação"}}
    assert job.text == "one\ntwo\n"
    assert job.artifacts["model.bin"][0] == 70000
    assert "".join(event[0] for event in job.events).strip("l") == "ar"     # log, artifact, result


def test_job_sees_only_the_environment_that_is_meant_for_it(pool, start):
    start(SECRET_OF_THE_OPERATOR="x", LANG="C.UTF-8", PYTHONPATH="/nowhere")
    job = pool.submit({"code": SAVE + "import sys\nsave({'env': dict(os.environ), 'cwd': os.getcwd(), 'args': sys.argv[1:],"
                               " 'uid': os.getuid(), 'groups': os.getgroups()})",
                       "args": ["--seed", "a b"], "env": {"MINE": "1", "LANG": "C"}}, attempt=2)
    said = pool.finish(job)["result"]
    env = said["env"]
    assert env["MINE"] == "1" and env["LANG"] == "C" and said["args"] == ["--seed", "a b"]
    assert env["GPUPOOL_JOB_ID"] == job.id and env["GPUPOOL_ATTEMPT"] == "2"
    assert env["CUDA_VISIBLE_DEVICES"] == ""
    assert len({env["HOME"], env["TMPDIR"], env["GPUPOOL_OUT"], env["GPUPOOL_INPUTS"], said["cwd"]}) == 5
    known = set("PATH LANG LC_CTYPE HOME TMPDIR USER LOGNAME PYTHONUNBUFFERED MINE CUDA_VISIBLE_DEVICES CUDA_DEVICE_ORDER "
                "GPUPOOL_JOB_ID GPUPOOL_ATTEMPT GPUPOOL_RESULT GPUPOOL_OUT GPUPOOL_PROGRESS GPUPOOL_INPUTS GPUPOOL_NOTICE".split())
    assert set(env) <= known
    if os.geteuid() == 0:
        assert said["uid"] >= 61000 and said["groups"] in ([], [said["uid"]])


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives uids away")
def test_jobs_at_once_have_different_uids_and_cannot_see_each_other(pool, start, shared):
    start(GPUPOOL_SLOTS="2")
    code = SAVE + ("import time\nos.chdir(%r)\nme = os.environ['GPUPOOL_JOB_ID']\nos.symlink(os.environ['HOME'], 'home-' + me)\n"
                   "def both(kind):\n"
                   "    while sum(n.startswith(kind) for n in os.listdir('.')) < 2: time.sleep(0.02)\n"
                   "both('home-')\n"
                   "other = [n for n in os.listdir('.') if n.startswith('home-') and n != 'home-' + me][0]\n"
                   "try: os.listdir(os.readlink(other)); seen = True\nexcept PermissionError: seen = False\n"
                   "open('done-' + me, 'w')\nboth('done-')\nsave([os.getuid(), seen])\n") % shared
    items = [pool.finish(job) for job in [pool.submit(code), pool.submit(code)]]
    results = [item["result"] for item in items]
    assert results[0][0] != results[1][0]
    assert not results[0][1] and not results[1][1]


def test_command_runs_without_python(pool, start):
    start()
    job = pool.submit({"command": ["sh", "-c", "cat $GPUPOOL_INPUTS/a/b.txt; echo \"[$0]\" >&2; printf 7 >$GPUPOOL_RESULT",
                                   "x y"], "files": {"a/b.txt": "input\n"}})
    assert pool.finish(job)["result"] == 7
    assert job.text == "input\n[x y]\n"


def test_command_that_does_not_exist_says_so(pool, start):
    start()
    job = pool.submit({"command": ["no-such-program"]})
    assert pool.finish(job)["error"] == {"type": "exit", "message": "exit code 127"}
    assert "cannot run no-such-program" in job.text


def test_input_files_arrive_as_text_and_bytes(pool, start):
    start()
    job = pool.submit({"code": SAVE + "p = os.environ['GPUPOOL_INPUTS']\n"
                               "save([open(p + '/t.txt').read(), list(open(p + '/d/b.bin', 'rb').read())])",
                       "files": {"t.txt": "é", "d/b.bin": {"base64": "AP8B"}}})
    assert pool.finish(job)["result"] == ["é", [0, 255, 1]]


BAD_PAYLOADS = [
    ({"code": 7}, "payload"),
    ({"code": "1", "args": "x"}, "payload"),
    ({"code": "1", "args": ["a\0b"]}, "payload"),
    ({"code": "1", "env": {"A=B": "x"}}, "payload"),
    ({"code": "1", "env": {"GPUPOOL_RESULT": "/etc/passwd"}}, "payload"),
    ({"code": "1", "env": {"A": 1}}, "payload"),
    ({"code": "1", "files": {"../x": "1"}}, "payload"),
    ({"code": "1", "files": {"/etc/x": "1"}}, "payload"),
    ({"code": "1", "files": {"a/./b": "1"}}, "payload"),
    ({"code": "1", "files": {"a b": "1"}}, "payload"),
    ({"code": "1", "files": {"a": "1", "a/b": "1"}}, "payload"),
    ({"code": "1", "files": {"a": {"base64": "%"}}}, "payload"),
    ({"command": []}, "payload"),
    ({"code": "1", "requirements": ["--index-url=http://evil.example"]}, "requirements"),
    ({"code": "1", "requirements": ["a\n-r /etc/passwd"]}, "requirements"),
    ({"input": 1}, "unsupported"),
    (None, "unsupported"),
]


def test_bad_payload_fails_and_says_why(pool, start):
    start()
    for payload, kind in BAD_PAYLOADS:
        job = pool.submit(payload)
        item = pool.finish(job)
        assert item["state"] == "failed" and item["error"]["type"] == kind and item["error"]["message"], payload
        assert not job.log, payload             # nothing was tried
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"


BAD_RESULTS = [
    ("f.write('{\"a\": NaN}')", "result_invalid"),
    ("f.write('{\"a\": ')", "result_invalid"),
    ("f.write('')", "result_invalid"),
    ("f.buffer.write(b'\"\\xff\"')", "result_invalid"),
    ("f.write('[' * 100000)", "result_invalid"),
    ("f.write('\"\\\\ud800\"')", "result_invalid"),
    ("f.write('\"\\\\u0000\"')", "result_invalid"),
    ("f.write('{\"\\\\u0000\": 1}')", "result_invalid"),
    ("f.write('1e999')", "result_invalid"),
    ("f.write('\"' + 'x' * 1000001 + '\"')", "result_too_large"),
    ("os.remove(f.name); open('x', 'w').write('1'); os.symlink(os.path.abspath('x'), f.name)", "result_invalid"),
    ("os.remove(f.name); os.mkfifo(f.name)", "result_invalid"),
    ("os.remove(f.name); os.mkdir(f.name)", "result_invalid"),
]


def test_bad_result_fails_with_its_own_type(pool, start):
    start()
    for write, kind in BAD_RESULTS:
        item = pool.finish(pool.submit("import os\nwith open(os.environ['GPUPOOL_RESULT'], 'w') as f: %s\n" % write))
        assert item["state"] == "failed" and item["error"]["type"] == kind and "result" not in item, write


def test_result_that_only_speaks_of_nul_is_taken(pool, start):
    start()
    assert pool.finish(pool.submit(SAVE + r"save(['\\u0000', '\\\\u0000'])"))["result"] == [r"\u0000", r"\\u0000"]


def test_result_of_a_megabyte_is_taken(pool, start):
    start()
    job = pool.submit(SAVE + "save('x' * 999990)")
    assert len(pool.finish(job)["result"]) == 999990


def test_result_that_the_server_calls_invalid_becomes_a_failure(pool, start):
    start()
    job = pool.submit(SAVE + "save('odd')")
    pool.result_verdict[job.id] = "invalid"
    item = pool.finish(job)
    assert item["state"] == "failed" and item["error"]["type"] == "result_invalid"
    assert job.items == 2


def test_result_that_the_server_cannot_read_holds_up_no_other(pool, start):
    pool.fail["results"] = [503] * 3                    # so that they come together
    start(GPUPOOL_SLOTS="4")
    jobs = [pool.submit(SAVE + "save(%d)" % i) for i in range(4)]
    pool.unreadable = {jobs[1].id, jobs[2].id}
    states = [pool.finish(job) for job in jobs]
    assert [item["state"] for item in states] == ["succeeded", "failed", "failed", "succeeded"]
    assert states[1]["error"]["type"] == "result_invalid"


def test_nul_in_the_log_is_no_matter(pool, start):
    start()
    job = pool.submit("print('a\\0b', flush=True)\nraise ValueError('c\\0d')")
    assert pool.finish(job)["error"]["message"] == "c\ufffdd"
    assert job.log.startswith(b"a\0b\n")


def test_exception_is_reported_with_its_traceback(pool, start):
    start()
    job = pool.submit("import sys\nprint('before')\ndef deep():\n    raise KeyError('missing: thing')\n"
                      "try:\n    1 / 0\nexcept ZeroDivisionError:\n    deep()\n")
    item = pool.finish(job)
    assert item["state"] == "failed"
    assert item["error"]["type"] == "KeyError" and item["error"]["message"] == "'missing: thing'"
    assert "in deep" in item["error"]["traceback"]
    assert job.text.startswith("before\n")


def test_exit_code_and_signal_are_reported(pool, start):
    start()
    assert pool.finish(pool.submit("import sys; sys.exit(3)"))["error"] == {"type": "exit", "message": "exit code 3"}
    error = pool.finish(pool.submit("import os; os.kill(os.getpid(), 11)"))["error"]
    assert error == {"type": "signal", "message": "killed by SIGSEGV"}


def test_artifacts_keep_names_and_bytes(pool, start):
    agent = start()
    before = resident_peak(agent.pid)
    job = pool.submit("import os\nos.chdir(os.environ['GPUPOOL_OUT'])\nos.makedirs('a/b')\n"
                      "open('a/b/c-1_2.txt', 'w').write('deep')\nopen('empty', 'w')\nopen('.hidden', 'w').write('h')\n"
                      "open('big', 'wb').truncate(100 << 20)\n")
    assert pool.finish(job)["state"] == "succeeded"
    assert {name: size for name, (size, _) in job.artifacts.items()} == \
        {"a/b/c-1_2.txt": 4, "empty": 0, ".hidden": 1, "big": 100 << 20}
    assert resident_peak(agent.pid) - before < 24 << 20
    assert job.kept["a/b/c-1_2.txt"] == b"deep"


def test_links_and_special_files_are_no_artifacts(pool, start, work):
    secret = os.path.join(work, "secret")
    with open(secret, "w") as file:
        file.write("secret")
    start()
    job = pool.submit("import os, socket\nos.chdir(os.environ['GPUPOOL_OUT'])\nos.symlink(%r, 'link')\n"
                      "os.symlink('/etc', 'folder')\nos.mkfifo('pipe')\nsocket.socket(socket.AF_UNIX).bind('sock')\n"
                      "open('good', 'w').write('1')" % secret)
    assert pool.finish(job)["state"] == "succeeded"
    assert set(job.artifacts) == {"good"}
    for name in ("link", "folder", "pipe", "sock"):
        assert "artifact %s not kept: not a plain file" % name in job.text


def test_replaced_output_folder_leads_nowhere(pool, start):
    start()
    job = pool.submit("import os, shutil\nout = os.environ['GPUPOOL_OUT']\n"
                      "try:\n    os.rmdir(out); os.symlink('/etc', out)\nexcept OSError as e: print('refused', e)\n")
    item = pool.finish(job)
    assert not job.artifacts
    assert os.geteuid() != 0 or (item["state"] == "succeeded" and "refused" in job.text)


def test_artifact_with_a_bad_name_fails_the_job(pool, start):
    start()
    for name in ["with space", "umlaut-ä", "line\nbreak", "/".join("abcdefghi"), "x" * 129]:
        job = pool.submit("import os\nos.chdir(os.environ['GPUPOOL_OUT'])\nname = %r\n"
                          "os.makedirs(os.path.dirname(name) or '.', exist_ok=True)\nopen(name, 'w').write('1')\n" % name)
        item = pool.finish(job)
        assert item["state"] == "failed" and item["error"]["type"] == "artifact", name
        assert not job.artifacts and "not kept" in job.text


def test_artifact_that_the_server_refuses_fails_the_job(pool, start):
    pool.artifact_limit = 1 << 20
    start()
    job = pool.submit("import os\nos.chdir(os.environ['GPUPOOL_OUT'])\nopen('a', 'w').write('1')\n"
                      "open('b', 'wb').truncate(40 << 20)\nopen('c', 'w').write('1')\n"
                      "open(os.environ['GPUPOOL_RESULT'], 'w').write('7')\n")
    item = pool.finish(job)
    assert item["state"] == "failed" and item["error"]["type"] == "artifact" and "413" in item["error"]["message"]
    assert item["result"] == 7, "a file that was not kept must not cost the result"
    assert set(job.artifacts) == {"a", "c"}


def test_log_is_live_and_merges_both_streams(pool, start, shared):
    start()
    job = pool.submit("import os, sys, time\nprint('out')\nprint('err', file=sys.stderr)\n"
                      "while not os.path.exists(%r): time.sleep(0.02)\nprint('end', end='')" % (shared + "/go"))
    pool.wait(lambda: job.text == "out\nerr\n")
    open(shared + "/go", "w").close()
    pool.finish(job)
    assert job.text == "out\nerr\nend"


def test_progress_is_reported_soon(pool, start, shared):
    pool.heartbeat_seconds = 60
    start()
    job = pool.submit("import os, time\nf = open(os.environ['GPUPOOL_PROGRESS'], 'a', buffering=1)\n"
                      "f.write('0.25 a quarter\\nrubbish\\nnan no\\n0.9 not yet compl')\nf.flush()\n"
                      "while not os.path.exists(%r): time.sleep(0.02)\n" % (shared + "/go"))
    pool.wait(lambda: job.progress, 5)
    assert job.progress[-1] == {"fraction": 0.25, "message": "a quarter"}
    open(shared + "/go", "w").close()
    pool.finish(job)


def resident_peak(pid):
    with open("/proc/%d/status" % pid) as status:
        return int(re.search(r"VmHWM:\s+(\d+) kB", status.read()).group(1)) << 10


def test_huge_log_is_cut_by_the_server_and_never_in_memory(pool, start):
    agent = start()
    before = resident_peak(agent.pid)
    job = pool.submit("line = 'x' * 1023 + '\\n'\nfor _ in range(80 << 10): print(line, end='')\nraise SystemError('at the end')")
    item = pool.finish(job, 40)
    assert len(job.log) == 64 << 20
    assert item["error"]["type"] == "SystemError"       # also past the limit the end of the log is known
    assert resident_peak(agent.pid) - before < 24 << 20


def test_gpus_are_shared_out(pool, start, shared, work):
    tools = os.path.join(work, "tools")
    os.mkdir(tools)
    with open(tools + "/nvidia-smi", "w") as file:
        file.write("#!/bin/sh\ncase \"$*\" in *uuid*) "
                   "echo '0, GPU-a, Tesla T4, 15360, 535.104.05'; echo '1, GPU-b, Tesla T4, 15360, 535.104.05';;\n"
                   "*) echo '40, 1000, 15360'; echo '60, 2000, 15360';; esac\n")
    os.chmod(tools + "/nvidia-smi", 0o755)
    start(PATH=tools + ":/usr/bin:/bin")
    said = pool.registration["capabilities"]
    assert said["gpus"] == [{"name": "Tesla T4", "memoryBytes": 15360 << 20, "driver": "535.104.05"}] * 2
    assert said["slots"] == 2
    code = SAVE + ("import time\nopen(%r + '/' + os.environ['GPUPOOL_JOB_ID'], 'w')\n"
                   "while len(os.listdir(%r)) < 2: time.sleep(0.02)\nsave(os.environ['CUDA_VISIBLE_DEVICES'])" % (shared, shared))
    jobs = [pool.submit(code), pool.submit(code)]
    both = pool.submit(SAVE + "save(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=2)
    none = pool.submit(SAVE + "save(os.environ['CUDA_VISIBLE_DEVICES'])", gpus=0)
    assert {pool.finish(job)["result"] for job in jobs} == {"0", "1"}
    assert pool.finish(both)["result"] == "0,1"
    assert pool.finish(none)["result"] == ""
    pool.wait(lambda: any("gpu" in body for name, body in [(n, b) for _, n, b in pool.calls if n == "heartbeat"]))
    usage = [body["gpu"] for body in pool.bodies("heartbeat") if "gpu" in body][-1]
    assert usage == {"utilization": 50, "memoryUsed": 3000 << 20, "memoryTotal": 30720 << 20}


def test_torch_is_asked_where_nvidia_smi_is_missing(pool, start, work):
    os.makedirs(work + "/lib/torch")
    with open(work + "/lib/torch/__init__.py", "w") as file:
        file.write("class version: cuda = '12.1'\nclass P: name, total_memory = 'Radeon', 16 << 30\n"
                   "class cuda:\n    device_count = staticmethod(lambda: 1)\n"
                   "    get_device_properties = staticmethod(lambda i: P)\n")
    start(PYTHONPATH=work + "/lib", TPU_NAME="local")
    said = pool.registration["capabilities"]
    assert said["gpus"] == [{"name": "Radeon", "memoryBytes": 16 << 30, "driver": "cuda 12.1"}] and said["tpu"]
    job = pool.submit("import os; print(os.environ['CUDA_VISIBLE_DEVICES'], 'PYTHONPATH' in os.environ)")
    pool.finish(job)
    assert job.text == "0 False\n"


@pytest.mark.parametrize("torch", ["raise RuntimeError", "import os; os._exit(1)", "print('chatter')"])
def test_broken_torch_means_no_gpu(pool, start, work, torch):
    os.makedirs(work + "/lib/torch")
    with open(work + "/lib/torch/__init__.py", "w") as file:
        file.write(torch)
    start(PYTHONPATH=work + "/lib")
    assert pool.registration["capabilities"]["gpus"] == [] and not pool.registration["capabilities"]["tpu"]


def test_connections_are_kept(pool, start):
    start()
    for _ in range(10):
        pool.finish(pool.submit("print('x')"))
    assert pool.connections <= 5 + 10       # a job has one for its log; the loops keep theirs


@pytest.mark.parametrize("tmp", ["", "t" * 60], ids=["", "and TMPDIR"])
def test_multiprocessing_works_also_under_a_long_path(pool, start, work, tmp):
    """Its sockets lie in TMPDIR, and a socket's path is short or an error."""
    os.makedirs(os.path.join(work, tmp), exist_ok=True)
    agent = start(GPUPOOL_WORK=os.path.join(work, "w" * 60, "w" * 60), TMPDIR=os.path.join(work, tmp))
    job = pool.submit("import multiprocessing.connection as c, os\nc.Listener(family='AF_UNIX')\nprint(os.environ['TMPDIR'])")
    assert pool.finish(job)["state"] == "succeeded", job.text
    agent.terminate()
    agent.wait(10)
    assert not os.path.exists(os.path.dirname(job.text.strip()))


def test_job_directory_goes_with_the_job(pool, start):
    agent = start()
    job = pool.submit("import os\nos.mkdir('locked')\nopen('locked/x', 'w')\nos.chmod('locked', 0)\n"
                      "os.chmod(os.environ['HOME'], 0)")
    pool.finish(job)
    run, = [name for name in os.listdir(agent.work) if name.startswith("run-")]
    until(lambda: not os.listdir(os.path.join(agent.work, run, "jobs")))
