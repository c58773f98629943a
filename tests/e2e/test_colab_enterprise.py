"""Colab Enterprise by its stand-in, which verifies each token and really runs each notebook: from the form's fields to a
job's files, and back to nothing."""
import concurrent.futures
import json
import os
import re
import signal
import time

import pytest

from google_people import Person
from google_standin import GoogleStandIn
from stack import Stack, descendants, google_settings, until

SAVE = "import json, os\nopen(os.environ['GPUPOOL_OUT'] + '/said.txt', 'w').write('cloud\\n')\nopen(os.environ['GPUPOOL_RESULT'], 'w').write('42')\n"


@pytest.fixture(scope="module")
def google():
    with GoogleStandIn() as standin:
        yield standin


@pytest.fixture(scope="module")
def google_stack(google):
    s = Stack(**google_settings(google))
    s.start()
    yield s
    s.close()


@pytest.fixture
def person(google, google_stack):
    """Makes persons; at the end what they started is over, and nobody misbehaved."""
    made = []

    def make(**switches):
        made.append(Person(google_stack, google, **switches))
        return made[-1]
    yield make
    for p in made:
        google.clear(p.project_id)
        for n in p.client.get("/api/gpu/workers/notebooks")["notebooks"]:
            p.client.call("DELETE", f"/api/gpu/workers/notebooks/{n['id']}")
    google.blameless()


# ---- the main flow ------------------------------------------------------------------

def test_from_the_form_to_the_files_of_a_job(person, google, capsys):
    p = person()
    begun = time.monotonic()
    id = p.add("T4", "first cloud")
    n = p.healthy(id)
    took = time.monotonic() - begun
    job = p.one_job()
    assert n["url"] == f"https://console.cloud.google.com/vertex-ai/colab/execution-jobs?project={p.project_id}"
    assert job.region == "europe-west4" and job.id.startswith("gpupool-") and job.labels["gpupool_worker"] == id
    machine = job.body["customEnvironmentSpec"]["machineSpec"]
    assert machine == {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}
    assert job.body["serviceAccount"] == p.robot.email and job.body["executionTimeout"] == "82800s", "24 h less the margin of an hour"
    assert "T4" in json.dumps(n["gpu"])
    done = p.client.ends(p.client.submit(SAVE, accelerator="T4"))
    assert done["state"] == "succeeded" and done["result"] == 42 and done["workerId"] == id, done
    row = p.account_row()
    assert row["identity"] == p.robot.email and row["status"] == "ok"
    assert "PRIVATE KEY" not in json.dumps([row, n])
    with capsys.disabled():
        print(f"\n  Colab Enterprise: from POST to healthy {took:.2f} s; calls to Google until then {len([c for c in google.calls if c.at < begun + took])}")


def test_stop_start_delete(person, google):
    p = person()
    id = p.add("cpu", "there and back")
    p.healthy(id)
    first = p.one_job()
    session = p.notebook(id)["session"]["id"]
    p.stop(id)
    p.becomes(id, "stopped")
    until(lambda: first.state == "JOB_STATE_SUCCEEDED")     # the agent ends by itself when it is told to
    outputs = f"/api/gpu/workers/notebooks/{id}/sessions/{session}/outputs"
    kept = until(lambda: (o := p.client.get(outputs)["outputs"]) and o)
    names = {o["name"]: o for o in kept}
    assert "log" in names and any(n.endswith("content.ipynb") for n in names), names
    log = p.client.call("GET", outputs + "/log").body.decode()
    assert "gpupool: the agent ended with status 0" in log
    notebook = p.client.call("GET", outputs + "/" + next(n for n in names if n.endswith("content.ipynb"))).body.decode()
    assert json.loads(notebook)["cells"][0]["outputs"] and not re.search("gp[es]_[A-Za-z0-9_-]{20}", notebook + log)

    p.start(id)
    p.healthy(id)
    second = next(j for j in p.jobs() if j is not first)
    assert second.id != first.id and second.created >= first.ended
    p.delete(id)
    p.deleted(id)
    until(lambda: not [j for j in p.jobs() if not j.deleted])
    p.nothing_left()


def test_an_agent_that_hears_nothing_is_ended_there(person):
    p = person(stuck=True)
    id = p.add("cpu", "never begun")
    until(lambda: p.jobs())
    p.becomes(id, "starting", code="queued")
    p.stop(id)
    p.becomes(id, "stopped", 90)
    until(lambda: not p.jobs(live=True))
    assert p.jobs()[0].deleted and p.jobs()[0].run is None


def test_delete_of_what_runs(person):
    p = person()
    id = p.add("cpu", "in full run")
    p.healthy(id)
    p.delete(id)
    p.deleted(id)
    until(lambda: not [j for j in p.jobs() if not j.deleted])


def test_the_provider_ends_it_when_its_time_is_over(person):
    """The third brake: the job's own timeout is what was reserved."""
    p = person()
    id = p.add("cpu", "an hour", maxSessionSeconds=3600)
    p.healthy(id)
    assert p.one_job().body["executionTimeout"] == "3600s"


# ---- what is wrong is said, with what to do -------------------------------------------

def account(p):
    row = until(lambda: (r := p.account_row())["status"] not in ("unchecked", "ok") and r)
    return row["status"], json.dumps(row)


def lacking(p, permission):
    p.project.lacks.add("aiplatform.notebookExecutionJobs." + permission)


WRONG = {
    "the interface is off": (lambda p: setattr(p.project, "enabled", False), "console.cloud.google.com/apis/library/aiplatform.googleapis.com"),
    "no billing": (lambda p: setattr(p.project, "billing", False), "billing"),
    "no such project": (lambda p: setattr(p, "project_id", "another-project"), "no project another-project"),
    "no such region": (lambda p: setattr(p, "region", "mars-north1"), "does not serve the region mars-north1"),
    "no list permission": (lambda p: lacking(p, "list"), "aiplatform.notebookExecutionJobs.list"),
    "no bucket": (lambda p: setattr(p, "bucket", "no-such-bucket"), "no bucket no-such-bucket"),
    "no writing": (lambda p: p.google.gcs.allow(p.bucket, p.robot.email, {"storage.objects.get", "storage.objects.list"}), "storage.objects.create"),
    "key deleted": (lambda p: setattr(p.robot, "disabled", True), "Make a new key"),
}


@pytest.fixture(scope="module")
def wrongs(google, google_stack):
    people = {}
    for name, (spoil, _) in WRONG.items():
        p = people[name] = Person(google_stack, google)
        spoil(p)
        p.id = p.add("cpu", name)
    return people


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_with_an_account_is_said(wrongs, name):
    p = wrongs[name]
    status, row = account(p)
    assert status == "needs_human" and WRONG[name][1] in row, row
    n = p.becomes(p.id, "needs_human")
    assert n["reason"]["message"] and not p.jobs()


def test_put_right_it_starts_by_itself(person):
    p = person()
    p.project.enabled = False
    id = p.add("cpu", "soon")
    p.becomes(id, "needs_human")
    p.project.enabled = True
    p.client.post(f"/api/gpu/accounts/{p.account_row()['id']}/check")
    p.healthy(id)


@pytest.mark.parametrize("spoil, words", [
    ({"serviceAccount": {"type": "authorized_user", "client_id": "x"}}, "serviceAccount"), ({"serviceAccount": "nonsense"}, "serviceAccount"),
    ({"region": "Europe"}, "region"), ({"bucket": "a/b"}, "bucket"), ({"project": "../x"}, "project"), ({"more": 1}, "credentials"),
], ids=str)
def test_credentials_that_are_none_are_refused_by_field(person, spoil, words):
    p = person()
    reply = p.ask("cpu", "refused", credentials={**p.credentials, **spoil})
    assert reply.status == 400 and any(words in e["field"] for e in reply.json["errors"]), reply
    assert "PRIVATE KEY" not in reply.body.decode()


def test_may_not_create(person):
    p = person()
    lacking(p, "create")
    id = p.add("cpu", "may not")
    n = p.becomes(id, "needs_human")
    assert "aiplatform.notebookExecutionJobs.create" in n["reason"]["message"] and not p.jobs()
    p.project.lacks.clear()


def test_may_not_act_as_itself(person):
    p = person()
    p.project.lacks.add("iam.serviceAccounts.actAs")
    n = p.becomes(p.add("cpu", "not itself"), "needs_human")
    assert "Service Account User" in n["reason"]["message"]


def test_no_gpus_at_all(person):
    p = person(gpus={"NVIDIA_TESLA_T4": 0})
    n = p.becomes(p.add("T4", "none given"), "needs_human", code="gpu_quota")
    assert "quota" in n["reason"]["message"] and "is zero" in n["reason"]["message"]
    p.healthy(p.add("cpu", "but this"))
    assert p.account_row()["status"] == "ok", "what the project lacks of one kind spoils nothing else"


def test_as_many_gpus_as_the_project_has(person):
    p = person(gpus={"NVIDIA_TESLA_T4": 1})
    first = p.add("T4", "the one")
    p.healthy(first)
    second = p.add("T4", "the other")
    n = p.becomes(second, "waiting", code="capacity")
    assert "used up" in n["reason"]["message"]
    p.delete(first)
    p.healthy(second, 90)


def test_out_of_stock_waits(person):
    p = person(stockout={"NVIDIA_TESLA_T4"})
    id = p.add("T4", "sold out")
    n = p.becomes(id, "waiting", code="capacity")
    assert "no such machine free in europe-west4" in n["reason"]["message"]


def test_a_key_that_is_withdrawn_while_it_runs(person, google):
    p = person()
    id = p.add("cpu", "soon refused")
    p.healthy(id)
    p.robot.disabled = True
    google.oauth.drop_access_tokens()
    p.client.post(f"/api/gpu/accounts/{p.account_row()['id']}/check")
    until(lambda: p.account_row()["status"] == "needs_human")
    assert p.notebook(id)["state"] == "healthy" and p.one_job()
    p.robot.disabled = False
    p.client.call("PATCH", f"/api/gpu/accounts/{p.account_row()['id']}", {"credentials": p.credentials})
    until(lambda: p.account_row()["status"] == "ok")


# ---- faults -----------------------------------------------------------------------------

CREATE, GET, OPERATION, TOKEN = "vertex.create", "vertex.get", "vertex.operation", "oauth.token"
CASES = [(CREATE, kind, {}) for kind in (500, 503, "html", "empty", "truncated", "reset_before", "reset_after")]
CASES += [(CREATE, 429, {"retry_after": 1, "message": "Quota exceeded for quota metric 'Job submissions' per minute"}), (CREATE, 503, {"effect": True}),
          (CREATE, "drip", {"seconds": 0.001}), (CREATE, 401, {})]
CASES += [(GET, kind, {}) for kind in (500, 503, "html", "empty", "truncated", "reset_after", 401)] + [(GET, 429, {"retry_after": 1})]
CASES += [(GET, "shape", {"times": 3, "change": lambda d: {**d, "jobState": "JOB_STATE_UNHEARD_OF"}}),
          (GET, "shape", {"times": 3, "change": lambda d: [d]})]


def named(case):
    return "-".join([case[0], str(case[1]), *case[2]])


@pytest.fixture(scope="module")
def crowd(google, google_stack):
    """For each case a person who meets it, all at once."""
    people = {}

    def begin(case):
        operation, kind, options = case
        p = people[CASES.index(case)] = Person(google_stack, google)
        p.met = p.fault(operation, kind, **options)
        p.id = p.add("cpu", "under fire")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        list(pool.map(begin, CASES))
    yield people
    for p in people.values():
        google.clear(p.project_id)
        p.delete(p.id)
    for p in people.values():
        p.deleted(p.id, 120)
    google.blameless()


@pytest.mark.parametrize("case", range(len(CASES)), ids=[named(c) for c in CASES])
def test_a_fault_costs_a_delay_and_never_a_second_job(crowd, case):
    p = crowd[case]
    p.healthy(p.id, 90)
    p.one_job()
    until(lambda: p.met.met > 0, 30)


def test_tokens_that_do_not_come(person, google):
    for kind in (503, "html"):
        google.fault(TOKEN, kind)
    p = person()
    p.healthy(p.add("cpu", "patience"), 120)
    p.one_job()


def test_a_job_that_shows_late_is_not_taken_for_gone(person):
    p = person(create_lag=3.0, queue_seconds=4.0)
    p.healthy(p.add("cpu", "late"), 60)
    p.one_job()


def test_a_job_deleted_at_google_is_started_again(person):
    p = person()
    id = p.add("cpu", "deleted there")
    p.healthy(id)
    job = p.one_job()
    with p.google.vertex.lock:
        job.run.halt()
        p.google.vertex.become(job, "JOB_STATE_CANCELLING", p.google.clock.now())
    until(lambda: len(p.jobs()) == 2)
    p.healthy(id)


def test_departures_meet_faults(person):
    p = person(stuck=True)
    id = p.add("cpu", "hard to stop")
    until(lambda: p.jobs() and p.notebook(id)["url"])
    p.fault("vertex.delete", 503)
    p.fault("vertex.delete", "reset_after")
    p.delete(id)
    p.deleted(id, 120)
    p.nothing_left()


# ---- our own end, in the middle of each step ------------------------------------------------

def kill_provisioner(stack):
    for pid in stack.pids("gpupool-provisioner"):
        if not any("--providers=local" in line for q, line in descendants(stack.process.pid) if q == pid):
            os.kill(pid, signal.SIGKILL)


def checked(p):
    """Its account is known to be good: a check that its process's death cuts off is made again only minutes later."""
    p.client.post("/api/gpu/accounts", {"provider": "colab-enterprise", "credentials": p.credentials})
    until(lambda: p.account_row()["status"] == "ok")


@pytest.mark.parametrize("operation", [CREATE, GET])
def test_killed_while_a_call_is_under_way(person, google_stack, operation):
    """The call hangs after its effect; its caller dies with it: afterwards there is one job."""
    p = person()
    checked(p)
    fault = p.fault(operation, "drip", seconds=0.2)
    id = p.add("cpu", "cut off")
    until(lambda: fault.met)
    kill_provisioner(google_stack)
    p.healthy(id, 90)
    p.one_job()


@pytest.mark.parametrize("delay", [0.0, 0.15, 0.3, 0.6, 1.0, 1.5])
def test_killed_at_any_moment(person, google_stack, delay):
    """Started, killed, stopped, killed, deleted: one job or none, and rows that agree."""
    p = person()
    checked(p)
    id = p.add("cpu", "at any moment")
    end = time.monotonic() + delay
    until(lambda: time.monotonic() >= end)
    kill_provisioner(google_stack)
    p.healthy(id, 90)
    assert len(p.jobs(live=True)) == 1
    p.stop(id)
    end = time.monotonic() + delay
    until(lambda: time.monotonic() >= end)
    kill_provisioner(google_stack)
    p.becomes(id, "stopped", 120)
    until(lambda: not p.jobs(live=True))
    p.delete(id)
    end = time.monotonic() + delay
    until(lambda: time.monotonic() >= end)
    kill_provisioner(google_stack)
    p.deleted(id, 90)
    until(lambda: not [j for j in p.jobs() if not j.deleted], 60)


# ---- secrets ----------------------------------------------------------------------------

def test_the_private_key_is_nowhere_in_clear(person, google_stack, google):
    p = person()
    id = p.add("cpu", "secret keeper")
    p.healthy(id)
    p.stop(id)
    p.becomes(id, "stopped")
    lines = [line for line in p.robot.pem.split("\n") if len(line) == 64]
    token = next(t for t, of in google.oauth.tokens.items() if of.principal == p.robot.email)
    needles = [lines[1].encode(), lines[5].encode(), lines[-1].encode(), token[5:60].encode()]
    for pid, line in descendants(google_stack.process.pid):
        for needle in needles:
            assert needle.decode() not in line, line
        try:
            environment = open(f"/proc/{pid}/environ", "rb").read()
        except OSError:
            continue
        assert not any(n in environment for n in needles)
    searched = 0
    for folder, _, names in os.walk(google_stack.dir):
        for name in names:
            try:
                data = open(os.path.join(folder, name), "rb").read()
            except OSError:
                continue
            searched += 1
            assert not any(n in data for n in needles), os.path.join(folder, name)
    assert searched > 100, "the database's files are among what was searched"
    for path in ("accounts", "workers/notebooks", "decisions", "audit"):
        reply = google_stack.admin.call("GET", "/api/gpu/" + path)
        assert reply.status == 200 and not any(n in reply.body for n in needles), path


# ---- budget -----------------------------------------------------------------------------

def test_a_budget_lets_no_start_pass_and_cuts_what_runs(person):
    p = person()
    id = p.add("cpu", "first of the month", maxSessionSeconds=7200)
    p.healthy(id)
    account = p.account_row()["id"]

    def budget(**fields):
        reply = p.client.call("PATCH", f"/api/gpu/accounts/{account}", {"budget": fields})
        assert reply.status == 200, reply
        return reply.json["budget"]
    seen = budget(monthSeconds=7200, monthMoney=None)
    assert seen["reservedSeconds"] == 7200 and seen["monthSeconds"] == 7200 and seen["usedSeconds"] == 0
    other = p.add("cpu", "one too many")
    n = p.becomes(other, "waiting", code="budget")
    assert "2.0 hours a month is used up" in n["reason"]["message"] and len(p.jobs()) == 1

    # Raised, it starts by itself, with no more than is left.
    budget(monthSeconds=10000)
    p.healthy(other, 90)
    assert next(j for j in p.jobs() if j.labels["gpupool_worker"] == other).body["executionTimeout"] == "2800s"
    assert p.account_row()["budget"]["reservedSeconds"] == 10000

    # Lowered, what runs is cut, the latest first.
    budget(monthSeconds=7300)
    until(lambda: p.account_row()["budget"]["reservedSeconds"] <= 7400, 90)
    left = {i: until(lambda: p.notebook(i)["session"])["deadline"] for i in (id,)}
    assert left
    until(lambda: p.notebook(other)["state"] in ("stopped", "waiting"), 120)

    # Money: a price that nobody told starts nothing; with one the estimate shows.
    p.stop(id)
    p.becomes(id, "stopped", 60)
    seen = budget(monthSeconds=None, monthMoney=5, currency="EUR")
    p.start(id)
    n = p.becomes(id, "waiting", code="budget")
    assert "price" in n["reason"]["message"]
    seen = budget(monthMoney=5, prices=[{"accelerator": "cpu", "perHour": 2, "source": "the console"}])
    assert seen["prices"][0]["perHour"] == 2 and seen["currency"] == "EUR" and seen["prices"][0]["asOf"]
    p.healthy(id, 400)
    seen = p.account_row()["budget"]
    assert seen["reservedMoney"] >= 4 and seen["usedMoney"] + seen["reservedMoney"] <= 5, "the other may have what is left"
    assert p.client.call("PATCH", f"/api/gpu/accounts/{account}", {"budget": {"prices": [{"accelerator": "TPU9", "perHour": 1}]}}).status == 400
    assert p.client.call("PATCH", f"/api/gpu/accounts/{account}", {"budget": {"monthMoney": -1}}).status == 400
