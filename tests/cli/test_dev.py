"""`gpupool dev`: side by side, kept data, kills, users.  The jobs themselves are the whole-stack tests' subject."""
import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from conftest import BIN, ROOT


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def until(what, seconds=60):
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "waited %d s in vain" % seconds
        time.sleep(0.05)
    return found


def started_by(pid):
    """Every process below pid: {pid: (uid, command line)}."""
    children, out = {}, {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text().rsplit(")", 1)[1].split()
                line = Path("/proc", entry, "cmdline").read_bytes().replace(b"\0", b" ").decode()
                children.setdefault(int(stat[1]), []).append((int(entry), os.stat("/proc/" + entry).st_uid, line))
            except OSError:
                pass
    queue = [pid]
    while queue:
        for child, uid, line in children.get(queue.pop(), []):
            out[child] = (uid, line)
            queue.append(child)
    return out


def is_alive(pid):
    """Neither gone nor a zombie."""
    try:
        return Path("/proc/%d/stat" % pid).read_text().rsplit(")", 1)[1].split()[0] not in "ZX"
    except OSError:
        return False


class Dev:
    def __init__(self, directory, port=None, uid=None, **env):
        self.dir, self.port, self.uid = Path(directory), port or free_port(), uid
        self.state = self.dir / "state"
        self.log = self.dir / "output"
        self.env = {"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": str(self.dir), "GPUPOOL_STATE": str(self.state),
                    "GPUPOOL_PORT": str(self.port), "GPUPOOL_DEMO": "0", **env}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                self.env[name] = os.environ[name]

    def begin(self, program=BIN / "gpupool"):
        command = [str(program), "dev"]
        if self.uid is not None:
            command = ["setpriv", "--reuid", str(self.uid), "--regid", str(self.uid), "--clear-groups", *command]
        with open(self.log, "wb") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=self.env,
                                            cwd=self.dir, start_new_session=True)
        return self

    def start(self, **more):
        self.begin(**more)

        def ready():
            assert self.process.poll() is None, self.text()
            return "ready http://127.0.0.1:%d/" % self.port in self.text()
        until(ready)
        return self

    def text(self):
        return self.log.read_text(errors="replace")

    def token(self):
        return (self.state / "admin-token").read_text().strip()

    def get(self, path, token=None):
        request = urllib.request.Request("http://127.0.0.1:%d%s" % (self.port, path), headers={"Authorization": "Bearer " + (token or self.token())})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return json.loads(answer.read())

    def users(self):
        return [u["name"] for u in self.get("/api/gpu/users")["users"]]

    def add_user(self, name):
        subprocess.run([str(BIN / "gpupool"), "users", "add", name], env={**self.env, "GPUPOOL_TOKEN": self.token()}, check=True,
                       stdout=subprocess.DEVNULL)

    def stop(self, sig=signal.SIGTERM):
        """The exit status; nothing of it is left."""
        was = started_by(self.process.pid)
        run = (self.state / "run").read_text()
        self.process.send_signal(sig)
        code = self.process.wait(40)
        left = {p: line for p, (_, line) in was.items() if is_alive(p)}
        assert not left, left
        assert not os.path.exists(run) and not os.path.exists(run + ".data"), run
        return code


@pytest.fixture
def dev():
    made = []

    def make(mode=0o711, **more):
        directory = tempfile.mkdtemp(prefix="gpupool-dev-")
        os.chmod(directory, mode)
        if more.get("uid") is not None:
            os.chown(directory, more["uid"], more["uid"])
        d = Dev(directory, **more)
        made.append(d)
        return d
    yield make
    for d in made:
        if getattr(d, "process", None) and d.process.poll() is None:
            d.process.terminate()
            try:
                d.process.wait(40)
            except subprocess.TimeoutExpired:
                os.killpg(d.process.pid, signal.SIGKILL)
        shutil.rmtree(d.dir, ignore_errors=True)


def test_two_side_by_side_and_one_state_once(dev):
    one, two = dev().start(), dev().start()
    one.add_user("first")
    two.add_user("second")
    assert one.users() == ["admin", "first"] and two.users() == ["admin", "second"]
    with pytest.raises(urllib.error.HTTPError) as refused:
        one.get("/api/gpu/users", token=two.token())
    assert refused.value.code == 401
    again = Dev(one.dir, port=free_port())
    again.log = one.dir / "again"
    assert again.begin().process.wait(20) == 1 and "runs in %s already" % one.state in again.text()
    taken = dev(port=one.port)
    assert taken.begin().process.wait(20) == 1 and "GPUPOOL_PORT" in taken.text()
    assert one.users() == ["admin", "first"]
    assert one.stop() == 0 and two.users() == ["admin", "second"]
    assert two.stop(signal.SIGINT) == 0


def test_what_is_stored_is_there_again(dev):
    d = dev().start()
    token = d.token()
    assert oct((d.state / "admin-token").stat().st_mode & 0o777) == "0o600"
    d.add_user("kept")
    keys = {f: f.read_text() for kind in ("keys", "secret-keys") for f in (d.state / kind).glob("*.key")}
    assert len(keys) == 2
    workers = d.get("/api/gpu/workers/notebooks")["notebooks"]
    assert [w["state"] for w in workers] == ["healthy"]
    assert d.stop() == 0
    d.start()
    assert d.token() == token and d.users() == ["admin", "kept"]
    assert [w["id"] for w in d.get("/api/gpu/workers/notebooks")["notebooks"]] == [w["id"] for w in workers], "another worker was made"
    assert {f: f.read_text() for kind in ("keys", "secret-keys") for f in (d.state / kind).glob("*.key")} == keys
    assert "warning" not in d.text()
    (d.state / "admin-token").unlink()
    assert d.stop() == 0
    # A lost private key is said, and keeps nothing else from working.
    next(iter(keys)).unlink()
    d.start()
    assert "warning: no sealing key for credentials" in d.text()
    assert "bring it" in (d.state / "log" / "keys.log").read_text()
    assert d.token() != token and "kept" in d.users()
    assert d.stop() == 0


def test_kill_9_and_start_again(dev):
    d = dev().start()
    d.add_user("kept")
    was = started_by(d.process.pid)
    os.kill(d.process.pid, signal.SIGKILL)
    d.process.wait()
    d.start()
    assert "ending what a killed run left behind" in d.text()
    assert not {p: line for p, (_, line) in was.items() if is_alive(p) and p not in started_by(d.process.pid)}
    assert "kept" in d.users()
    until(lambda: [w["state"] for w in d.get("/api/gpu/workers/notebooks")["notebooks"]] == ["healthy"])
    assert d.stop() == 0


def test_a_dead_service_comes_back(dev):
    d = dev().start()
    for words in (["nginx: master"], ["gpupool-web", "--role=api"], ["postgres", "-D"]):
        victims = [p for p, (_, line) in started_by(d.process.pid).items() if all(w in line for w in words)]
        assert victims, words
        for pid in victims:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass  # its master's death took it along

        def back():
            try:
                return d.users()
            except OSError:
                return None
        assert until(back) == ["admin"]
    assert d.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has other users to give")
def test_as_root_each_service_is_somebody_else(dev):
    d = dev().start()
    users = {}
    for pid, (uid, line) in started_by(d.process.pid).items():
        for name in ("--role=api", "--role=events", "--role=secrets", "--providers=manual", "nginx: master", "postgres -D", "gpupool-agent.py"):
            if name in line and "bwrap" not in line:
                users.setdefault(name, set()).add(uid)
    assert len(users) == 7, users
    assert all(len(u) == 1 and 0 not in u for n, u in users.items()), users
    assert len(set.union(*users.values())) == 7, users
    assert users["postgres -D"] == {pwd.getpwnam("postgres").pw_uid}
    run = Path((d.state / "run").read_text())
    for name in ("web", "events", "secrets", "provisioner", "local", "owner", "postgres"):
        assert oct((run / "pass" / name).stat().st_mode & 0o777) == "0o600"
    stranger = ["setpriv", "--reuid", "62555", "--regid", "62555", "--clear-groups", "cat"]
    for secret in (d.state / "admin-token", d.state / "secrets" / "owner", run / "pass" / "web", run / "pass" / "secrets", run / "pg", run / "api" / "socket",
                   run / "secrets" / "socket", next((d.state / "secret-keys").glob("*.key"))):
        assert subprocess.run([*stranger, str(secret)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
    assert d.stop() == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a home that others cannot enter, and to be somebody else")
def test_from_a_checkout_below_a_closed_home(dev):
    d = dev(mode=0o700)
    home = d.dir / "checkout" / "build" / "x"
    home.mkdir(parents=True)
    for name in ("gpupool", "gpupool-web", "gpupool-provisioner"):
        shutil.copy2(BIN / name, home)
    shutil.copytree(ROOT / "static", d.dir / "checkout" / "static")
    d.start(program=home / "gpupool")
    assert d.users() == ["admin"]
    with urllib.request.urlopen("http://127.0.0.1:%d/static/base.css" % d.port, timeout=10) as answer:
        assert answer.status == 200
    assert d.stop() == 0
    assert (d.state / "postgres" / "PG_VERSION").exists(), "the data are not where they were asked for"


@pytest.mark.skipif(os.geteuid() != 0, reason="becomes another user")
def test_as_an_ordinary_user(dev):
    nobody = pwd.getpwnam("nobody").pw_uid
    d = dev(uid=nobody).start()
    assert all(uid == nobody for uid, _ in started_by(d.process.pid).values())
    assert d.users() == ["admin"]
    assert [w["state"] for w in d.get("/api/gpu/workers/notebooks")["notebooks"]] == ["healthy"]
    os.kill(d.process.pid, signal.SIGKILL)
    d.process.wait()
    d.start()
    assert d.users() == ["admin"]
    assert d.stop() == 0


def test_bad_settings_are_named(dev):
    for name, value in (("GPUPOOL_PORT", "no"), ("GPUPOOL_PORT", "80"), ("GPUPOOL_PUBLIC_URL", "http://example.org")):
        d = dev(**{name: value}) if name != "GPUPOOL_PORT" else dev()
        d.env[name] = value
        assert d.begin().process.wait(20) != 0
        assert name.lower() in d.text().lower() or name[8:].lower() in d.text().lower(), d.text()
