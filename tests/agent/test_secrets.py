"""What jobs must not get: tokens, the operator's environment, descriptors, the agent's memory, each other's caches."""
import json
import os
import subprocess

import pytest

from conftest import PROGRAM, PYTHON, family, until

SPY = r"""
import json, os
def attempt(function, *args):
    try:
        function(*args)
        return "done"
    except OSError as error:
        return type(error).__name__
def parent(pid):
    return int(open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[1])
pid, said = os.getppid(), {}
while pid > 1:
    name = open("/proc/%d/cmdline" % pid).read()
    if "gpupool-agent" not in name: break
    said[pid] = [attempt(lambda: open("/proc/%d/%s" % (pid, what), "rb").read(1)) for what in ("environ", "mem")]
    said[pid].append(attempt(os.listdir, "/proc/%d/fd" % pid))
    pid = parent(pid)
fds = [n for n in os.listdir("/proc/self/fd")]
json.dump({"said": said, "fds": fds, "env": dict(os.environ)}, open(os.environ["GPUPOOL_RESULT"], "w"))
"""


def test_job_reaches_neither_token_nor_agent(pool, start, work, uid):
    leaked = open(os.path.join(work, "leaked"), "w+")
    leaked.write("of the operator")
    leaked.flush()
    os.set_inheritable(leaked.fileno(), True)
    agent = start(uid=uid, SECRET="operator", options={"pass_fds": [leaked.fileno()]})
    result = pool.finish(pool.submit(SPY))["result"]
    assert set(result["said"]) >= {str(agent.pid)} and len(result["said"]) == 3     # keeper, nursery, agent
    assert all(answer == "PermissionError" for answers in result["said"].values() for answer in answers), result["said"]
    assert len(result["fds"]) == 4                      # 0, 1, 2 and the listing itself
    assert pool.enrol_token not in json.dumps(result) and pool.session_token not in json.dumps(result)
    assert "SECRET" not in result["env"] and "GPUPOOL_ENROL_TOKEN" not in result["env"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look")
def test_token_is_in_no_environment_and_no_argument(pool, start, shared, uid):
    agent = start(uid=uid)
    pool.submit("import time, os\nopen(%r, 'w')\nwhile True: time.sleep(1)" % (shared + "/started"))
    until(lambda: os.path.exists(shared + "/started"))
    pids = family(agent.pid)
    assert len(pids) == 4                               # agent, nursery, keeper, job
    for pid in pids:
        for what in ("environ", "cmdline"):
            with open("/proc/%d/%s" % (pid, what), "rb") as file:
                data = file.read()
            assert data and pool.enrol_token.encode() not in data and pool.session_token.encode() not in data


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look")
def test_token_is_in_no_memory_of_nursery_and_keepers(pool, start, shared):
    agent = start()
    pool.submit("import time, os\nopen(%r, 'w')\nwhile True: time.sleep(1)" % (shared + "/started"))
    until(lambda: os.path.exists(shared + "/started"))
    holds = [pid for pid in family(agent.pid) if in_memory(pid, pool.session_token) or in_memory(pid, pool.enrol_token)]
    assert holds == [agent.pid]


def in_memory(pid, text):
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if "rw" in mode:
                begin, end = (int(part, 16) for part in span.split("-"))
                try:
                    memory.seek(begin)
                    if text.encode() in memory.read(end - begin):
                        return True
                except (OSError, OverflowError):
                    continue
    return False


def test_token_comes_from_standard_input_too(pool, start, work):
    path = os.path.join(work, "token")
    with open(path, "w") as file:
        file.write(pool.enrol_token + "\n" + "more for the operator's eyes\n" * 5000)
    with open(path) as file:
        start(GPUPOOL_ENROL_TOKEN=None, options={"stdin": file})
    job = pool.submit("import sys; print(repr(sys.stdin.read()))")
    pool.finish(job)
    assert job.text == "''\n"


def test_without_a_token_it_says_so(pool, start):
    agent = start(wait=False, GPUPOOL_ENROL_TOKEN=None)
    assert agent.wait(10) == 1 and "no usable enrolment token" in agent.output()


@pytest.mark.parametrize("url", ["ftp://x", "http://user:secret@127.0.0.1", "http://", "http://x/?token=1", "x"])
def test_address_that_cannot_be_a_server_is_refused(url):
    done = subprocess.run([PYTHON, PROGRAM, url], env={"GPUPOOL_ENROL_TOKEN": "t"}, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"secret" not in done.stderr


@pytest.mark.parametrize("name, value", [("GPUPOOL_SLOTS", "0"), ("GPUPOOL_SLOTS", "many"), ("GPUPOOL_SLOTS", "257"),
                                         ("GPUPOOL_RETRY_SECONDS", "-1"), ("GPUPOOL_REACH_SECONDS", "nan")])
def test_setting_out_of_range_is_named(name, value):
    done = subprocess.run([PYTHON, PROGRAM, "http://127.0.0.1:9"], env={"GPUPOOL_ENROL_TOKEN": "t", name: value},
                          stderr=subprocess.PIPE)
    assert done.returncode == 1 and name.encode() in done.stderr


def test_log_file_gets_what_is_said_and_no_token(pool, start, work):
    path = os.path.join(work, "agent.log")
    agent = start(GPUPOOL_LOG=path)
    agent.terminate()
    agent.wait(10)
    with open(path) as file:
        text = file.read()
    assert "registered as worker" in text and "ending: sigterm" in text
    assert pool.enrol_token not in text and pool.session_token not in text


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives uids away")
def test_root_finds_a_place_where_other_uids_can_work(pool, start, work):
    os.mkdir(work + "/closed", 0o700)
    agent = start(GPUPOOL_WORK=work + "/closed/work")
    assert pool.finish(pool.submit("import os; print(os.getuid())"))["state"] == "succeeded"
    agent.terminate()
    assert agent.wait(10) == 0
    assert not [name for name in os.listdir(work) if name.startswith("gpupool-")]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives uids away")
def test_root_without_a_python_that_others_can_run_refuses_to_start(pool, start, work):
    os.mkdir(work + "/closed", 0o700)
    os.symlink(PYTHON, work + "/closed/python3")
    agent = start(wait=False, python=work + "/closed/python3")
    assert agent.wait(10) == 1 and "GPUPOOL_UID_BASE=0" in agent.output()
    assert not pool.registrations


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can")
def test_uid_base_0_runs_jobs_as_root(pool, start):
    start(GPUPOOL_UID_BASE="0")
    job = pool.submit("import os; print(os.getuid())")
    pool.finish(job)
    assert job.text == "0\n"
