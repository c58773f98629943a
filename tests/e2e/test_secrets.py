"""Secrets through the whole stack: the job that names one has it, and nothing else ever does."""
import base64
import hashlib
import json
import os
import subprocess
import uuid
from pathlib import Path

import pytest

from stack import BUILD, descendants, until

SECRETS = "/api/gpu/secrets"

# Tells a hash: the value itself must be in no result either.
TELL = """
import hashlib, json, os
open(os.environ["GPUPOOL_RESULT"], "w").write(json.dumps(
    {k: hashlib.sha256(v.encode()).hexdigest() for k, v in os.environ.items() if k.startswith("SECRET_")}))
"""
WAIT = TELL + """
import time
print("up", flush=True)
while True: time.sleep(0.05)
"""

# From inside a job: every way to the secrets of others that this machine has.
PRY = r'''
import json, os, socket
got = []
for root in os.environ["PLACES"].split(":"):
    for folder, _, names in os.walk(root):
        for name in names:
            try:
                if open(os.path.join(folder, name), "rb").read(1):
                    got.append(os.path.join(folder, name))
            except OSError:
                pass
s = socket.socket(socket.AF_UNIX)
try:
    s.connect(os.environ["DOOR"])
    got.append(os.environ["DOOR"])
except OSError:
    pass
for pid in os.environ["PIDS"].split(","):
    for what in ("environ", "mem", "maps", "fd", "cwd"):
        try:
            path = "/proc/%s/%s" % (pid, what)
            os.listdir(path) if what == "fd" else os.readlink(path) if what == "cwd" else open(path, "rb").read(1)
            got.append(path)
        except OSError:
            pass
open(os.environ["GPUPOOL_RESULT"], "w").write(json.dumps(got))
'''


def value(name):
    return "%s-%s-\"é\"\nsecond line" % (name, uuid.uuid4().hex)


def digest(text):
    return hashlib.sha256(text.encode()).hexdigest()


def put(client, name, text):
    reply = client.call("POST", SECRETS, {"name": name, "value": text})
    assert reply.status in (200, 201), reply


def spellings(text):
    """As it is, as JSON has it, in hexadecimal, and in base64 at each of its three places."""
    marks = [text.split("\n")[0].split('"')[0]]
    plain = marks[0].encode()
    return [plain, plain.hex().encode(), *(base64.b64encode(b"x" * n + plain)[4:-4] for n in range(3))]


def files_with(text, *roots):
    found = []
    for root in roots:
        for folder, _, names in os.walk(root):
            for name in names:
                path = os.path.join(folder, name)
                try:
                    data = Path(path).read_bytes() if os.path.isfile(path) and not os.path.islink(path) else b""
                except OSError:
                    continue
                if any(s in data for s in spellings(text)):
                    found.append(path)
    return found


def processes_with(stack, text):
    """Command lines that have a process whose environment or arguments hold it."""
    found = []
    for pid, line in [(stack.process.pid, "dev"), *descendants(stack.process.pid)]:
        for what in ("environ", "cmdline"):
            try:
                data = Path("/proc/%d/%s" % (pid, what)).read_bytes()
            except OSError:
                continue
            if spellings(text)[0] in data:
                found.append((what, line))
    return found


@pytest.fixture(scope="module")
def shared_worker(admin, worker):
    """The installation's own worker takes everybody's jobs."""
    admin.ok("PATCH", "/api/gpu/accounts/" + admin.notebook(worker)["accountId"], {"sharing": "all"})
    yield worker
    admin.ok("PATCH", "/api/gpu/accounts/" + admin.notebook(worker)["accountId"], {"sharing": "none"})


def test_a_job_has_what_it_names_and_the_next_one_nothing(admin, worker):
    text = value("first")
    put(admin, "SECRET_A", text)
    put(admin, "SECRET_B", "another")
    first, second = admin.submit(TELL, secrets=["SECRET_A"]), admin.submit(TELL)
    assert admin.ends(first)["result"] == {"SECRET_A": digest(text)}
    assert admin.ends(second)["result"] == {}
    seen = {s["name"]: s for s in admin.get(SECRETS)["secrets"]}
    assert seen["SECRET_A"]["lastUsedAt"] and not seen["SECRET_B"]["lastUsedAt"]
    assert admin.job(first)["secrets"] == ["SECRET_A"]
    trail = [a for a in admin.get("/api/gpu/audit?limit=100")["audit"] if a["action"] == "agents.secrets"]
    assert trail[0]["object"] == "job " + first and trail[0]["detail"]["secrets"] == ["SECRET_A"]
    assert trail[0]["detail"]["workerId"] == worker and "first-" not in json.dumps(trail)


def test_a_new_value_counts_from_the_next_attempt(admin, worker):
    put(admin, "SECRET_C", "old")
    id = admin.submit(TELL, secrets=["SECRET_C"])
    assert admin.ends(id)["result"]["SECRET_C"] == digest("old")
    put(admin, "SECRET_C", "new")
    id = admin.submit(TELL, secrets=["SECRET_C"])
    assert admin.ends(id)["result"]["SECRET_C"] == digest("new")


def test_one_that_was_removed_fails_the_job_by_name(admin, worker):
    put(admin, "SECRET_D", "x")
    hold = admin.submit("import time\ntime.sleep(600)")
    admin.runs(hold)
    id = admin.submit(TELL, secrets=["SECRET_D"])
    assert admin.call("DELETE", SECRETS + "/SECRET_D").status == 204
    admin.post(f"/api/gpu/jobs/{hold}/cancel")
    job = admin.ends(id)
    assert job["state"] == "failed" and job["error"]["type"] == "secret_missing" and "SECRET_D" in job["error"]["message"]


def test_same_name_of_two_people(stack, admin, shared_worker):
    mine, theirs, other = value("mine"), value("theirs"), stack.user()
    put(admin, "SECRET_E", mine)
    refused = other.call("POST", "/api/gpu/jobs", {"type": "script", "payload": {"code": TELL}, "secrets": ["SECRET_E"]})
    assert refused.status == 400 and refused.json["errors"][0]["field"] == "secrets.0"
    put(other, "SECRET_E", theirs)
    a, b = admin.submit(TELL, secrets=["SECRET_E"]), other.submit(TELL, secrets=["SECRET_E"])
    assert admin.ends(a)["result"] == {"SECRET_E": digest(mine)}
    assert other.ends(b)["result"] == {"SECRET_E": digest(theirs)}
    # An administrator sees the other's job, and repeats it: with the owner's value.
    assert admin.job(b)["secrets"] == ["SECRET_E"]
    admin.post(f"/api/gpu/jobs/{b}/retry")
    assert admin.ends(b)["result"] == {"SECRET_E": digest(theirs)}


def test_nobody_but_the_session_is_answered(stack, admin, worker):
    put(admin, "SECRET_F", value("f"))
    id = admin.submit(WAIT, secrets=["SECRET_F"])
    until(lambda: "up" in admin.log(id))
    path = f"/api/gpu/workers/{worker}/secrets"
    for client in (admin, stack.user(), stack.user("admin")):
        reply = client.call("POST", path, {"lease": str(uuid.uuid4())})
        assert reply.status == 401 and reply.json["code"] == "unauthorized", reply
    assert admin.call("GET", path).status == 405
    admin.post(f"/api/gpu/jobs/{id}/cancel")


def test_hostile_job_finds_no_way(stack, admin, worker):
    pids = stack.pids("--role=secrets")
    assert len(pids) == 3
    run, state = stack.run_dir(), str(stack.dir / "state")
    id = admin.submit(PRY, env={"PLACES": ":".join([state + "/secret-keys", state + "/secrets", run + "/secrets", run + "/pass"]),
                                "DOOR": run + "/secrets/socket", "PIDS": ",".join(map(str, pids))})
    job = admin.ends(id)
    assert job["state"] == "succeeded" and job["result"] == [], (job, admin.log(id))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has users to give, and may look")
def test_the_role_is_somebody_of_its_own_and_closed(stack):
    pids = stack.pids("--role=secrets")
    users = {line.split("Uid:")[1].split()[0] for pid in pids for line in [Path(f"/proc/{pid}/status").read_text()]}
    others = {os.stat(f"/proc/{pid}").st_uid for word in ("--role=api", "--role=events", "--providers=manual", "postgres") for pid in stack.pids(word)}
    assert len(users) == 1 and int(next(iter(users))) not in others | {0}
    # Files of a process that may not be dumped are root's: another process of the same user cannot read them.
    children = [pid for pid in pids if os.stat(f"/proc/{pid}/mem").st_uid == 0]
    assert len(children) == 2
    key = next((stack.dir / "state" / "secret-keys").glob("*.key"))
    assert key.stat().st_mode & 0o077 == 0 and str(key.stat().st_uid) in users


def test_role_that_dies_delays_and_loses_nothing(stack, admin, worker):
    text = value("killed")
    put(admin, "SECRET_G", text)
    for pid in stack.pids("--role=secrets"):
        os.kill(pid, 9)
    id = admin.submit(TELL, secrets=["SECRET_G"])
    job = admin.ends(id)
    assert job["state"] == "succeeded" and job["result"] == {"SECRET_G": digest(text)} and job["attempt"] == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes the role's user")
def test_keys_rotate_under_jobs(stack, admin, worker):
    text = value("rotated")
    put(admin, "SECRET_H", text)
    run, state = stack.run_dir(), stack.dir / "state"
    uid = str((state / "secret-keys").stat().st_uid)
    env = {"PATH": "/usr/bin:/bin", "GPUPOOL_KEYS": str(state / "secret-keys"), "GPUPOOL_STATE": run + "/secrets",
           "GPUPOOL_DATABASE": f"host={run}/pg dbname=gpupool user=gpupool_secrets passfile={run}/pass/secrets",
           "ASAN_OPTIONS": "detect_leaks=0"}
    keys = len(list((state / "secret-keys").glob("*.key")))
    turn = subprocess.Popen(["setpriv", "--reuid", uid, "--regid", uid, "--groups", "60610", run + "/bin/gpupool", "keys", "rotate",
                             "--purpose=secrets"], env=env, cwd="/", stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    while turn.poll() is None:
        assert admin.ends(admin.submit(TELL, secrets=["SECRET_H"]))["result"] == {"SECRET_H": digest(text)}
    assert turn.returncode == 0, turn.stdout.read()
    assert len(list((state / "secret-keys").glob("*.key"))) == keys + 1
    assert admin.ends(admin.submit(TELL, secrets=["SECRET_H"]))["result"] == {"SECRET_H": digest(text)}


def test_value_is_nowhere_but_in_the_job(own_stack, tmp_path):
    """While the job runs: in its environment, in no other process's and no argument.  Afterwards: in no file of the
    installation, its database and its logs included."""
    stack = own_stack(GPUPOOL_LOG_LEVEL="debug")
    admin, text = stack.admin, value("nowhere")
    for i, spelt in enumerate(spellings(text)):
        (tmp_path / str(i)).write_bytes(b"--" + spelt + b"--")
    assert len(files_with(text, tmp_path)) == 5, "the search finds nothing"
    admin.healthy(admin.get("/api/gpu/workers/notebooks")["notebooks"][0]["id"])
    put(admin, "SECRET_X", "before")
    put(admin, "SECRET_X", text)
    assert admin.call("POST", SECRETS, {"name": "no name", "value": text}).status == 400
    assert admin.call("POST", SECRETS, {"name": "SECRET_X", "value": text, "more": text}).status == 400
    id = admin.submit(WAIT, secrets=["SECRET_X"], requirements=[])
    until(lambda: "up" in admin.log(id))
    held = processes_with(stack, text)
    assert held and all(what == "environ" and "main.py" in line for what, line in held), held
    jobs_own = [p for p in files_with(text, stack.dir)]
    assert jobs_own == [], jobs_own
    assert "nowhere-" not in json.dumps(admin.job(id)) + admin.log(id)
    for path in ("/api/gpu/audit?limit=500", "/api/gpu/decisions?limit=500", SECRETS, f"/api/gpu/jobs/{id}/attempts"):
        assert "nowhere-" not in admin.call("GET", path).body.decode()
    admin.post(f"/api/gpu/jobs/{id}/cancel")
    assert stack.stop() == 0
    assert files_with(text, stack.dir) == []
    assert (stack.dir / "state" / "postgres" / "PG_VERSION").exists()


def test_command_line(stack, admin, worker, tmp_path):
    text = value("by hand")
    env = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "GPUPOOL_PUBLIC_URL": f"http://127.0.0.1:{admin.port}", "GPUPOOL_TOKEN": admin.token}

    def gpupool(*words, stdin=""):
        done = subprocess.run([BUILD / "gpupool", *words], input=stdin, env=env, capture_output=True, text=True, timeout=60, cwd=tmp_path)
        assert done.returncode == 0, done
        return done.stdout
    gpupool("secrets", "set", "SECRET_Z", stdin=text + "\n")
    assert "SECRET_Z" in gpupool("secrets", "list")
    (tmp_path / "tell.py").write_text(TELL)
    assert digest(text) in gpupool("jobs", "submit", "tell.py", "--secret", "SECRET_Z", "--wait")
    gpupool("secrets", "remove", "SECRET_Z")
    assert "SECRET_Z" not in gpupool("secrets", "list")
    assert "agents reach the secrets role" in gpupool("doctor")
