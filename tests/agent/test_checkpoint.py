"""The end of a session: jobs are told, and a training goes on in the next with what it left."""
import io
import os
import tarfile
import time

import pytest

from conftest import until

# Leaves its marks in a directory of the test, counts steps, and keeps what it has when it is told.
TRAINING = """
import json, os, signal, sys, time
shared, checkpoint = %r, os.environ["GPUPOOL_CHECKPOINT"]
told = []
signal.signal(signal.SIGURG, lambda *_: told.append(1))
at = os.path.join(checkpoint, "deep er", "step")
step = int(open(at).read()) if os.path.exists(at) else 0
open(shared + "/started", "w").write(str(step))
while not os.path.exists(os.environ["GPUPOOL_NOTICE"]) or not told:
    step += 1
    time.sleep(0.02)
notice = json.load(open(os.environ["GPUPOOL_NOTICE"]))
os.makedirs(os.path.dirname(at), exist_ok=True)
open(at, "w").write("4711")
os.symlink("/etc/passwd", os.path.join(checkpoint, "link"))
open(shared + "/told", "w").write(json.dumps(notice))
%s
"""


def training(pool, shared, end, **options):
    job = pool.submit(TRAINING % (shared, end), type="training", **options)
    until(lambda: os.path.exists(shared + "/started"))
    return job


def drain(pool, seconds):
    pool.deadline_at = time.monotonic() + seconds
    pool.order(order="drain", reason="deadline")


def unpacked(data):
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar}


def packed(**files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, value in files.items():
            info = tarfile.TarInfo(name)
            if value is None:
                info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info)
            else:
                info.size = len(value)
                tar.addfile(info, io.BytesIO(value))
    return out.getvalue()


@pytest.mark.parametrize("end", ["sys.exit(75)", "time.sleep(3600)"], ids=["gives itself back", "goes on until it is stopped"])
def test_training_is_told_and_its_checkpoint_kept(pool, start, shared, end):
    agent = start()
    job = training(pool, shared, end)
    drain(pool, 20)
    until(lambda: os.path.exists(shared + "/told"))
    assert open(shared + "/told").read().startswith('{"reason": "deadline", "seconds": ')
    item = pool.finish(job, 30)
    assert item["state"] == "released" and "error" not in item
    assert job.events.index("artifact") < job.events.index("result")
    assert unpacked(job.kept["checkpoint.tar"]) == {"deep er/step": b"4711"}      # no links
    assert agent.wait(30) == 0 and pool.goodbye["reason"] in ("drained", "deadline")


def test_checkpoint_is_given_back(pool, start, shared):
    start()
    with pool.changed:
        job = pool.submit("import os\nc = os.environ['GPUPOOL_CHECKPOINT']\nprint(open(c + '/deep/step').read(), sorted(os.listdir(c)))",
                          type="training")
        job.checkpoint = packed(**{"deep/step": b"4711", "model": b"x" * 3000000})
    assert pool.finish(job)["state"] == "succeeded"
    assert "4711 ['deep', 'model']" in job.text and "given back" in job.text
    assert "checkpoint.tar" not in job.kept         # it is done: nothing is left to go on from


@pytest.mark.parametrize("data", [packed(**{"../../out": b"x"}), packed(link=None), packed(**{"/tmp/x": b"x"}), b"no tar at all" * 99,
                                  packed(**{"a": b"x"})[:600]], ids=["way out", "link", "absolute", "no tar", "cut"])
def test_checkpoint_that_is_none_is_left_alone(pool, start, shared, data):
    start()
    with pool.changed:
        job = pool.submit("import os\nprint('has', os.listdir(os.environ['GPUPOOL_CHECKPOINT']))", type="training")
        job.checkpoint = data
    assert pool.finish(job)["state"] == "succeeded"
    assert "has []" in job.text and "cannot be read" in job.text


def test_outage_while_the_checkpoint_is_fetched(pool, start, shared):
    start()
    with pool.changed:
        pool.fail["checkpoint"] = [503, 503]
        job = pool.submit("import os\nprint('has', os.listdir(os.environ['GPUPOOL_CHECKPOINT']))", type="training")
        job.checkpoint = packed(step=b"1")
    assert pool.finish(job)["state"] == "succeeded" and "has ['step']" in job.text


@pytest.mark.parametrize("how", ["stop", "drain that is for no deadline"])
def test_checkpoint_is_kept_however_the_session_ends(pool, start, shared, how):
    agent = start()
    job = pool.submit("import os, time\nopen(os.environ['GPUPOOL_CHECKPOINT'] + '/step', 'w').write('9')\nopen(%r, 'w')\n"
                      "time.sleep(3600)" % (shared + "/started"), type="training")
    until(lambda: os.path.exists(shared + "/started"))
    if how == "stop":
        pool.order(order="stop")
    else:
        pool.order(order="drain")
        pool.wait(lambda: not pool.orders)
        agent.terminate()
    assert agent.wait(20) == 0
    assert job.item["state"] == "released" and unpacked(job.kept["checkpoint.tar"]) == {"step": b"9"}


def test_failed_training_keeps_it_for_a_retry(pool, start):
    start()
    job = pool.submit("import os\nopen(os.environ['GPUPOOL_CHECKPOINT'] + '/step', 'w').write('9')\nraise RuntimeError('x')", type="training")
    assert pool.finish(job)["state"] == "failed" and unpacked(job.kept["checkpoint.tar"]) == {"step": b"9"}


def test_script_is_told_and_has_no_checkpoint(pool, start, shared):
    """What does not listen is not disturbed; an exit code is an exit code; and a script that goes on may end in time."""
    start()
    job = pool.submit("import os, time, sys\nopen(%r, 'w')\nwhile not os.path.exists(os.environ['GPUPOOL_NOTICE']): time.sleep(0.02)\n"
                      "print('GPUPOOL_CHECKPOINT' in os.environ)\nsys.exit(75)" % (shared + "/started"))
    until(lambda: os.path.exists(shared + "/started"))
    drain(pool, 30)
    assert pool.finish(job)["state"] == "failed" and "False" in job.text
