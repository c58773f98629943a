"""Sealing keys are rotated under a running installation: nobody notices, and a rotation that is killed is gone on with."""
import json
import os
import random
import signal
import subprocess
import threading

from stack import until

HOLDERS = {"credentials": ("provisioner", "keys"), "secrets": ("secrets", "secret-keys")}


class Keys:
    """`gpupool keys` as the operator runs it: as the program's user, with that program's password."""

    def __init__(self, stack, purpose="credentials"):
        self.role, directory = HOLDERS[purpose]
        self.purpose, self.run = purpose, stack.run_dir()
        self.dir = stack.dir / "state" / directory

    def command(self, *words):
        uid = self.dir.stat().st_uid
        as_user = ["setpriv", "--reuid", str(uid), "--regid", str(uid), "--groups", "60610"] if os.getuid() == 0 else []
        env = {"PATH": "/usr/bin:/bin", "GPUPOOL_KEYS": str(self.dir), **{k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")},
               "GPUPOOL_DATABASE": f"host='{self.run}/pg' dbname=gpupool user=gpupool_{self.role} passfile='{self.run}/pass/{self.role}'"}
        return {"args": [*as_user, self.run + "/bin/gpupool", "keys", *words, "--purpose=" + self.purpose], "env": env, "cwd": "/"}

    def __call__(self, *words, timeout=90):
        done = subprocess.run(**self.command(*words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=timeout)
        assert done.returncode == 0, (done.stdout, done.stderr)
        return done.stdout.decode()

    def list(self):
        return json.loads(self("list", "--json"))["keys"]

    def settled(self, boxes):
        """All is sealed to one key, which is here."""
        active = [k for k in self.list() if k["state"] == "active"]
        assert len(active) == 1 and active[0]["here"] and active[0]["used"] >= boxes, self.list()
        assert all(k["state"] == "retired" and k["used"] == 0 for k in self.list() if k is not active[0] and k["id"] != active[0]["id"])
        return active[0]["id"]


def test_rotated_while_people_come_and_workers_run(person, kaggle_stack, kaggle):
    first, keys = person(), Keys(kaggle_stack)
    id = first.add("cpu", "through a rotation")
    first.healthy(id)
    before = keys.settled(1)

    others, stop = [person() for _ in range(3)], threading.Event()
    failed = []

    def replace(p):
        p.client.post("/api/gpu/accounts", {"provider": "kaggle", "credentials": p.credentials})
        account = p.account_row()["id"]
        while not stop.is_set():
            reply = p.client.call("PATCH", f"/api/gpu/accounts/{account}", {"credentials": p.credentials})
            if reply.status != 200:
                failed.append(reply)

    threads = [threading.Thread(target=replace, args=(p,)) for p in others]
    for t in threads:
        t.start()
    try:
        said = keys("rotate")
    finally:
        stop.set()
        for t in threads:
            t.join()
    assert "waiting until" in said and "retired" in said, said
    assert not failed, failed[:3]
    assert keys.settled(4) != before
    # What was sealed before, meanwhile and after all opens.
    for p in [first, *others]:
        p.client.post(f"/api/gpu/accounts/{p.account_row()['id']}/check")
        until(lambda: p.account_row()["status"] == "ok")
    assert first.notebook(id)["state"] == "healthy"
    first.stop(id)
    first.becomes(id, "stopped")
    first.start(id)
    first.healthy(id)
    second = others[0].add("cpu", "sealed meanwhile")
    others[0].healthy(second)


def test_killed_and_gone_on_with(person, kaggle_stack):
    p, keys = person(), Keys(kaggle_stack)
    p.client.post("/api/gpu/accounts", {"provider": "kaggle", "credentials": p.credentials})
    chance = random.Random(7)
    for _ in range(2):
        rotation = subprocess.Popen(**keys.command("rotate"), stdout=subprocess.PIPE, start_new_session=True)
        lines = 0
        for line in rotation.stdout:
            lines += 1
            if lines == chance.randint(1, 3):
                break
        os.killpg(rotation.pid, signal.SIGKILL)
        rotation.wait()
        rotation.stdout.close()
        p.client.post(f"/api/gpu/accounts/{p.account_row()['id']}/check")
        until(lambda: p.account_row()["status"] == "ok")
    until(lambda: subprocess.run(**keys.command("rotate"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0, 60)
    keys.settled(1)
    assert not [k for k in keys.list() if k["state"] == "new"]
    p.client.call("PATCH", f"/api/gpu/accounts/{p.account_row()['id']}", {"credentials": p.credentials})
    until(lambda: p.account_row()["status"] == "ok")


def test_secrets_of_people_are_rotated_alike(person, kaggle_stack):
    p, keys = person(), Keys(kaggle_stack, "secrets")
    p.client.post("/api/gpu/secrets", {"name": "ROTATED", "value": "the value stays"})
    before = keys.settled(1)
    keys("rotate")
    assert keys.settled(1) != before
    code = "import os; open(os.environ['GPUPOOL_RESULT'], 'w').write('\"' + os.environ['ROTATED'][::-1] + '\"')"
    job = p.client.submit(code, secrets=["ROTATED"], accelerator="cpu")
    over = p.client.ends(job)
    assert over["state"] == "succeeded" and over["result"] == "the value stays"[::-1], over
