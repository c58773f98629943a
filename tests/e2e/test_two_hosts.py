"""A second web installation on its own sockets behind one nginx: another `server` line is all there is
to it, and a kill -9 of one of the two in mid-load loses no sign-in, no job and no stream."""
import http.client
import json
import os
import re
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest

from stack import BUILD, Browser, Client, Stack, free_port, until

SLOW = "import time\nfor i in range(40):\n print('line', i, flush=True)\n time.sleep(0.15)"


def environment(pid):
    return dict(e.split("=", 1) for e in Path(f"/proc/{pid}/environ").read_bytes().decode().split("\0") if "=" in e)


def identity(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    ids = {k: [int(v) for v in re.search(rf"^{k}:\s*(.*)$", status, re.M).group(1).split()] for k in ("Uid", "Gid", "Groups")}
    return ids["Uid"][0], ids["Gid"][0], ids["Groups"]


class Second:
    """Api and events processes of a second host, and the nginx that knows both."""

    def __init__(self, stack):
        self.stack, self.children = stack, {}
        self.dir = stack.dir / "second"
        self.dir.mkdir()
        os.chmod(self.dir, 0o755)
        self.port = free_port()
        sockets = {role: self.start_web(role) for role in ("api", "events")}
        self.start_nginx(sockets)
        until(lambda: self.ready(), 20)

    def start_web(self, role):
        first = self.stack.pids("gpupool-web", f"--role={role}")[0]
        uid, gid, groups = identity(first)
        place = self.dir / role
        place.mkdir()
        env = dict(environment(first), GPUPOOL_LISTEN=str(place / "socket"), GPUPOOL_STATE=str(place), GPUPOOL_LISTEN_GROUP="")
        log = open(self.dir / f"{role}.log", "ab")
        if os.getuid() == 0:
            os.chown(place, uid, gid)
            os.chmod(place, 0o755)
        who = dict(user=uid, group=gid, extra_groups=groups) if os.getuid() == 0 else {}
        self.children[role] = subprocess.Popen([f"{self.stack.run_dir()}/bin/gpupool-web", f"--role={role}"], env=env, cwd="/",
                                               stdout=log, stderr=log, start_new_session=True, **who)
        until(lambda: (place / "socket").exists(), 20)
        os.chmod(place / "socket", 0o666)
        return place / "socket"

    def start_nginx(self, sockets):
        run = Path(self.stack.run_dir()) / "nginx"
        conf = "\n".join((run / n).read_text() for n in ("gpupool.conf",)).replace(f"127.0.0.1:{self.stack.port}", f"127.0.0.1:{self.port}")
        for role, path in sockets.items():
            # what an operator adds: one more `server` line in the upstream
            conf, n = re.subn(rf"(upstream gpupool_{role} {{\s*server [^;]+;)", rf"\1\n    server unix:{path};", conf)
            assert n == 1
        outer = (run / "nginx.conf").read_text().replace(str(run / "gpupool.conf"), str(self.dir / "gpupool.conf")).replace(
            str(run) + "/", str(self.dir) + "/").replace(str(self.dir / "routes.conf"), str(run / "routes.conf"))
        (self.dir / "gpupool.conf").write_text(conf)
        (self.dir / "nginx.conf").write_text(("user root;\n" if os.getuid() == 0 else "") + outer)
        log = open(self.dir / "nginx.log", "ab")
        self.children["nginx"] = subprocess.Popen(["/usr/sbin/nginx", "-p", str(self.dir), "-c", str(self.dir / "nginx.conf")],
                                                  stdout=log, stderr=log, start_new_session=True)

    def ready(self):
        assert self.children["nginx"].poll() is None, (self.dir / "nginx.log").read_text()[-2000:]
        try:
            return Client(self.port).call("GET", "/readyz").status == 200
        except OSError:
            return False

    def kill(self, role):
        os.killpg(self.children[role].pid, signal.SIGKILL)
        self.children[role].wait()

    def close(self):
        for c in self.children.values():
            if c.poll() is None:
                os.killpg(c.pid, signal.SIGKILL)
                c.wait()

    def served(self, role):
        return (self.dir / f"{role}.log").read_text().count("request ") if role == "api" else 0


class Stream(threading.Thread):
    """Follows /api/gpu/events as a browser does: comes back with the last id it saw."""

    def __init__(self, port, token):
        super().__init__(daemon=True)
        self.port, self.token, self.last, self.seen, self.opened, self.over = port, token, None, [], 0, False

    def run(self):
        while not self.over:
            try:
                self.once()
            except (OSError, http.client.HTTPException):
                time.sleep(0.05)

    def once(self):
        conn = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        headers = {"Authorization": f"Bearer {self.token}", "Accept": "text/event-stream"}
        if self.last:
            headers["Last-Event-ID"] = self.last
        conn.request("GET", "/api/gpu/events", headers=headers)
        answer = conn.getresponse()
        if answer.status != 200:
            return
        self.opened += 1
        for raw in answer:
            line = raw.decode().rstrip("\n")
            if line.startswith("id:"):
                self.last = line[3:].strip()
            elif line.startswith("data:"):
                self.seen.append((self.last, json.loads(line[5:])))
            if self.over:
                break
        conn.close()


def submitted(client, key):
    """As a program does it: a POST that a dying host may have taken is sent again, under its key."""
    body = {"type": "script", "payload": {"code": "print('after')"}}
    reply = until(lambda: (r := client.call("POST", "/api/gpu/jobs", body, headers={"Idempotency-Key": key})).status != 502 and r)
    assert reply.status == 202, reply
    return reply.json["jobId"]


def test_one_of_two_is_killed_in_mid_load(own_stack):
    stack = own_stack()
    second = Second(stack)
    admin = Client(second.port, stack.admin.token)
    stream = Stream(second.port, stack.admin.token)
    try:
        browser = Browser(second.port)
        browser.sign_in("admin", stack.admin.token)
        stream.start()
        until(lambda: stream.opened)
        running = admin.submit(SLOW)
        admin.runs(running)
        counts, stop = {}, threading.Event()

        def load():
            while not stop.is_set():
                try:
                    status = admin.call("GET", "/api/gpu/jobs?limit=5").status
                except OSError as error:
                    status = type(error).__name__
                counts[status] = counts.get(status, 0) + 1
        threads = [threading.Thread(target=load, daemon=True) for _ in range(4)]
        for t in threads:
            t.start()
        until(lambda: counts.get(200, 0) > 100)
        assert second.served("api") > 10, "the second host took no request"
        second.kill("api")
        second.kill("events")
        before = counts.get(200, 0)
        jobs = [submitted(admin, "after-%d" % n) for n in range(5)]
        until(lambda: counts.get(200, 0) > before + 200)
        stop.set()
        for t in threads:
            t.join(10)
        bad = {s: n for s, n in counts.items() if s != 200}
        # What was inside the killed process when it died is lost to its caller; nothing after it is.
        assert sum(bad.values()) <= 8, counts
        assert browser.request("GET", "/api/gpu/jobs").status == 200, "the sign-in is gone"
        assert all(admin.ends(j)["state"] == "succeeded" for j in jobs + [running])
        assert admin.job(running)["attempt"] == 1
        want = {running, *jobs}

        def streamed():
            done = {str(s) for _, d in stream.seen if d.get("what") == "succeeded" for s in d["ids"]}
            return want <= done
        until(streamed, 20)
        ids = [i for i, d in stream.seen]
        assert len(ids) == len(set(ids)), "an event came twice"
    finally:
        stream.over = True
        second.close()
