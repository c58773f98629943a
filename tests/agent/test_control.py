"""Who may stop what: cancel, time limits, leases, the deadline, orders, signals, the end of a session."""
import hashlib
import os
import signal
import time

import pytest

from conftest import PROGRAM, alive, family, until

FOREVER = "import os, time\nopen(os.path.join(%r, 'pid'), 'w').write(str(os.getpid()))\nwhile True: time.sleep(1)\n"
# A job that ignores SIGTERM, and one whose daemon has left the group, the session and its parent.
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + FOREVER
DAEMON = ("import os, time\nif os.fork():\n    os.wait()\n    while True: time.sleep(1)\nos.setsid()\nif os.fork(): os._exit(0)\n"
          "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nos.setsid()\n") + FOREVER
KINDS = pytest.mark.parametrize("code", [FOREVER, STUBBORN, DAEMON], ids=["obedient", "stubborn", "daemon"])


def pid_of(shared):
    path = os.path.join(shared, "pid")
    until(lambda: os.path.exists(path) and os.path.getsize(path))
    with open(path) as file:
        return int(file.read())


@KINDS
def test_cancel_takes_less_than_two_seconds(pool, start, shared, code):
    start()
    job = pool.submit(code % shared)
    pid = pid_of(shared)
    began = time.monotonic()
    pool.order(order="cancel", jobId=job.id, lease=job.lease)
    assert pool.finish(job)["state"] == "cancelled"
    assert time.monotonic() - began < 2
    assert not alive(pid)
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"


def test_cancel_of_another_lease_changes_nothing(pool, start, shared):
    start()
    job = pool.submit("import os, time\nopen(%r, 'w')\nwhile not os.path.exists(%r): time.sleep(0.02)"
                      % (shared + "/started", shared + "/go"))
    until(lambda: os.path.exists(shared + "/started"))
    pool.order(order="cancel", jobId=job.id, lease="00000000-0000-0000-0000-000000000000")
    pool.order(order="cancel", jobId="999999")
    pool.order(order="never heard of")
    pool.wait(lambda: not pool.orders)
    open(shared + "/go", "w").close()
    assert pool.finish(job)["state"] == "succeeded"


def test_cancel_reaches_a_job_that_waits_for_room(pool, start, shared):
    start()
    running = pool.submit(FOREVER % shared)
    pid_of(shared)
    waiting = pool.submit("pass")
    with pool.changed:                      # delivered though the agent is full, as after a lost reply
        pool.queue.remove(waiting)
        waiting.deliveries = 1
        pool.changed.notify_all()
    pool.wait(lambda: waiting.deliveries > 1)
    pool.order(order="cancel", jobId=waiting.id, lease=waiting.lease)
    assert pool.finish(waiting)["state"] == "cancelled"
    assert running.item is None


def test_cancel_ends_the_installation_of_requirements(pool, start):
    start(GPUPOOL_PIP_ARGS="--index-url http://127.0.0.1:9/ --retries 50 --timeout 60")
    job = pool.submit({"code": "pass", "requirements": ["no-such-package-of-gpupool"]})
    pool.wait(lambda: "Retrying" in job.text or "installing requirements" in job.text)
    began = time.monotonic()
    pool.order(order="cancel", jobId=job.id, lease=job.lease)
    assert pool.finish(job)["state"] == "cancelled"
    assert time.monotonic() - began < 2


@KINDS
def test_time_limit_is_kept(pool, start, shared, code):
    start()
    job = pool.submit(code % shared, timeoutSeconds=0.4)
    pid = pid_of(shared)
    item = pool.finish(job)
    assert item["state"] == "timed_out" and item["error"] == {"type": "timeout", "message": "ran longer than 0.4 s"}
    assert not alive(pid)


def test_left_behind_processes_end_with_the_job(pool, start, shared):
    start()
    job = pool.submit(DAEMON.replace("    os.wait()\n    while True: time.sleep(1)\n",
                                     "    while not os.path.exists(%r): time.sleep(0.01)\n    os._exit(0)\n"
                                     % (shared + "/pid")) % shared)
    pid = pid_of(shared)
    assert pool.finish(job)["state"] == "succeeded"
    assert not alive(pid)


def test_lease_that_is_not_renewed_ends_the_job(pool, start, shared):
    pool.renewing = False
    start()
    began = time.monotonic()
    job = pool.submit(FOREVER % shared, leaseSeconds=1)
    pid = pid_of(shared)
    assert pool.finish(job)["state"] == "released"
    assert time.monotonic() - began < 4 and not alive(pid)


def test_heartbeats_keep_their_interval(pool, start):
    start()

    def times():
        return [when for when, name, _ in pool.calls if name == "heartbeat"]
    pool.wait(lambda: len(times()) >= 5)
    gaps = [after - before for before, after in zip(times(), times()[1:])]
    assert min(gaps) > 0.15 and sum(gaps) / len(gaps) > 0.28


def test_lease_that_is_renewed_lasts(pool, start, shared):
    start()
    job = pool.submit("import time; time.sleep(1.6)", leaseSeconds=0.7)
    assert pool.finish(job)["state"] == "succeeded"


def test_lease_counts_from_the_sending_of_the_claim(pool, start, shared):
    """The claim that brings the job was parked for longer than the lease: no time is left of it."""
    pool.renewing = False
    start()
    parked = time.monotonic()
    until(lambda: time.monotonic() - parked > 1.2)
    job = pool.submit(FOREVER % shared, leaseSeconds=1)
    delivered = time.monotonic()
    assert pool.finish(job)["state"] == "released"
    assert time.monotonic() - delivered < 1


def test_job_ends_with_its_lease_while_the_server_is_away(pool, start, shared):
    start()
    job = pool.submit(FOREVER % shared, leaseSeconds=1.5)
    pid = pid_of(shared)
    pool.stop()
    until(lambda: not alive(pid), 5)
    pool.start()
    assert pool.finish(job)["state"] == "released"


def test_deadline_ends_the_agent_by_itself(pool, start, shared):
    began = time.monotonic()
    pool.deadline_at = began + 5
    agent = start()
    job = pool.submit(FOREVER % shared)
    pid = pid_of(shared)
    assert agent.wait(10) == 0
    assert 1.5 < time.monotonic() - began < 5
    assert job.item["state"] == "released" and not alive(pid)
    assert pool.goodbye["reason"] == "deadline"


def test_deadline_that_comes_later_in_a_heartbeat_counts(pool, start):
    agent = start()
    pool.deadline_at = time.monotonic() + 3.5
    assert agent.wait(10) == 0
    assert pool.goodbye["reason"] == "deadline"


def test_deadline_holds_while_the_server_is_away(pool, start, shared):
    pool.deadline_at = time.monotonic() + 3.4
    agent = start()
    pool.submit(FOREVER % shared)
    pid = pid_of(shared)
    pool.stop()
    until(lambda: not alive(pid), 6)
    assert agent.wait(15) == 0
    pool.start()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_gives_everything_back(pool, start, shared, number):
    agent = start()
    job = pool.submit(FOREVER % shared)
    pid = pid_of(shared)
    began = time.monotonic()
    agent.send_signal(number)
    assert agent.wait(10) == 0
    assert time.monotonic() - began < 4
    assert job.item["state"] == "released" and not alive(pid)
    assert pool.goodbye["reason"] == signal.Signals(number).name.lower() and "registered as worker" in pool.goodbye["log"]
    assert not [name for name in os.listdir(agent.work) if name.startswith("run-")]


def test_signal_ends_an_agent_that_cannot_register(pool, start):
    pool.fail["auto-register"] = [503] * 1000
    agent = start(wait=False)
    pool.wait(lambda: pool.bodies("auto-register"))
    agent.terminate()
    assert agent.wait(5) == 0


def test_stop_releases_and_leaves(pool, start, shared):
    agent = start()
    job = pool.submit(FOREVER % shared)
    pid_of(shared)
    pool.order(order="stop", reason="deleted")
    assert agent.wait(10) == 0
    assert job.item["state"] == "released" and pool.goodbye["reason"] == "stopped"


def test_drain_finishes_what_runs_and_takes_no_more(pool, start, shared):
    agent = start()
    job = pool.submit("import os, time\nopen(%r, 'w')\nwhile not os.path.exists(%r): time.sleep(0.02)"
                      % (shared + "/started", shared + "/go"))
    until(lambda: os.path.exists(shared + "/started"))
    pool.order(order="drain")
    pool.wait(lambda: not pool.orders and pool.parked == [0])
    later = pool.submit("pass")
    open(shared + "/go", "w").close()
    assert agent.wait(10) == 0
    assert job.item["state"] == "succeeded" and later.deliveries == 0
    assert pool.goodbye == dict(pool.goodbye, reason="drained", code=0)


def test_drain_of_an_idle_agent_ends_it(pool, start):
    agent = start()
    pool.order(order="drain")
    assert agent.wait(10) == 0


def source_of(version):
    with open(PROGRAM, "rb") as file:
        return file.read().replace(b'VERSION = "1.2.0"', b'VERSION = "%s"' % version)


def test_upgrade_drains_and_goes_on_with_the_same_session(pool, start):
    pool.agent_source = source_of(b"1.0.1")
    agent = start()
    job = pool.submit("import time; time.sleep(0.5); print('done')")
    pool.wait(lambda: job.deliveries)
    pool.order(order="upgrade", sha256=hashlib.sha256(pool.agent_source).hexdigest())
    pool.wait(lambda: "gpupool-agent/1.0.1" in pool.user_agents and 1 in pool.parked)
    assert job.item["state"] == "succeeded" and job.text == "done\n"
    assert pool.registrations == 1 and pool.goodbye is None
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"
    agent.terminate()
    assert agent.wait(10) == 0


@pytest.mark.parametrize("source", [b"print('another')", source_of(b"1.0.1") + b"("], ids=["other", "broken"])
def test_upgrade_to_what_was_not_ordered_or_cannot_run_is_refused(pool, start, source):
    pool.agent_source = source
    right = hashlib.sha256(source if source.endswith(b"(") else b"the ordered one").hexdigest()
    start()
    pool.order(order="upgrade", sha256=right)
    pool.wait(lambda: pool.bodies("agent"))
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"
    assert pool.user_agents == ["gpupool-agent/1.2.0"]


@pytest.mark.parametrize("status, code", [(401, 3), (410, 5)])
def test_end_of_the_session_kills_jobs_and_leaves(pool, start, shared, status, code):
    agent = start()
    pool.submit(STUBBORN % shared)
    pid = pid_of(shared)
    with pool.changed:
        pool.over = status
        pool.changed.notify_all()
    assert agent.wait(10) == code
    assert not alive(pid) and pool.goodbye is None


@pytest.mark.parametrize("status, code", [(401, 3), (410, 5)])
def test_registration_that_is_refused_ends_the_agent(pool, start, status, code):
    pool.over = status
    assert start(wait=False).wait(10) == code


def test_unknown_token_ends_the_agent(pool, start):
    assert start(wait=False, token="not-" + pool.enrol_token).wait(10) == 3


def test_token_of_another_instance_ends_the_agent(pool, start):
    pool.instance = "somebody else"
    assert start(wait=False).wait(10) == 4


def test_notebook_that_cannot_reach_the_server_gives_up(pool, start):
    pool.stop()
    began = time.monotonic()
    agent = start(wait=False, GPUPOOL_PROVIDER="kaggle", GPUPOOL_REACH_SECONDS="1")
    assert agent.wait(10) == 6 and time.monotonic() - began > 0.9
    pool.start()


def test_local_agent_waits_for_the_server(pool, start):
    pool.stop()
    start(wait=False, GPUPOOL_PROVIDER="local", GPUPOOL_REACH_SECONDS="0.3")
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 0.7)
    pool.start()
    pool.wait(lambda: pool.parked)


@pytest.mark.parametrize("whole_group", [False, True])
@KINDS
def test_jobs_die_with_an_agent_that_is_killed(pool, start, shared, code, whole_group):
    agent = start()
    pool.submit(code % shared)
    pid = pid_of(shared)
    if whole_group:
        os.killpg(agent.pid, signal.SIGKILL)
    else:
        agent.kill()
    until(lambda: not alive(pid), 3)


def test_job_whose_keeper_is_killed_dies_and_fails(pool, start, shared):
    agent = start()
    job = pool.submit(STUBBORN % shared)
    pid = pid_of(shared)
    os.kill(family(agent.pid)[2], signal.SIGKILL)       # agent, nursery, keeper, job
    item = pool.finish(job)
    assert item["state"] == "failed" and item["error"]["type"] == "agent"
    until(lambda: not alive(pid), 3)
    assert pool.finish(pool.submit("pass"))["state"] == "succeeded"


def test_agent_that_can_start_nothing_leaves_instead_of_spoiling_jobs(pool, start):
    agent = start()
    os.kill(family(agent.pid)[1], signal.SIGKILL)       # the nursery
    job = pool.submit("pass")
    assert pool.finish(job)["state"] == "released"
    assert agent.wait(10) == 1 and pool.goodbye["reason"] == "broken"


def test_what_a_killed_agent_left_is_removed_by_the_next(pool, start, shared):
    agent = start()
    pool.submit(FOREVER % shared)
    pid = pid_of(shared)
    left = [name for name in os.listdir(agent.work) if name.startswith("run-")]
    agent.kill()
    agent.wait()
    until(lambda: not alive(pid))
    with pool.changed:
        pool.jobs.clear()
        pool.parked.clear()
        pool.instance = None
    start()
    now = [name for name in os.listdir(agent.work) if name.startswith("run-")]
    assert len(now) == 1 and now != left


def test_a_claim_for_orders_is_parked_while_full(pool, start, shared):
    start(GPUPOOL_SLOTS="2")
    pool.wait(lambda: pool.parked == [2])
    jobs = [pool.submit("import os, time\nwhile not os.path.exists(%r): time.sleep(0.02)" % (shared + "/go%d" % i))
            for i in range(2)]
    pool.wait(lambda: pool.parked == [0])
    open(shared + "/go0", "w").close()
    pool.finish(jobs[0])
    pool.wait(lambda: 1 in pool.parked, 1)      # offered at once, not when the parked claim returns
    third = pool.submit("pass")
    assert pool.finish(third, 2)["state"] == "succeeded"
    open(shared + "/go1", "w").close()
    pool.finish(jobs[1])
