"""A strict stand-in for the pool's server: it knows the agents' contract, refuses what the contract does not name,
notes every breach in `breaches`, and fails on command (lost replies, outages, stale offsets, void leases)."""
import base64
import hashlib
import http.server
import json
import re
import socket
import threading
import time
import uuid
from urllib.parse import parse_qs, unquote, urlsplit

LOG_CHUNK = 256 << 10
RESULT_STATES = {"succeeded", "failed", "timed_out", "cancelled", "released"}


class Breach(Exception):
    """The agent did what the contract does not allow."""


class Problem(Exception):
    """An answer with problem+json."""

    def __init__(self, status, **members):
        super().__init__(status)
        self.status, self.members = status, members


class CutReply(Exception):
    """Everything is committed, and the reply is lost on the way."""


def need(condition, text):
    if not condition:
        raise Breach(text)


def fields(value, required, optional=()):
    need(isinstance(value, dict), "not an object: %r" % (value,))
    need(set(required) <= set(value), "missing %s" % (set(required) - set(value)))
    need(set(value) <= set(required) | set(optional), "unknown %s" % (set(value) - set(required) - set(optional)))


class Job:
    """What the server knows of one attempt."""

    def __init__(self, number, payload, options):
        self.id = str(number)
        self.lease = str(uuid.uuid4())
        self.payload = payload
        self.lease_seconds = options.pop("leaseSeconds", 60)
        self.options = options
        self.deliveries = 0
        self.log = bytearray()
        self.artifacts = {}             # name → (size, sha256)
        self.kept = {}                  # name → bytes, of small ones
        self.checkpoint = None          # bytes that an earlier attempt left
        self.progress = []
        self.item = None                # the result, once accepted
        self.items = 0                  # how often a result came
        self.void = False
        self.events = []                # the order of log, artifact and result

    def spec(self):
        return dict({"jobId": self.id, "lease": self.lease, "leaseSeconds": self.lease_seconds, "type": "script",
                     "payload": self.payload, "timeoutSeconds": None, "attempt": 1, "gpus": 1}, **self.options)

    @property
    def text(self):
        return self.log.decode("utf-8", "replace")


class Pool:
    """The server: its state behind one condition, and its faults as attributes that a test sets."""

    def __init__(self):
        self.changed = threading.Condition()
        self.enrol_token = "enrol-" + uuid.uuid4().hex
        self.session_token = "session-" + uuid.uuid4().hex
        self.worker = "41"
        self.instance = None
        self.registration = None        # the body of the last one
        self.registrations = 0
        self.breaches = []
        self.calls = []                 # (monotonic seconds, route, body)
        self.jobs = {}
        self.queue = []
        self.orders = []
        self.goodbye = None
        self.parked = []                # `max` of each parked claim
        self.heartbeat_seconds = 0.3
        self.deadline_at = None         # monotonic seconds
        self.park_seconds = 25
        self.renewing = True
        self.log_limit = 64 << 20
        self.artifact_limit = 2 << 30
        self.values = {}                # secrets: name → value
        self.unreadable = set()         # jobs whose results make the server refuse the whole request
        self.result_verdict = {}        # job id → reason of a refusal
        self.cut = {}                   # route → replies to lose
        self.fail = {}                  # route → [status, …] to answer with first
        self.storm = None               # a function → None, "before", "after" (the commit) or a status, for each request
        self.over = None                # 401 or 410 on every route
        self.agent_source = b""
        self.connections = 0
        self.user_agents = []           # distinct, in order of first sight
        self.port = 0
        self._http = None
        self._sockets = set()

    # Running and not running.

    def start(self):
        pool = self

        class Handler(Route):
            pass
        Handler.pool = pool
        http.server.ThreadingHTTPServer.allow_reuse_address = True
        self._http = http.server.ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        self._http.daemon_threads = True
        self.port = self._http.server_address[1]
        threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self):
        """As a crash: nobody listens, every connection is gone."""
        self._http.shutdown()
        self._http.server_close()
        with self.changed:
            sockets, self._sockets = self._sockets, set()
        for sock in sockets:
            try:
                sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def _deadline(self):
        return None if self.deadline_at is None else max(0, self.deadline_at - time.monotonic())

    # For tests.

    def submit(self, payload, **options):
        if isinstance(payload, str):
            payload = {"code": payload}
        with self.changed:
            job = Job(1000 + len(self.jobs), payload, options)
            self.jobs[job.id] = job
            self.queue.append(job)
            self.changed.notify_all()
        return job

    def order(self, **order):
        with self.changed:
            self.orders.append(order)
            self.changed.notify_all()

    def wait(self, condition, seconds=15):
        with self.changed:
            assert self.changed.wait_for(condition, seconds), "waited %d s in vain" % seconds

    def finish(self, job, seconds=15):
        self.wait(lambda: job.item is not None, seconds)
        return job.item

    def bodies(self, route):
        with self.changed:
            return [body for _, name, body in self.calls if name == route]

    # Routes: each gets the parsed request under the lock.

    def register(self, body, token):
        fields(body, ("provider", "instance", "agent", "protocol", "capabilities"))
        fields(body["capabilities"], ("gpus", "slots", "cpus", "memoryBytes", "python", "platform"), ("tpu",))
        for gpu in body["capabilities"]["gpus"]:
            fields(gpu, ("name", "memoryBytes", "driver"))
        if token != self.enrol_token:
            raise Problem(401, title="Unauthorized")
        if self.over:
            raise Problem(self.over, title="Over")
        if self.instance not in (None, body["instance"]):
            raise Problem(409, title="Conflict")
        self.instance, self.registration = body["instance"], body
        if self.registrations:
            self.session_token = "session-" + uuid.uuid4().hex
        self.registrations += 1
        return {"workerId": self.worker, "token": self.session_token, "heartbeatSeconds": self.heartbeat_seconds,
                "deadlineSeconds": self._deadline(), "later": "ignored"}

    def claim(self, body):
        fields(body, ("max", "waitSeconds", "holding"))
        need(isinstance(body["max"], int) and 0 <= body["max"] <= 256, "max")
        need(0 < body["waitSeconds"] <= 25, "waitSeconds")
        self.parked.append(body["max"])
        self.changed.notify_all()
        try:
            jobs = []
            until = time.monotonic() + min(body["waitSeconds"], self.park_seconds)
            while not self.over:
                jobs += [job for job in self.jobs.values() if job.deliveries and not job.item and not job.void
                         and job.lease not in body["holding"]]
                while self.queue and len(jobs) < body["max"]:
                    jobs.append(self.queue.pop(0))
                if jobs or self.orders or not self.changed.wait(max(0, until - time.monotonic())):
                    break
        finally:
            self.parked.remove(body["max"])
        if self.over:
            raise Problem(self.over, title="Over")
        for job in jobs:
            job.deliveries += 1
        orders, self.orders = self.orders, []
        return {"jobs": [job.spec() for job in jobs], "orders": orders, "deadlineSeconds": self._deadline()}

    def heartbeat(self, body):
        fields(body, ("jobs",), ("gpu",))
        renewed = []
        for entry in body["jobs"]:
            fields(entry, ("jobId", "lease"), ("progress",))
            job = self.jobs[entry["jobId"]]
            need(job.lease == entry["lease"], "lease of another attempt")
            if "progress" in entry:
                fields(entry["progress"], ("fraction", "message"))
                need(0 <= entry["progress"]["fraction"] <= 1, "fraction")
                job.progress.append(entry["progress"])
            if self.renewing and not job.void and not job.item:
                renewed.append({"jobId": job.id, "lease": job.lease, "leaseSeconds": job.lease_seconds})
        orders, self.orders = self.orders, []
        return {"orders": orders, "deadlineSeconds": self._deadline(), "renewed": renewed}

    def results(self, body):
        fields(body, ("results",))
        need(1 <= len(body["results"]) <= 500, "number of results")
        if any(item["jobId"] in self.unreadable and "result" in item for item in body["results"]):
            raise Problem(400, title="Bad request")
        return {"results": [self._result(item) for item in body["results"]]}

    def _result(self, item):
        fields(item, ("jobId", "lease", "state"), ("result", "error"))
        need(item["state"] in RESULT_STATES, "state %r" % item["state"])
        need(item["state"] == "succeeded" or "result" not in item or item["error"]["type"] == "artifact",
             "result of a job that did not succeed")
        need((item["state"] in ("failed", "timed_out")) == ("error" in item), "error")
        if "error" in item:
            fields(item["error"], ("type", "message"), ("traceback",))
        if "result" in item:
            need(len(json.dumps(item["result"], ensure_ascii=False).encode()) <= 1100000, "result too large")
        job = self.jobs[item["jobId"]]
        job.items += 1
        answer = {"jobId": job.id, "lease": item["lease"]}
        reason = self.result_verdict.pop(job.id, None) or ("stale" if item["lease"] != job.lease else None)
        if reason:
            return dict(answer, accepted=False, reason=reason)
        if job.item is None:
            job.item = item
            job.events.append("result")
        return dict(answer, accepted=True)

    def secrets(self, body):
        fields(body, ("lease",))
        job = next((job for job in self.jobs.values() if job.lease == body["lease"]), None)
        need(job, "secrets for no job")
        if job.void or job.item:
            raise Problem(410, title="Gone", detail="This session does not hold that lease.")
        names = job.options.get("secrets", [])
        need(names, "asked for secrets of a job that names none")
        missing = [name for name in names if name not in self.values]
        if missing:
            return {"secrets": {}, "missing": missing}
        return {"secrets": {name: self.values[name] for name in names}, "later": "ignored"}

    def bye(self, body):
        fields(body, ("reason",), ("code", "log"))
        need(len(body.get("log", "").encode()) <= 16 << 10, "goodbye log too long")
        self.goodbye = body
        return None

    def _current(self, number, query):
        fields(query, ("lease",), ("offset",))
        job = self.jobs.get(number)
        if job is None or job.void or job.lease != query["lease"][0]:
            raise Problem(410, title="Gone")
        return job

    def log(self, number, query, data):
        job = self._current(number, query)
        need("result" not in job.events, "log after the result")
        need(0 < len(data) <= LOG_CHUNK, "size of a log call")
        offset = int(query["offset"][0])
        if offset > len(job.log):
            raise Problem(409, title="Conflict", expectedOffset=len(job.log))
        job.log += data[len(job.log) - offset:]
        del job.log[self.log_limit:]
        job.events.append("log")
        answer = {"length": len(job.log)}
        return dict(answer, full=True) if len(job.log) == self.log_limit else answer

    def checkpoint(self, number, query):
        job = self._current(number, query)
        need(job.options.get("type") == "training", "asked for the checkpoint of a job that has none")
        if job.checkpoint is None:
            raise Problem(404, title="Not found")
        return job.checkpoint

    def artifact(self, number, name, query, size, digest):
        job = self._current(number, query)
        need("result" not in job.events, "artifact after the result")
        need(all(re.fullmatch(r"[A-Za-z0-9._-]{1,128}", part) and part not in (".", "..") for part in name.split("/"))
             and len(name.split("/")) <= 8, "name of an artifact: %r" % name)
        fresh = name not in job.artifacts
        job.artifacts[name] = (size, digest)
        job.events.append("artifact")
        return 201 if fresh else 200, {"name": name, "size": size, "sha256": digest}


class Route(http.server.BaseHTTPRequestHandler):
    """HTTP in front of Pool."""
    protocol_version = "HTTP/1.1"
    pool = None

    def setup(self):
        super().setup()
        self.connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with self.pool.changed:
            self.pool._sockets.add(self.connection)
            self.pool.connections += 1

    def finish(self):
        with self.pool.changed:
            self.pool._sockets.discard(self.connection)
        try:
            super().finish()
        except OSError:
            pass

    def handle(self):
        try:
            super().handle()
        except OSError:
            self.close_connection = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        self._serve()

    def do_PUT(self):
        self._serve()

    def do_GET(self):
        self._serve()

    def _serve(self):
        pool, url = self.pool, urlsplit(self.path)
        route = self._name(url.path)
        try:
            status, body = self._answer(route, url)
        except Problem as problem:
            status, body = problem.status, dict(problem.members, type="about:blank", status=problem.status)
        except CutReply:
            self.close_connection = True
            self.connection.close()
            return
        except Exception as error:
            status, body = 400, {"title": "Bad request", "detail": str(error)}
            with pool.changed:
                pool.breaches.append("%s: %r" % (route, error))
                pool.changed.notify_all()
        self._reply(status, body)

    @staticmethod
    def _name(path):
        match = re.fullmatch(r"/api/gpu/(?:workers/[^/]+/(\w+)|workers/(auto-register)|jobs/[^/]+/(logs)|"
                             r"jobs/[^/]+/(artifacts)/.+|jobs/[^/]+/(checkpoint))|/(agent)/gpupool-agent.py", path)
        return next((g for g in match.groups() if g), None) if match else None

    def _reply(self, status, body):
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if status != 204:
            self.send_header("Content-Type", "application/json" if status < 400 else "application/problem+json")
            self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _answer(self, route, url):
        pool = self.pool
        need(route, "no route %s %s" % (self.command, self.path))
        length = int(self.headers.get("Content-Length") or 0)
        token = (self.headers.get("Authorization") or "").replace("Bearer ", "", 1)
        if self.headers.get("User-Agent") not in pool.user_agents:
            pool.user_agents.append(self.headers.get("User-Agent"))
        query = parse_qs(url.query)
        if route == "artifacts":
            return self._artifact(url, query, length, token)
        data = self.rfile.read(length)
        if len(data) < length:
            raise CutReply()                    # the agent was killed in the middle of its request
        fate = pool.storm() if pool.storm else None
        if fate == "before":
            raise CutReply
        if isinstance(fate, int):
            raise Problem(fate, title="Storm")
        with pool.changed:
            body = data if route in ("logs", "agent", "checkpoint") else json.loads(data)
            pool.calls.append((time.monotonic(), route, body))
            pool.changed.notify_all()
            if pool.fail.get(route):
                raise Problem(pool.fail[route].pop(0), title="Unavailable")
            if route == "agent":
                return 200, pool.agent_source
            if route == "auto-register":
                answer = pool.register(body, token)
            else:
                self._authorize(token)
                if route == "logs":
                    need(self.headers["Content-Type"] == "application/octet-stream", "type of a log call")
                    answer = pool.log(url.path.split("/")[4], query, data)
                elif route == "checkpoint":
                    need(self.command == "GET", "method of a checkpoint call")
                    answer = pool.checkpoint(url.path.split("/")[4], query)
                else:
                    need(url.path.split("/")[4] == pool.worker, "another worker")
                    act = {"claim": pool.claim, "heartbeat": pool.heartbeat, "results": pool.results,
                           "goodbye": pool.bye, "secrets": pool.secrets}
                    need(route in act, "no route %s" % self.path)
                    answer = act[route](body)
            pool.changed.notify_all()
            if pool.cut.get(route) and (route != "claim" or answer["jobs"]):
                pool.cut[route] -= 1
                raise CutReply
        if fate == "after":
            raise CutReply
        return (204, None) if answer is None else (200, answer)

    def _authorize(self, token):
        if self.pool.over:
            raise Problem(self.pool.over, title="Over")
        need(token == self.pool.session_token, "another token")

    def _artifact(self, url, query, length, token):
        pool = self.pool
        need(self.command == "PUT" and "Content-Length" in self.headers, "artifact without Content-Length")
        name = unquote(url.path.split("/artifacts/", 1)[1])
        with pool.changed:
            pool.calls.append((time.monotonic(), "artifacts", name))
            self._authorize(token)
            if pool.fail.get("artifacts"):
                self.close_connection = True
                raise Problem(pool.fail["artifacts"].pop(0), title="Unavailable")
        if length > pool.artifact_limit:
            self.close_connection = True        # answers and hangs up before the body is read
            raise Problem(413, title="Too large", detail="too large")
        digest, left, kept = hashlib.sha256(), length, []
        while left:
            block = self.rfile.read(min(left, 1 << 20))
            if not block:
                raise CutReply
            digest.update(block)
            left -= len(block)
            if length <= 1 << 20:
                kept.append(block)
        said = "sha-256=:%s:" % base64.b64encode(digest.digest()).decode()
        need(self.headers["Content-Digest"] == said, "digest of %s" % name)
        with pool.changed:
            answer = pool.artifact(url.path.split("/")[4], name, query, length, digest.hexdigest())
            pool.jobs[url.path.split("/")[4]].kept[name] = b"".join(kept)
            pool.changed.notify_all()
            if pool.cut.get("artifacts"):
                pool.cut["artifacts"] -= 1
                raise CutReply
        return answer
