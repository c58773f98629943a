"""The stand-in's jobs and bucket: what they refuse, and that a notebook really runs."""
import base64
import copy
import json
import os

import pytest

from caller import call, token_of, until

BASE = "/vertex/v1/projects/demo-project/locations/europe-west4"


def notebook(*cells):
    return {"nbformat": 4, "nbformat_minor": 0, "metadata": {},
            "cells": [{"cell_type": "code", "metadata": {}, "execution_count": None, "outputs": [], "source": [c]} for c in cells]}


def body(email, *cells, **more):
    content = base64.b64encode(json.dumps(notebook(*cells)).encode()).decode()
    return {"displayName": "x", "directNotebookSource": {"content": content}, "gcsOutputUri": "gs://demo-bucket/out/1", "serviceAccount": email,
            "customEnvironmentSpec": {"machineSpec": {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1},
                                      "networkSpec": {"enableInternetAccess": True}}, "labels": {"gpupool_worker": "7"}, **more}


@pytest.fixture
def world(google):
    account = google.oauth.service_account()
    project = google.vertex.project()
    project.members.add(account.email)
    google.gcs.bucket("demo-bucket")
    google.gcs.allow("demo-bucket", account.email)
    google.token = token_of(google, account)
    google.email = account.email
    return google


def create(google, document, id="job-1"):
    return call(google, "POST", BASE + "/notebookExecutionJobs" + ("?notebookExecutionJobId=" + id if id else ""), document, google.token)


def job(google, id="job-1", view=""):
    return call(google, "GET", "%s/notebookExecutionJobs/%s%s" % (BASE, id, view), token=google.token)


def ended(google, id="job-1"):
    return until(lambda: (j := job(google, id)[2]).get("jobState") in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_EXPIRED") and j)


def test_a_notebook_really_runs(world):
    status, _, op = create(world, body(world.email, "import subprocess\nprint('one', flush=True)\n!nvidia-smi -L", "print(1 + 1)"))
    assert status == 200 and op["name"].startswith("projects/demo-project/locations/europe-west4/operations/")
    assert call(world, "GET", "/vertex/v1/" + op["name"], token=world.token)[2]["done"] is True
    seen = []
    until(lambda: (seen.append(job(world)[2]["jobState"]) or seen[-1]) == "JOB_STATE_SUCCEEDED")
    assert seen[0] in ("JOB_STATE_QUEUED", "JOB_STATE_PENDING") and "JOB_STATE_RUNNING" in seen
    items = call(world, "GET", "/gcs/storage/v1/b/demo-bucket/o?prefix=out/1/", token=world.token)[2]["items"]
    assert [i["name"] for i in items] == ["out/1/job-1/content.ipynb"]
    media = call(world, "GET", "/gcs/storage/v1/b/demo-bucket/o/out%2F1%2Fjob-1%2Fcontent.ipynb?alt=media", token=world.token)[2]
    said = ["".join(o["text"]) for c in json.loads(media)["cells"] for o in c["outputs"]]
    assert said == ["one\nGPU 0: Tesla T4 (UUID: GPU-0-4f1c)\n", "2\n"]
    world.blameless()


def test_a_cell_that_raises_ends_the_job(world):
    create(world, body(world.email, "print('before')", "1/0", "print('never')"))
    assert ended(world)["status"]["code"] == 3
    cells = world.vertex.jobs[0].executed["cells"]
    assert cells[1]["outputs"][-1]["ename"] == "ZeroDivisionError" and cells[2]["outputs"] == []


def test_delete_ends_what_runs_and_keeps_what_it_said(world):
    create(world, body(world.email, "print('alive', flush=True)\nimport time\ntime.sleep(1000)"))
    run = until(lambda: world.vertex.jobs[0].run)
    until(lambda: run._read(0, "stdout"))
    assert call(world, "DELETE", BASE + "/notebookExecutionJobs/job-1", token=world.token)[0] == 200
    until(lambda: job(world)[0] == 404)
    assert b"alive" in world.gcs.buckets["demo-bucket"].objects["out/1/job-1/content.ipynb"]
    assert not os.path.exists(run.directory)
    assert call(world, "DELETE", BASE + "/notebookExecutionJobs/job-1", token=world.token)[0] == 404


def test_its_time_is_over(world):
    create(world, body(world.email, "import time\ntime.sleep(1000)", executionTimeout="3600s"))
    until(lambda: world.vertex.jobs[0].run)
    world.clock.advance(3601)
    until(lambda: world.vertex.jobs[0].state == "JOB_STATE_EXPIRED")


def test_the_same_id_is_one_job(world):
    assert create(world, body(world.email, "1"))[0] == 200
    status, _, answer = create(world, body(world.email, "1"))
    assert status == 409 and answer["error"]["status"] == "ALREADY_EXISTS" and len(world.vertex.jobs) == 1


@pytest.mark.parametrize("change, words", [
    ({"gcsNotebookSource": {"uri": "gs://x/y"}}, "Exactly one"), ({"executionUser": "a@b"}, "Exactly one"), ({"gcsOutputUri": None}, "Exactly one"),
    ({"workbenchRuntime": {}}, "Exactly one"), ({"displayName": "x" * 129}, "displayName"), ({"displayName": None}, "Required"), ({"unknown": 1}, "Unknown name"),
    ({"executionTimeout": 3600}, "executionTimeout"), ({"labels": {"UPPER": "x"}}, "labels"), ({"labels": {"a": "x" * 64}}, "labels"),
    ({"directNotebookSource": {"content": "!"}}, "cannot be read"), ({"directNotebookSource": {"content": "e30="}}, "nbformat"),
    ({"serviceAccount": "nobody@x"}, "does not exist"), ({"gcsOutputUri": "s3://x"}, "gcsOutputUri"),
    ({"customEnvironmentSpec": {"machineSpec": {"machineType": "e2-standard-4", "acceleratorType": "NVIDIA_TESLA_T4", "acceleratorCount": 1}}}, "not supported"),
    ({"customEnvironmentSpec": {"machineSpec": {"machineType": "n1-standard-4", "acceleratorType": "T4", "acceleratorCount": 1}}}, "not supported"),
    ({"customEnvironmentSpec": {"machineSpec": {"machineType": "n1-standard-4"}, "networkSpec": {"internet": True}}}, "Unknown name"),
], ids=str)
def test_what_is_no_job(world, change, words):
    document = body(world.email, "1")
    for name, value in change.items():
        document.pop(name, None) if value is None else document.__setitem__(name, value)
    status, _, answer = create(world, document)
    assert status == 400 and words in answer["error"]["message"], answer
    assert not world.vertex.jobs


def test_views_and_pages(world):
    world.vertex.projects["demo-project"].stuck = True
    for i in range(5):
        assert create(world, body(world.email, "1", labels={"a": "x" if i % 2 else "y"}), "job-%d" % i)[0] == 200
    assert "directNotebookSource" not in job(world)[2] and "directNotebookSource" not in job(world, view="?view=NOTEBOOK_EXECUTION_JOB_VIEW_BASIC")[2]
    assert "directNotebookSource" in job(world, view="?view=NOTEBOOK_EXECUTION_JOB_VIEW_FULL")[2]
    names, token = [], ""
    while token is not None:
        answer = call(world, "GET", BASE + "/notebookExecutionJobs?pageSize=2" + ("&pageToken=" + token if token else ""), token=world.token)[2]
        names += [j["name"] for j in answer["notebookExecutionJobs"]]
        token = answer.get("nextPageToken")
    assert len(names) == 5 and names[0].endswith("/job-0")
    some = call(world, "GET", BASE + "/notebookExecutionJobs?filter=labels.a%3D%22y%22", token=world.token)[2]["notebookExecutionJobs"]
    assert len(some) == 3
    assert call(world, "GET", BASE + "/notebookExecutionJobs?filter=nonsense", token=world.token)[0] == 400


def test_refusals_of_a_project(world):
    project = world.vertex.projects["demo-project"]
    get = lambda where=BASE, token=world.token: call(world, "GET", where + "/notebookExecutionJobs", token=token)  # noqa: E731
    assert get()[0] == 200 and get(token="bad")[0] == 401 and get(token=None)[0] == 401
    assert get(BASE.replace("europe-west4", "mars-1"))[0] == 404
    assert get(BASE.replace("demo-project", "other"))[2]["error"]["details"][0]["reason"] == "CONSUMER_INVALID"
    project.lacks.add("aiplatform.notebookExecutionJobs.list")
    assert "aiplatform.notebookExecutionJobs.list" in get()[2]["error"]["message"]
    project.enabled = False
    assert get()[2]["error"]["details"][0]["reason"] == "SERVICE_DISABLED"
    project.enabled, project.gpus["NVIDIA_TESLA_T4"] = True, 0
    status, _, answer = create(world, body(world.email, "1"))
    assert status == 429 and answer["error"]["status"] == "RESOURCE_EXHAUSTED" and answer["error"]["details"][0]["metadata"]["quota_limit_value"] == "0"
    project.gpus["NVIDIA_TESLA_T4"] = 1
    assert create(world, body(world.email, "import time\ntime.sleep(99)"))[0] == 200 and create(world, body(world.email, "1"), "job-2")[0] == 429
    world.clock.advance(3600)
    assert get()[0] == 401, "a token ends"


def test_stockout_and_a_bucket_that_cannot_be_written(world):
    project = world.vertex.projects["demo-project"]
    project.stockout.add("NVIDIA_TESLA_T4")
    create(world, body(world.email, "1"))
    assert ended(world)["status"]["code"] == 8
    project.stockout.clear()
    world.gcs.allow("demo-bucket", world.email, {"storage.objects.get"})
    create(world, body(world.email, "1"), "job-2")
    assert ended(world, "job-2")["status"]["code"] == 7
    status, _, answer = call(world, "GET", "/gcs/storage/v1/b/demo-bucket/iam/testPermissions?permissions=storage.objects.create&permissions=storage.objects.get",
                             token=world.token)
    assert status == 200 and answer["permissions"] == ["storage.objects.get"]
    assert call(world, "GET", "/gcs/storage/v1/b/demo-bucket/o", token=world.token)[0] == 403
    assert call(world, "GET", "/gcs/storage/v1/b/nowhere/o", token=world.token)[0] == 404


def test_a_job_that_shows_late(world):
    world.vertex.projects["demo-project"].create_lag = 0.5
    op = create(world, body(world.email, "1"))[2]
    assert not op.get("done") and job(world)[0] == 404
    until(lambda: call(world, "GET", "/vertex/v1/" + op["name"], token=world.token)[2].get("done"))
    assert job(world)[0] == 200


def test_two_jobs_of_a_worker_at_once_are_a_fault(world):
    create(world, body(world.email, "import time\ntime.sleep(99)"))
    create(world, copy.deepcopy(body(world.email, "1")), "job-2")
    with pytest.raises(AssertionError, match="at once"):
        world.blameless()
