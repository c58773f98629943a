"""A whole private installation for tests: `gpupool dev` in a temporary directory on a free port.

Tests wait for states with `until`; nothing here sleeps longer than 0.1 s at a time.
"""
import base64
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import shutil
import time
import urllib.parse
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / os.environ.get("BUILD", "release")
sys.path.insert(0, str(ROOT / "tests" / "google"))      # of Google: `from google_standin import GoogleStandIn`
sys.path.insert(0, str(ROOT / "tests" / "kaggle"))      # the stand-in of Kaggle: `from standin import KaggleStandIn`


SLOW = float(os.environ.get("GPUPOOL_SLOW", "1"))       # how much longer things may take, on a sanitized build


def until(what, seconds=30, every=0.05):
    """Calls what() until it returns something true, and returns that."""
    seconds *= SLOW
    end = time.monotonic() + seconds
    last = None
    while time.monotonic() < end:
        last = what()
        if last:
            return last
        time.sleep(every)
    raise AssertionError(f"did not come true in {seconds} s: {getattr(what, '__name__', what)}; last: {last!r}")


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def descendants(pid):
    """(pid, command line) of every process below pid."""
    children = {}
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            stat = Path(f"/proc/{entry}/stat").read_text()
            line = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ").decode("utf-8", "replace").strip()
        except OSError:
            continue
        parent = int(stat.rsplit(")", 1)[1].split()[1])
        children.setdefault(parent, []).append((int(entry), line))
    found, queue = [], [pid]
    while queue:
        for child in children.get(queue.pop(), []):
            found.append(child)
            queue.append(child[0])
    return found


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"<{self.status} {self.body[:600]!r}>"


class Client:
    """One bearer token, or none, against one base address."""

    def __init__(self, port, token=None):
        self.port, self.token = port, token

    def call(self, method, path, body=None, headers=None, timeout=60, raw=False):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)
        send = dict(headers or {})
        if self.token and "Authorization" not in send:
            send["Authorization"] = f"Bearer {self.token}"
        if body is not None and not raw:
            body = json.dumps(body)
            send.setdefault("Content-Type", "application/json")
        try:
            conn.request(method, path, body=body, headers=send)
            answer = conn.getresponse()
            return Reply(answer.status, dict((k.lower(), v) for k, v in answer.getheaders()), answer.read())
        finally:
            conn.close()

    def ok(self, method, path, body=None, **more):
        reply = self.call(method, path, body, **more)
        assert 200 <= reply.status < 300, f"{method} {path}: {reply}"
        return reply.json if reply.body else None

    def get(self, path, **more):
        return self.ok("GET", path, **more)

    def post(self, path, body=None, **more):
        return self.ok("POST", path, {} if body is None else body, **more)

    # ---- what most tests do ----
    def worker(self, **fields):
        made = self.post("/api/gpu/workers/notebooks", {"provider": "local", "accelerator": "cpu", **fields})
        return made["id"]

    def notebook(self, id):
        return self.get(f"/api/gpu/workers/notebooks/{id}")

    def healthy(self, id, seconds=30):
        return until(lambda: (n := self.notebook(id))["state"] == "healthy" and n, seconds)

    def submit(self, code, type="script", **fields):
        payload = {"code": code}
        for key in ("args", "env", "requirements", "files"):
            if key in fields:
                payload[key] = fields.pop(key)
        return self.post("/api/gpu/jobs", {"type": type, "payload": payload, **fields})["jobId"]

    def job(self, id):
        """The job; waits out a 503, as every client should."""
        reply = until(lambda: (r := self.call("GET", f"/api/gpu/jobs/{id}")).status != 503 and r)
        assert reply.status == 200, reply
        return reply.json

    def ends(self, id, seconds=60):
        over = ("succeeded", "failed", "cancelled", "timed_out")
        return until(lambda: (j := self.job(id))["state"] in over and j, seconds)

    def runs(self, id, seconds=30):
        return until(lambda: (j := self.job(id))["state"] == "running" and j, seconds)

    def log(self, id):
        return self.call("GET", f"/api/gpu/jobs/{id}/logs").body.decode()

    def attempts(self, id):
        """Its attempts; waits out a 503 as job() does."""
        reply = until(lambda: (r := self.call("GET", f"/api/gpu/jobs/{id}/attempts")).status != 503 and r)
        assert reply.status == 200, reply
        return reply.json["attempts"]


class Stack:
    def __init__(self, directory=None, **settings):
        self.own = directory is None
        self.dir = Path(directory or tempfile.mkdtemp(prefix="gpupool-e2e-"))
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        self.settings = {"GPUPOOL_DEMO": "0", "GPUPOOL_LOG_LEVEL": "info", **settings}
        self.process = None

    def start(self, seconds=60):
        env = {k: v for k, v in os.environ.items() if not k.startswith("GPUPOOL_")}
        env.update(self.settings, GPUPOOL_STATE=str(self.dir / "state"), GPUPOOL_PORT=str(self.port))
        self.output = open(self.dir / "output", "ab")
        self.process = subprocess.Popen([str(BUILD / "gpupool"), "dev"], stdin=subprocess.DEVNULL, stdout=self.output,
                                        stderr=subprocess.STDOUT, env=env, cwd=self.dir, start_new_session=True)
        seen = (self.dir / "output").stat().st_size if self.process.pid is None else 0
        start = self.ready_count()
        def ready():
            assert self.process.poll() is None, "gpupool dev ended:\n" + self.text()[-4000:]
            return self.ready_count() > start or (start == 0 and self.ready_count() > 0)
        try:
            until(ready, seconds)
        except AssertionError:
            print(self.text()[-8000:])
            self.stop()
            raise
        token = (self.dir / "state" / "admin-token").read_text().strip()
        self.admin = Client(self.port, token)
        return self

    def ready_count(self):
        return self.text().count("ready http://")

    def text(self):
        return (self.dir / "output").read_text(errors="replace")

    def stop(self, sig=signal.SIGTERM, seconds=40):
        if self.process and self.process.poll() is None:
            self.process.send_signal(sig)
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise AssertionError("gpupool dev did not stop:\n" + self.text()[-4000:])
        code = self.process.returncode if self.process else None
        return code

    def sanitizer_reports(self):
        """A report of ASan or UBSan in any log: the process that made it was restarted, so nothing else would show it."""
        found = []
        for path in [self.dir / "output", *(self.dir / "state" / "log").glob("*")]:
            try:
                text = path.read_text(errors="replace")
            except OSError:
                continue
            for mark in ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "runtime error:"):
                if mark in text:
                    at = text.index(mark)
                    found.append(f"{path.name}: {text[at:at + 3000]}")
        return found

    def close(self):
        try:
            self.stop()
            assert not self.sanitizer_reports(), "\n".join(self.sanitizer_reports())
        finally:
            if self.own:
                shutil.rmtree(self.dir, ignore_errors=True)

    def pids(self, *words):
        """Processes below this installation whose command line has all words."""
        return [pid for pid, line in descendants(self.process.pid) if all(w in line for w in words)]

    def run_dir(self):
        """The short directory with the sockets."""
        return next(l.split("/bin/")[0] for _, l in descendants(self.process.pid) if "/bin/gpupool-web" in l)

    def user(self, role="operator", name=None):
        """A new user's client, with a token of its own."""
        name = name or f"u{time.monotonic_ns()}"
        self.admin.post("/api/gpu/users", {"name": name, "role": role, "password": "a long password " + name})
        scopes = {"viewer": ["read"], "operator": ["read", "submit", "manage"], "admin": ["admin"]}[role]
        jar = Browser(self.port)
        jar.sign_in(name, "a long password " + name)
        token = jar.json("POST", "/api/gpu/tokens", {"name": "test", "scopes": scopes}).json["token"]
        return Client(self.port, token)


def kaggle_settings(kaggle, **more):
    """Settings of an installation whose Kaggle is this stand-in, with short waits."""
    return {"GPUPOOL_KAGGLE_URL": kaggle.url, "GPUPOOL_KAGGLE_SETTLE_SECONDS": "2", "GPUPOOL_KAGGLE_POLL_SECONDS": "1", **more}


def google_settings(google, **more):
    """Settings of an installation whose Google is this stand-in, with short waits."""
    return {**google.settings(), "GPUPOOL_VERTEX_SETTLE_SECONDS": "2", "GPUPOOL_KAGGLE_POLL_SECONDS": "1", **more}


class Browser:
    """Cookie and CSRF token, as the dashboard uses them."""

    def __init__(self, port):
        self.port, self.cookie, self.csrf = port, None, None
        self.client = Client(port)

    def request(self, method, path, body=None, headers=None):
        send = {"Origin": f"http://127.0.0.1:{self.port}", "Sec-Fetch-Site": "same-origin", **(headers or {})}
        if self.cookie:
            send["Cookie"] = self.cookie
        reply = self.client.call(method, path, body, headers=send, raw=True)
        if "set-cookie" in reply.headers:
            self.cookie = reply.headers["set-cookie"].split(";")[0]
        return reply

    def sign_in(self, name, password):
        reply = self.request("POST", "/api/gpu/sign-in", json.dumps({"name": name, "password": password}),
                             {"Content-Type": "application/json"})
        assert reply.status == 200, reply
        self.csrf = reply.json["csrfToken"]
        return reply

    def json(self, method, path, body):
        return self.request(method, path, json.dumps(body), {"Content-Type": "application/json", "X-CSRF-Token": self.csrf})

    def form(self, path, **fields):
        return self.request("POST", path, urllib.parse.urlencode({"csrf": self.csrf, **fields}),
                            {"Content-Type": "application/x-www-form-urlencoded"})
