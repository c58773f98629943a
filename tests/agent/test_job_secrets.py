"""A job's secrets: fetched as late as can be, in the environment of its own command and nowhere else."""
import os
import time

import pytest

from conftest import family, until

VALUE = "pä\"ss\nw0rd-of-this-test"
SHOW = ("import json, os\njson.dump({k: os.environ.get(k) for k in ('A', 'B', 'C', 'PATH')}, "
        "open(os.environ['GPUPOOL_RESULT'], 'w'))")


def holders(pids, text):
    """(pid, what) of processes whose environment or command line holds this."""
    found = []
    for pid in pids:
        for what in ("environ", "cmdline"):
            with open("/proc/%d/%s" % (pid, what), "rb") as file:
                if text.encode() in file.read():
                    found.append((pid, what))
    return found


def test_job_sees_its_secrets(pool, start, uid):
    pool.values = {"A": VALUE, "B": "b" * (32 << 10), "C": "not asked for"}
    start(uid=uid)
    result = pool.finish(pool.submit({"code": SHOW, "env": {"D": "1"}}, secrets=["A", "B"]))["result"]
    assert result["A"] == VALUE and result["B"] == "b" * (32 << 10) and result["C"] is None


def test_each_job_gets_its_own_and_one_without_asks_for_none(pool, start):
    pool.values = {"A": "a"}
    start(GPUPOOL_SLOTS="2")
    first, second = pool.submit(SHOW, secrets=["A"]), pool.submit(SHOW)
    assert pool.finish(first)["result"]["A"] == "a"
    assert pool.finish(second)["result"]["A"] is None
    assert [body["lease"] for body in pool.bodies("secrets")] == [first.lease]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may look")
def test_value_is_in_one_environment_and_no_argument_file_or_log(pool, start, shared, work):
    value = "w0rd-of-this-test"
    pool.values = {"A": value}
    log = os.path.join(work, "agent.log")
    agent = start(GPUPOOL_LOG=log)
    job = pool.submit("import time, os\nopen(%r, 'w')\nwhile True: time.sleep(1)" % (shared + "/started"), secrets=["A"])
    until(lambda: os.path.exists(shared + "/started"))
    pids = family(agent.pid)
    assert holders(pids, value) == [(pids[-1], "environ")]
    for folder, _, names in os.walk(work):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                assert value.encode() not in file.read(), os.path.join(folder, name)
    pool.order(order="cancel", jobId=job.id, lease=job.lease)
    pool.finish(job)
    assert value not in agent.output()


def test_missing_ones_are_named_and_nothing_runs(pool, start, shared):
    pool.values = {"A": "a"}
    start()
    item = pool.finish(pool.submit("open(%r, 'w')" % (shared + "/ran"), secrets=["B", "A", "C"]))
    assert item["state"] == "failed" and item["error"]["type"] == "secret_missing"
    assert "B, C" in item["error"]["message"]
    assert not os.path.exists(shared + "/ran")


def test_value_that_an_environment_cannot_hold_fails_the_job(pool, start):
    pool.values = {"A": "a\0b", "B": 7}
    start()
    for name in "AB":
        item = pool.finish(pool.submit("pass", secrets=[name]))
        assert item["state"] == "failed" and item["error"]["type"] == "secret_refused" and name in item["error"]["message"]


@pytest.mark.parametrize("names", [["PATH"], ["LD_PRELOAD"], ["PYTHONPATH"], ["GPUPOOL_RESULT"], ["a"], ["A=B"], "A", [1]])
def test_names_that_would_change_the_agent_are_refused(pool, start, names):
    start()
    item = pool.finish(pool.submit("pass", secrets=names))
    assert item["state"] == "failed" and item["error"]["type"] == "payload"
    assert not pool.bodies("secrets")


def test_outage_is_waited_out(pool, start):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [503, 502, 429, 500]
    pool.cut["secrets"] = 2
    start()
    assert pool.finish(pool.submit(SHOW, secrets=["A"]))["result"]["A"] == "a"
    assert not pool.fail["secrets"] and not pool.cut["secrets"]


def test_outage_longer_than_the_lease_gives_the_job_back(pool, start):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [503] * 10000
    start()
    began = time.monotonic()
    item = pool.finish(pool.submit(SHOW, secrets=["A"], leaseSeconds=2))
    assert item["state"] == "released" and time.monotonic() - began < 10


def test_void_lease_ends_the_job_and_not_the_session(pool, start):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [410]
    start()
    assert pool.finish(pool.submit(SHOW, secrets=["A"]))["state"] == "cancelled"
    assert pool.finish(pool.submit(SHOW, secrets=["A"]))["result"]["A"] == "a"


@pytest.mark.parametrize("status", [400, 403, 404, 421])
def test_refusal_fails_the_job(pool, start, status):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [status]
    start()
    item = pool.finish(pool.submit(SHOW, secrets=["A"]))
    assert item["state"] == "failed" and item["error"]["type"] == "secret_refused"


def test_cancelled_while_it_waits_for_them(pool, start):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [503] * 10000
    start()
    job = pool.submit(SHOW, secrets=["A"])
    pool.wait(lambda: len(pool.fail["secrets"]) < 10000)
    pool.order(order="cancel", jobId=job.id, lease=job.lease)
    assert pool.finish(job)["state"] == "cancelled"


def test_agent_told_to_stop_gives_back_what_waits_for_them(pool, start):
    pool.values, pool.fail["secrets"] = {"A": "a"}, [503] * 10000
    agent = start()
    job = pool.submit(SHOW, secrets=["A"])
    pool.wait(lambda: len(pool.fail["secrets"]) < 10000)
    agent.terminate()
    assert pool.finish(job)["state"] == "released"
    assert agent.wait(10) == 0
