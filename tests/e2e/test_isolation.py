"""A hostile job on this machine: what it tries to read, it must not get."""
import json
import os
import stat
import subprocess

from stack import until

PRY = r'''
import glob, json, os, socket
got, tried = [], []
def read(path):
    tried.append(path)
    try:
        with open(path, "rb") as f:
            if f.read(64):
                got.append(path)
    except OSError:
        pass
state = os.environ["VICTIM"]
for path in ("admin-token", "passwords", "keys", "keys/1.key", "keys/2.key", "secret-keys/1.key", "secret-keys/2.key", "pg/PG_VERSION", "pgdata/PG_VERSION", "data/PG_VERSION"):
    read(os.path.join(state, path))
for root, dirs, files in os.walk(state):
    if os.environ["GPUPOOL_OUT"].startswith(root) or root.startswith(os.path.dirname(os.environ["GPUPOOL_OUT"])):
        continue
    for name in files:
        if any(w in name for w in ("token", "password", "key", "conf", "PG_VERSION", "pgpass")):
            read(os.path.join(root, name))
me = os.getuid()
for p in glob.glob("/proc/[0-9]*"):
    try:
        if os.stat(p).st_uid == me:
            continue
    except OSError:
        continue
    read(p + "/environ")
for sock in os.environ["SOCKETS"].split(":"):
    tried.append(sock)
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(sock)
        got.append(sock)
    except OSError:
        pass
secrets = [k for k, v in os.environ.items() if "TOKEN" in k or "PASSWORD" in k or v.startswith("gp")]
try:
    os.setuid(0)
    got.append("uid 0")
except OSError:
    pass
open(os.environ["GPUPOOL_RESULT"], "w").write(json.dumps({"got": got, "tried": len(tried), "env": secrets, "uid": me,
    "agent": open("/proc/%d/environ" % os.getppid(), "rb").read().decode("latin-1") if os.access("/proc/%d/environ" % os.getppid(), os.R_OK) else ""}))
'''


def test_job_reads_no_secret(stack, admin, worker):
    state = str(stack.dir / "state")
    sockets = [os.path.join(d, f) for d, _, files in os.walk(stack.run_dir()) for f in files if stat.S_ISSOCK(os.lstat(os.path.join(d, f)).st_mode)]
    assert len(sockets) >= 3, sockets
    id = admin.submit(PRY, env={"VICTIM": state, "SOCKETS": ":".join(sockets)})
    j = admin.ends(id)
    assert j["state"] == "succeeded", admin.log(id)
    r = j["result"]
    assert r["got"] == [], r["got"]
    assert r["env"] == [], r["env"]
    assert r["tried"] > 3, "the test looked at nothing"
    assert "gps_" not in r["agent"] and "gpe_" not in r["agent"]
    assert r["uid"] != 0


def test_services_run_under_other_users_than_jobs(stack, admin, worker):
    id = admin.submit("import os; open(os.environ['GPUPOOL_RESULT'],'w').write(str(os.getuid()))")
    uid = admin.ends(id)["result"]
    services = {os.stat(f"/proc/{p}").st_uid for w in ("gpupool-web", "gpupool-provisioner", "postgres", "nginx") for p in stack.pids(w)}
    if os.getuid() == 0:
        assert uid not in services, (uid, services)


def test_private_keys_are_their_program_s_alone(stack):
    state = stack.dir / "state"
    files = {d: list((state / d).glob("*.key")) for d in ("keys", "secret-keys")}
    assert all(len(found) == 1 for found in files.values()), files
    owners = {f.stat().st_uid for found in files.values() for f in found}
    for found in files.values():
        assert stat.S_IMODE(found[0].stat().st_mode) == 0o600 and stat.S_IMODE(found[0].parent.stat().st_mode) == 0o700
        private = found[0].read_text().strip()
        assert len(private) == 64
        assert private not in stack.text()
        for pid in stack.pids():
            try:
                assert private.encode() not in open(f"/proc/{pid}/cmdline", "rb").read() + open(f"/proc/{pid}/environ", "rb").read()
            except OSError:
                pass
    if os.getuid() == 0:
        assert len(owners) == 2 and 0 not in owners
        users = {os.stat(f"/proc/{p}").st_uid for w in ("gpupool-web", "gpupool-provisioner", "postgres", "nginx") for p in stack.pids(w)} - {0}
        assert owners < users
        for found in files.values():
            for uid in users - {found[0].stat().st_uid}:
                done = subprocess.run(["setpriv", "--reuid", str(uid), "--regid", str(uid), "--clear-groups", "cat", str(found[0])],
                                      stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
                assert done.returncode and not done.stdout


def test_no_secret_in_process_list_logs_or_database(stack, admin, worker):
    token = admin.token
    for pid in stack.pids():
        try:
            line = open(f"/proc/{pid}/cmdline", "rb").read()
        except OSError:
            continue
        assert token.encode() not in line and b"gps_" not in line and b"gpe_" not in line and b"password=" not in line
    assert token not in stack.text() and "gps_" not in stack.text() and "gpe_" not in stack.text()
    for root, dirs, files in os.walk(stack.dir / "state"):
        for name in files:
            path = os.path.join(root, name)
            if name == "admin-token":
                assert os.stat(path).st_mode & 0o077 == 0
                continue
            try:
                data = open(path, "rb").read()
            except OSError:
                continue
            assert token.encode() not in data, path
