"""Kaggle by its stand-in, which really runs what is pushed: from the form's fields to a job's files, and back to nothing."""
import json
import os
import re
import time
import uuid

import pytest

from kaggle_people import Person
from stack import until

SAVE = "import json, os, time\nopen(os.environ['GPUPOOL_OUT'] + '/said.txt', 'w').write(%r)\n"


def problem(reply, status):
    assert reply.status == status, reply
    assert reply.headers["content-type"].startswith("application/problem+json")
    return reply.json


def fields(body):
    return {e["field"] for e in body.get("errors", [])}


# ---- the main flow ------------------------------------------------------------------

def test_from_the_form_to_the_files_of_a_job(person, kaggle, capsys):
    p = person(queue_seconds=0.5)
    begun = time.monotonic()
    id = p.add("gpu", "first light")
    until(lambda: p.runs())
    pushed = next(c.at for c in kaggle.calls if c.method == "SaveKernel" and c.owner == p.name) - begun
    n = p.healthy(id)
    with capsys.disabled():
        print(f"\n  from POST to the push: {pushed:.2f} s; to healthy: {time.monotonic() - begun:.2f} s")

    run = p.one_run()
    assert run.kernel.slug == "gpupool-first-light" and n["url"] == f"https://www.kaggle.com/code/{p.name}/gpupool-first-light"
    sent = run.version.fields
    assert sent["isPrivate"] is True and sent["enableInternet"] is True and sent["machineShape"] == "NvidiaTeslaT4"
    lines = run.version.text.split("\n")
    assert re.fullmatch(r"# gpupool intent [0-9a-f-]{36}", lines[0]) and re.match(rf"# gpupool worker {id} of [0-9a-f-]{{36}}", lines[1])
    assert p.key not in run.version.text and len(run.version.text) < 300_000
    assert n["quota"]["resource"] == "gpu" and n["quota"]["limitSeconds"] == 108000
    assert 0 <= sent["sessionTimeoutSeconds"] - n["quota"]["reservedSeconds"] - n["quota"]["usedSeconds"] < 60, "what was reserved is what Kaggle is told"
    assert "T4" in json.dumps(n["gpu"])

    # Two T4: each job waits for the other.
    place = run.directory + "/tmp/meet"
    os.mkdir(place)
    os.chmod(place, 0o777)
    meet = (f"import os,time\nopen('{place}/' + os.environ['GPUPOOL_JOB_ID'], 'w')\n"
            f"while len(os.listdir('{place}')) < 2: time.sleep(0.05)\n" + SAVE % "both\n"
            + "open(os.environ['GPUPOOL_RESULT'], 'w').write(json.dumps(os.environ['CUDA_VISIBLE_DEVICES']))")
    jobs = [p.client.submit(meet, accelerator="gpu") for _ in range(2)]
    over = [p.client.ends(j) for j in jobs]
    assert [j["state"] for j in over] == ["succeeded"] * 2, over
    assert {j["result"] for j in over} == {"0", "1"} and {j["workerId"] for j in over} == {id}
    assert p.client.call("GET", f"/api/gpu/jobs/{jobs[0]}/artifacts/said.txt").body == b"both\n"

    row = p.account_row()
    assert row["identity"] == p.name and row["status"] == "ok" and row["checkedAt"]
    assert p.key not in json.dumps([row, n, p.client.get("/api/gpu/workers/notebooks")])


def test_a_tpu_is_called_one(person):
    p = person()
    id = p.add("tpu", "of a kind")
    n = p.healthy(id)
    assert p.one_run().version.fields["machineShape"] == "TpuV5E8" and n["gpu"]["name"] == "TPU", n
    job = p.client.ends(p.client.submit("print('on it')", accelerator="tpu"))
    assert job["state"] == "succeeded" and job["workerId"] == id, job


def test_stop_start_delete(person):
    p = person()
    id = p.add("cpu", "there and back")
    p.healthy(id)
    first = p.one_run()
    session = p.notebook(id)["session"]["id"]
    p.stop(id)
    p.becomes(id, "stopped")
    assert first.state == "COMPLETE", "the agent ends by itself when told to stop"

    outputs = f"/api/gpu/workers/notebooks/{id}/sessions/{session}/outputs"
    kept = until(lambda: (o := p.client.get(outputs)["outputs"]) and o)
    names = {o["name"] for o in kept}
    assert not [n for n in names if ".." in n] and "results/out.json" in names, names
    assert p.client.call("GET", outputs + "/results/out.json").body == b'{"ok": true}\n'

    p.start(id)
    p.healthy(id)
    second = next(r for r in p.runs() if r is not first)
    assert second.kernel is first.kernel and second.version.number == 2, "a new version of the same slug"
    assert second.queued_at > first.ended_at

    p.delete(id)
    p.deleted(id)
    until(lambda: not p.kernels())
    p.nothing_left()
    assert p.account_row()["status"] == "ok"


def test_a_token_is_as_good_as_a_key(person, kaggle):
    p = person()
    p.account.tokens.append("KGAT_" + p.key)
    p.account.key = None
    id = p.add("cpu", credentials={"token": "KGAT_" + p.key})
    p.healthy(id)
    assert p.account_row()["identity"] == p.name
    assert re.fullmatch(r"gpupool-[0-9a-f]{8}", p.one_run().kernel.slug), "no title: a name was made"


def test_delete_of_what_runs_saves_its_outputs(person):
    p = person()
    id = p.add("cpu", "in full run")
    p.healthy(id)
    p.delete(id)
    p.deleted(id)
    until(lambda: not p.kernels())
    p.nothing_left()


def test_an_agent_that_hears_nothing_is_cancelled(person, kaggle_stack):
    """The order cannot arrive: the run is ended at Kaggle by its session's id, which only a redirection tells."""
    p = person(stuck=True)
    id = p.add("cpu", "never begun")
    until(lambda: p.runs())
    n = until(lambda: (n := p.notebook(id))["reason"] and n)
    assert n["state"] == "starting"
    p.stop(id)
    p.becomes(id, "stopped", 90)
    run = p.runs()[0]
    assert run.state == "CANCEL_ACKNOWLEDGED" and not run.log[:-2]


# ---- persons with different fates, who begin together -------------------------------------

NO_WAY_OUT = {"GPUPOOL_REACH_SECONDS": "3"}
FATES = {  # name: switches of the account, then what is asked for
    "no gpu": ({"grant": "none"}, {"accelerator": "gpu"}),
    "another model": ({"grant": "NvidiaL4X1"}, {"accelerator": "T4"}),
    "half of it": ({"grant": "one T4"}, {"accelerator": "gpu"}),
    "a smaller one": ({"grant": "half T4"}, {"accelerator": "T4"}),
    "a shape of its own": ({}, {"accelerator": "NvidiaRtxPro6000"}),
    "no internet": ({"internet": False, "environment": NO_WAY_OUT}, {}),
    "no phone": ({"phone": "silent", "environment": NO_WAY_OUT}, {}),
    "phone refused": ({"phone": "refused"}, {"accelerator": "gpu"}),
    "hours used": ({"before": "all"}, {"accelerator": "gpu"}),
    "wrong key": ({}, {"credentials": "0" * 32}),
    "key of another": ({}, {"credentials": "no phone"}),
    "name taken": ({}, {}),
    "input missing": ({}, {"inputs": {"datasets": ["alice/real", "alice/missing"]}}),
    "input there": ({}, {"inputs": {"datasets": ["alice/real"]}}),
    "soon revoked": ({}, {}),
}


@pytest.fixture(scope="module")
def fates(kaggle, kaggle_stack):
    kaggle.world.sources["datasets"].add("alice/real")
    people = {}
    for name, (switches, asked) in FATES.items():
        p = people[name] = Person(kaggle_stack, kaggle, **{k: v for k, v in switches.items() if k != "before"})
        if "before" in switches:
            kaggle.world.use(p.name, "gpu", 108000)
        if name == "name taken":
            p.theirs = kaggle.foreign(p.name, "gpupool name taken", text="print('my own')\n")
        key = asked.get("credentials")
        fields = {**asked, "credentials": {"username": p.name, "key": people[key].key if key in people else key or p.key}}
        p.id = p.add(title=name, **fields)
    yield people
    for p in people.values():
        p.delete(p.id)
    kaggle.blameless()


@pytest.fixture
def fate(fates, request):
    """The person whose fate's name the test bears."""
    return fates[request.node.originalname.removeprefix("test_").replace("_", " ")]


def ends_badly(p, seconds=60):
    n = until(lambda: (n := p.notebook(p.id))["state"] in ("failed", "needs_human") and n, seconds)
    until(lambda: not p.runs(live=True))
    return n["reason"]


def test_no_gpu(fate):
    p = fate
    assert ends_badly(p)["code"] == "no_gpu"
    assert len(p.runs()) == 1, "hours are not burnt again"


def test_another_model(fate):
    p = fate
    p.healthy(p.id)
    n = until(lambda: (n := p.notebook(p.id))["reason"] and n)
    assert "L4" in n["reason"]["message"] and n["state"] == "healthy", n


def shown(p):
    p.healthy(p.id)
    return until(lambda: (n := p.notebook(p.id))["reason"] and n)["reason"]


def test_half_of_it(fate):
    reason = shown(fate)
    assert reason["code"] == "got_other" and "2 × gpu" in reason["message"] and "1 × Tesla T4" in reason["message"], reason


def test_a_smaller_one(fate):
    reason = shown(fate)
    assert reason["code"] == "got_other" and "14 GiB" in reason["message"] and "Tesla T4 of 8" in reason["message"], reason


def test_a_shape_of_its_own(fate):
    """What was asked for is what came: there is nothing to say of it."""
    n = fate.healthy(fate.id)
    calls = len(fate.calls())
    until(lambda: len(fate.calls()) > calls + 1)
    assert not fate.notebook(fate.id)["reason"], n


def test_no_internet(fate):
    assert re.search("internet|phone|reach", ends_badly(fate)["message"])


def test_no_phone(fate):
    assert re.search("internet|phone|reach", ends_badly(fate)["message"])


def test_phone_refused(fate):
    reason = ends_badly(fate)
    assert "phone" in reason["message"] and not fate.runs(), reason


def test_hours_used(fate, kaggle):
    p = fate
    n = p.becomes(p.id, "waiting", code="quota")
    week_ends = time.strftime("%Y-%m-%d", time.gmtime(kaggle.world.week_begins() + 7 * 86400))
    assert week_ends in json.dumps(n) and not p.runs(), n
    p.healthy(p.add("cpu", "this week"))


def test_wrong_key(fate):
    """It is told, leaves nothing, and with the right one it goes on by itself."""
    p = fate
    n = p.becomes(p.id, "needs_human", code="credentials")
    row = p.account_row()
    assert n["reason"]["message"] and not p.kernels() and not p.runs() and row["status"] == "needs_human", row
    reply = p.client.call("PATCH", f"/api/gpu/accounts/{row['id']}", {"credentials": p.credentials})
    assert reply.status in (200, 202), reply
    p.healthy(p.id)


def test_key_of_another(fate):
    fate.becomes(fate.id, "needs_human", code="credentials")
    assert not fate.runs()


def test_name_taken(fate, kaggle):
    p = fate
    assert ends_badly(p)["code"] == "name_taken"
    p.delete(p.id)
    p.deleted(p.id)
    assert list(p.kernels().values()) == [p.theirs], "what is not ours is left alone"
    assert [v.text for v in p.theirs.versions] == ["print('my own')\n"]
    p.id = p.add("cpu", "another name")


def test_input_missing(fate):
    p = fate
    message = ends_badly(p)["message"]
    assert "alice/missing" in message and "alice/real" not in message
    p.nothing_left()


def test_input_there(fate):
    fate.healthy(fate.id)
    assert fate.one_run().version.fields["datasetDataSources"] == ["alice/real"]


def test_soon_revoked(fate):
    """What runs goes on; the account says what it needs."""
    p = fate
    p.healthy(p.id)
    key = p.account.key
    p.account.revoke()
    row = p.account_row()
    assert p.client.call("POST", f"/api/gpu/accounts/{row['id']}/check", {}).status == 202
    until(lambda: p.account_row()["status"] == "needs_human")
    assert p.notebook(p.id)["state"] == "healthy" and p.one_run()
    p.account.key = key


# ---- room ---------------------------------------------------------------------------------

def test_no_room_at_kaggle_waits_and_then_starts(person, kaggle):
    p = person(together={"gpu": 2, "cpu": 2, "tpu": 1})
    kaggle.foreign(p.name, "my own work", text="import time\ntime.sleep(600)\n", live=True)
    first = p.add("cpu", "one more")
    p.healthy(first)
    id = p.add("cpu", "after you")
    n = p.becomes(id, "waiting", code="capacity")
    assert n["reason"]["message"] and len(p.runs()) == 2, "Kaggle counts what we do not know of"
    p.stop(first)
    p.healthy(id)


def test_a_cancelled_run_that_holds_its_place_is_let_go(person, kaggle):
    """Kaggle was seen to count such a run until its notebook was deleted; what it left is here by then."""
    p = person(stuck=True, cancelled_holds_slot=True, together={"gpu": 2, "cpu": 1, "tpu": 1})
    id = p.add("cpu", "never let go")
    until(lambda: p.runs())
    until(lambda: p.notebook(id)["url"])
    p.stop(id)
    p.becomes(id, "stopped", 90)
    assert p.runs()[0].state == "CANCEL_ACKNOWLEDGED" and p.kernels()
    p.account.stuck = False
    p.start(id)
    p.healthy(id, 120)
    assert len(p.runs(live=True)) == 1 and len(p.kernels()) == 1 and kaggle.count("DeleteKernel", p.name) == 1


def test_two_gpu_runs_at_most(person):
    p = person()
    ids = [p.add("gpu", f"gpu number {i}") for i in "abc"]
    until(lambda: sorted(p.notebook(i)["state"] for i in ids) == ["healthy", "healthy", "waiting"], 60)
    waiting = next(i for i in ids if p.notebook(i)["state"] == "waiting")
    assert p.notebook(waiting)["reason"]["code"] == "capacity"
    assert not any("Maximum" in str(status) for _, status in p.calls()), "our own ledger knew that before Kaggle"
    p.delete(next(i for i in ids if i != waiting))
    p.healthy(waiting)


# ---- what no row knows -----------------------------------------------------------------------

def test_a_stray_run_of_ours_is_removed_and_no_other(person, kaggle):
    """Somebody restored an old database, say: the mark tells whose a kernel is."""
    other = person()
    other.healthy(other.add("cpu", "with a mark"))
    ours = other.one_run().version.text.split("\n")[1].rsplit(" ", 1)[1]
    p = person()

    def marked(title, installation):
        text = f"# gpupool intent {uuid.uuid4()}\n# gpupool worker 999999 of {installation}\nimport time\ntime.sleep(600)\n"
        return kaggle.foreign(p.name, title, text=text, live=True).versions[0].run
    stray, theirs = marked("gpupool stray one", ours), marked("gpupool of another", uuid.uuid4())
    p.healthy(p.add("cpu", "unlike those"))
    until(lambda: "gpupool-stray-one" not in p.kernels())
    assert not stray.live and theirs.live and "gpupool-of-another" in p.kernels()
    with kaggle.world.lock:
        kaggle.world.delete(theirs.kernel)


# ---- accounts that go ---------------------------------------------------------------------------

def test_an_account_goes_after_its_notebooks(person):
    p = person()
    running, waiting = p.add("cpu", "the one"), p.add("cpu", "the other", autoStart=False)
    p.healthy(running)
    row = p.account_row()
    reply = p.client.call("DELETE", f"/api/gpu/accounts/{row['id']}")
    assert reply.status == 202 and reply.json["status"] == "deleting", reply
    assert p.ask("cpu", "too late").status == 409
    until(lambda: not p.accounts(), 90)
    p.nothing_left()
    assert p.client.call("GET", f"/api/gpu/workers/notebooks/{waiting}").status == 404
    p.healthy(p.add("cpu", "once more"))


def test_a_revoked_key_keeps_an_account_until_a_new_one_comes(person):
    """What runs can only be ended with a good key: the person is asked for it, and the delete goes on by itself."""
    p = person()
    id = p.add("cpu", "locked in")
    p.healthy(id)
    row, kernel = p.account_row(), p.one_run().kernel
    p.account.revoke()
    assert p.client.call("DELETE", f"/api/gpu/accounts/{row['id']}").status == 202
    row = until(lambda: (a := p.account_row())["reasonCode"] == "credentials" and a)
    assert row["status"] == "deleting" and "credentials" in row["reason"], row
    assert list(p.kernels().values()) == [kernel]
    p.account.key = p.key = p.key[::-1]
    assert p.client.call("PATCH", f"/api/gpu/accounts/{row['id']}", {"credentials": p.credentials}).status == 200
    until(lambda: not p.accounts(), 90)
    p.nothing_left()


def test_an_account_whose_key_is_gone_for_good_is_given_up(person):
    p = person(stuck=True)
    p.add("cpu", "left there")
    until(lambda: p.runs())
    p.account.revoke()
    row = p.account_row()
    assert p.client.call("DELETE", f"/api/gpu/accounts/{row['id']}?abandon=true").status == 202
    until(lambda: not p.accounts(), 90)
    assert p.kernels(), "nobody could delete it"
    with p.kaggle.world.lock:
        p.kaggle.world.delete(p.runs()[0].kernel)


# ---- bad input ----------------------------------------------------------------------------

def test_an_account_that_another_person_added(person):
    p, other = person(), person()
    id = p.add("cpu", "mine first")
    until(lambda: p.account_row()["status"] == "ok")
    reply = other.ask("cpu", "not yours", credentials=p.credentials)
    n = other.becomes(reply.json["id"], "needs_human")
    assert "already" in n["reason"]["message"], n
    p.healthy(id)
    assert len(p.runs()) == 1 and not other.runs()


@pytest.fixture(scope="module")
def nobody(kaggle, kaggle_stack):
    """Whose requests are all refused."""
    return Person(kaggle_stack, kaggle)


@pytest.mark.parametrize("change, field", [
    ({"accelerator": "GTX"}, "accelerator"),
    ({"accelerator": "NvidiaTeslaP100"}, "accelerator"),
    ({"title": "\U0001f600\U0001f600"}, "title"),
    ({"title": "----"}, "title"),
    ({"credentials": {"username": "x"}}, "credentials"),
    ({"credentials": {"username": "", "key": ""}}, "credentials"),
    ({"credentials": {"username": "a", "key": 5}}, "credentials"),
    ({"credentials": {"token": "KGAT_x", "colour": 1}}, "credentials"),
    ({"credentials": "alice:key"}, "credentials"),
    ({"inputs": {"datasets": ["not a name"]}}, "inputs"),
    ({"inputs": {"films": ["a/b"]}}, "inputs"),
])
def test_a_field_is_named(nobody, kaggle, change, field):
    p = nobody
    reply = p.ask(**{"accelerator": "cpu", "title": "fine", **change})
    assert any(f.startswith(field) for f in fields(problem(reply, 400))), reply
    assert p.key not in reply.body.decode() and not p.accounts() and kaggle.count(owner=p.name) == 0


def test_a_title_taken_by_another_notebook(person):
    p = person()
    p.add("cpu", "One Name", autoStart=False)
    reply = p.ask("cpu", "one   name!")
    assert reply.status in (400, 409) and "title" in reply.body.decode(), reply
