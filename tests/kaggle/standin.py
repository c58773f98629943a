#!/usr/bin/python3
"""A strict stand-in of Kaggle's kernels API that really runs what is pushed.

    standin.py [--account NAME:KEY] [--token NAME:TOKEN] [--port N]     prints its base address and serves until Ctrl-C

In tests:

    with KaggleStandIn() as kaggle:
        kaggle.account("alice", key="…", tokens=["KGAT_…"])
        … GPUPOOL_KAGGLE_URL=kaggle.url …
        kaggle.fault("SaveKernel", "reset_after")
        kaggle.count("SaveKernel", owner="alice")
        kaggle.world.clock.advance(3600)

`world` (kernels.py) holds the state and its switches; `calls` what was called, by whom and when; `violations` what no
well-behaved client does (a credential at the file server, a call before Retry-After had passed, a public kernel …): a
test ends with `kaggle.blameless()`.  Unknown methods are 404, unknown or ill-typed fields 400.

Kinds of fault, each `times` times (None: until cleared), where a save marked (*) has still taken effect:
    429 (retry_after=seconds, date=True for an HTTP date, None for no header), 409 500 502 503 (effect=True: *), html,
    empty *, truncated *, drip * (seconds a byte), reset_before, reset_after *, redirect (the 302 points elsewhere)
and, of the shape of a true answer: string_ids, nullable, lower_camel, prefixed, numeric, unknown_status, omit (fields=[…]).
"""
import argparse
import base64
import email.utils
import http.server
import io
import json
import re
import secrets
import socket
import struct
import threading
import time
import urllib.parse
import zipfile

import kernels
from kernels import LIVE, NEW_SCRIPT, Refusal, World

STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ABORTED",
          429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 502: "UNAVAILABLE", 503: "UNAVAILABLE"}
HTML = b"<!DOCTYPE html>\n<html><head><title>Kaggle</title></head><body>Just a moment\xe2\x80\xa6</body></html>\n"
NUMBERS = ["QUEUED", "RUNNING", "COMPLETE", "ERROR", "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED", "NEW_SCRIPT"]

# ---- what each method takes --------------------------------------------------


def STR(value):
    return isinstance(value, str)


def INT(value):
    return isinstance(value, int) and not isinstance(value, bool)


def INT64(value):
    return INT(value) or (isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value) is not None)


def BOOL(value):
    return isinstance(value, bool)


def STRS(value):
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def one_of(*names):
    return lambda value: value in names


KERNEL = {"userName": STR, "kernelSlug": STR}
PAGED = {"pageSize": INT, "pageToken": STR}
KERNELS, OAUTH = "kernels.KernelsApiService", "security.OAuthService"
METHODS = {
    (KERNELS, "SaveKernel"): {
        "id": INT64, "slug": STR, "newTitle": STR, "text": STR, "language": one_of("python", "r", "rmarkdown"),
        "kernelType": one_of("script", "notebook"), "isPrivate": BOOL, "enableGpu": BOOL, "enableTpu": BOOL, "enableInternet": BOOL,
        "datasetDataSources": STRS, "kernelDataSources": STRS, "competitionDataSources": STRS, "modelDataSources": STRS,
        "categoryIds": STRS, "dockerImagePinningType": one_of("original", "latest"), "dockerImage": STR, "machineShape": STR,
        "sessionTimeoutSeconds": INT, "priority": INT,
        "kernelExecutionType": one_of("SAVE_AND_RUN_ALL", "QUICK_SAVE", "INTER_ACTIVE", "KERNEL_EXECUTION_TYPE_UNSPECIFIED")},
    (KERNELS, "GetKernelSessionStatus"): {**KERNEL, "versionLabel": STR},
    (KERNELS, "ListKernelSessionOutput"): {**KERNEL, **PAGED, "versionLabel": STR},
    (KERNELS, "ListKernelFiles"): {**KERNEL, **PAGED, "versionLabel": STR},
    (KERNELS, "GetKernel"): {**KERNEL, "versionLabel": STR},
    (KERNELS, "ListKernels"): {
        **PAGED, "page": INT, "user": STR, "search": STR, "language": STR, "kernelType": STR, "outputType": STR, "dataset": STR,
        "competition": STR, "parentKernel": STR,
        "group": one_of("EVERYONE", "PROFILE", "COLLABORATION", "UPVOTED", "FORK", "BOOKMARKED", "RECENTLY_VIEWED", "PUBLIC_AND_USERS_PRIVATE"),
        "sortBy": one_of("HOTNESS", "COMMENT_COUNT", "DATE_CREATED", "DATE_RUN", "RELEVANCE", "SCORE_ASCENDING", "SCORE_DESCENDING",
                         "VIEW_COUNT", "VOTE_COUNT")},
    (KERNELS, "DeleteKernel"): KERNEL,
    (KERNELS, "CancelKernelSession"): {"kernelSessionId": INT64},
    (KERNELS, "GetAcceleratorQuotaStatistics"): {},
    (OAUTH, "IntrospectToken"): {"token": STR},
}
# Optional members of answers, which the older shape shows with two more beside each.
OPTIONAL = {"SaveKernel": {"error": "", "versionNumber": 0}, "GetKernelSessionStatus": {"failureMessage": ""},
            "ListKernelSessionOutput": {"log": "", "nextPageToken": ""}, "DeleteKernel": {"errorMessage": ""},
            "CancelKernelSession": {"errorMessage": ""}, "ListKernels": {"nextPageToken": ""}}
STREAM, DOWNLOAD, ZIP = "logs/stream", "output/download", "output/download_zip"


class Call:
    def __init__(self, method, owner, at, request):
        self.method, self.owner, self.at, self.clock, self.request = method, owner, time.monotonic(), at, request
        self.status = None

    def __repr__(self):
        return "<%s %s %s at %.3f>" % (self.method, self.owner, self.status, self.at)


class Fault:
    def __init__(self, method, kind, times, owner, after, options):
        self.method, self.kind, self.left, self.owner, self.after, self.options = method, kind, times, owner, after, options
        self.met = 0

    def takes(self, method, owner):
        if self.method not in (method, "*") or self.owner not in (None, owner) or self.left == 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.met += 1
        if self.left is not None:
            self.left -= 1
        return True


# ---- answers ------------------------------------------------------------------

def shaped(fault, method, answer):
    """A true answer in one of the shapes that were seen in the wild."""
    kind = fault.kind
    if kind == "string_ids":
        ids = ("id", "kernelId", "versionNumber", "currentVersionNumber", "kernelSessionId", "userId", "exp", "size", "totalVotes")
        def walk(value):
            if isinstance(value, dict):
                return {k: str(v) if k in ids and INT(v) else walk(v) for k, v in value.items()}
            return [walk(v) for v in value] if isinstance(value, list) else value
        return walk(answer)
    if kind == "nullable":
        more = {}
        for name, empty in OPTIONAL.get(method, {}).items():
            value = answer.get(name, empty)
            more.update({name: value, name + "Nullable": value, "has" + name[0].upper() + name[1:]: name in answer and value != empty})
        return {**answer, **more}
    if kind == "omit":
        return {k: v for k, v in answer.items() if k not in fault.options["fields"]}
    if "status" in answer:
        parts = answer["status"].lower().split("_")
        return {**answer, "status": {"lower_camel": parts[0] + "".join(p.capitalize() for p in parts[1:]),
                                     "prefixed": "KERNEL_WORKER_STATUS_" + answer["status"], "numeric": NUMBERS.index(answer["status"]),
                                     "unknown_status": "HIBERNATING"}[kind]}
    return answer


SHAPES = ("string_ids", "nullable", "omit", "lower_camel", "prefixed", "numeric", "unknown_status")
EFFECTIVE = ("empty", "truncated", "drip", "reset_after")


class Methods:
    """One method of the API each: takes the account and the request, returns the answer or raises Refusal."""

    def __init__(self, world, sign):
        self.world, self.sign = world, sign

    def SaveKernel(self, account, q):
        return self.world.save(account, q)

    def _version(self, account, q):
        if "/" in q.get("kernelSlug", ""):
            raise Refusal(403, "Permission 'kernels.get' was denied")
        kernel = self.world.kernel(q.get("userName", ""), q.get("kernelSlug", ""), account)
        return kernel, kernel.version(q.get("versionLabel"))

    def GetKernelSessionStatus(self, account, q):
        run = self._version(account, q)[1].run
        answer = {"status": run.state if run else NEW_SCRIPT}
        if run and run.failure:
            answer["failureMessage"] = run.failure
        return answer

    def _page(self, q, items, most, standard=20):
        size, token = q.get("pageSize", 0) or standard, q.get("pageToken", "")
        if not 0 < size <= most:
            raise Refusal(400, "pageSize must be between 1 and %d" % most)
        try:
            begin = int(base64.urlsafe_b64decode(token).decode().removeprefix("after:")) if token else 0
        except ValueError:
            raise Refusal(400, "pageToken is not one of ours") from None
        more = {"nextPageToken": base64.urlsafe_b64encode(b"after:%d" % (begin + size)).decode()} if begin + size < len(items) else {}
        return items[begin:begin + size], more

    def _files(self, run):
        """(files, log) as far as they can be seen already."""
        if not run or run.ended_at is None or self.world.clock.now() - run.ended_at < self.world.log_seconds:
            return [], []
        return run.files, run.log

    def ListKernelSessionOutput(self, account, q):
        files, log = self._files(self._version(account, q)[1].run)
        page, more = self._page(q, files, 200)
        answer = {"files": [{"url": self.sign(name, content), "fileName": name} for name, content in page], **more}
        if not q.get("pageToken"):
            answer["log"] = json.dumps(log) if log else ""
        return answer

    def ListKernelFiles(self, account, q):
        kernel, version = self._version(account, q)
        page, more = self._page(q, self._files(version.run)[0], 200)
        made = self.world.clock.iso()
        return {"files": [{"name": name, "size": len(read(content)), "creationDate": made} for name, content in page], **more}

    def _metadata(self, kernel, version):
        run = next((v.run for v in reversed(kernel.versions) if v.run), None)
        answer = {"id": kernel.id, "ref": "%s/%s" % (kernel.owner, kernel.slug), "title": kernel.title, "author": kernel.owner.capitalize(),
                  "slug": kernel.slug, "lastRunTime": self.world.clock.iso(run.queued_at if run else 0),
                  "currentVersionNumber": len(kernel.versions), "totalVotes": 0, "machineShape": run.shape if run else ""}
        for name in ("language", "kernelType", "isPrivate", "enableGpu", "enableTpu", "enableInternet", "categoryIds",
                     "datasetDataSources", "kernelDataSources", "competitionDataSources", "modelDataSources"):
            if name in version.fields:
                answer[name] = version.fields[name]
        return answer

    def GetKernel(self, account, q):
        kernel, version = self._version(account, q)
        return {"metadata": self._metadata(kernel, version),
                "blob": {"source": version.text, "language": version.fields["language"], "kernelType": version.fields["kernelType"],
                         "slug": kernel.slug}}

    def ListKernels(self, account, q):
        mine = q.get("group") == "PROFILE"
        found = [k for k in self.world.kernels.values() if (k.owner == account.username if mine else not k.versions[-1].fields.get("isPrivate"))
                 and k.lag == 0 and q.get("user", k.owner) == k.owner and q.get("search", "").lower() in k.title.lower()
                 and q.get("language", k.versions[-1].fields["language"]) == k.versions[-1].fields["language"]]
        found.sort(key=lambda k: -k.id)
        if q.get("page", 1) > 1 and "pageToken" not in q:
            size = q.get("pageSize", 20)
            q = {**q, "pageToken": base64.urlsafe_b64encode(b"after:%d" % ((q["page"] - 1) * size)).decode()}
        page, more = self._page(q, found, 100)
        return {"kernels": [self._metadata(k, k.versions[-1]) for k in page], **more}

    def DeleteKernel(self, account, q):
        self.world.delete(self.world.kernel(q.get("userName", ""), q.get("kernelSlug", ""), account))
        return {}

    def CancelKernelSession(self, account, q):
        run = next((r for r in self.world.runs if r.sid == int(q.get("kernelSessionId", 0))), None)
        if run is None or run.owner != account.username or run.deleted or run.state not in LIVE:
            raise Refusal(403, "Permission 'kernelSessions.cancel' was denied")
        run.cancel()
        return {}

    def GetAcceleratorQuotaStatistics(self, account, q):
        answer = {"quotaRefreshTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(self.world.week_begins() + kernels.WEEK))}
        for resource, total in account.week.items():
            used, held = self.world.used(account.username, resource), self.world.reserved(account.username, resource)
            answer[resource + "Quota"] = {"timeUsed": "%.1fs" % used, "timeReserved": "%ds" % held, "totalTimeAllowed": "%ds" % total,
                                          "minimumTimeAllowed": "%ds" % total, **({"hasEverRun": True} if used else {})}
        return answer

    def IntrospectToken(self, account, q):
        owner = next((a for a in self.world.accounts.values() if q.get("token") in a.tokens), None)
        if owner is None:
            raise Refusal(404, "Token not found")
        return {"active": True, "username": owner.username, "userId": owner.user_id, "scope": "", "exp": int(time.time()) + 30 * 86400}


def read(content):
    if isinstance(content, bytes):
        return content
    with open(content, "rb") as file:
        return file.read()


# ---- HTTP ---------------------------------------------------------------------

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True      # an answer is two packets
    standin = None
    server_version, sys_version = "ESF", ""

    def log_message(self, *_):
        pass

    def reset(self):
        """The peer sees its connection reset, not closed."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def send(self, status, body, kind="application/json", headers=(), cut=None, drip=0.0):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Kaggle-RequestId", secrets.token_hex(8))
        self.send_header("X-Kaggle-ApiVersion", "2.2.3")
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if not drip:
            self.wfile.write(body)
            return
        for i in range(len(body)):
            self.wfile.write(body[i:i + 1])
            if self.standin.stopping.wait(drip):
                return

    def fail(self, refusal, headers=()):
        body = {"error": {"code": refusal.status, "message": refusal.message, "status": STATUS.get(refusal.status, "UNKNOWN")}}
        self.send(refusal.status, json.dumps(body).encode(), headers=headers)

    def finish(self):
        try:
            super().finish()
        except (OSError, ValueError):
            pass

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):
            pass                # the peer went away, or we cut it off


class Api(Handler):
    def do_POST(self):
        length = self.headers.get("Content-Length", "")
        body = self.rfile.read(int(length)) if length.isdigit() else b""
        parts = self.path.split("/")
        key = (parts[2], parts[3]) if len(parts) == 4 and parts[1] == "v1" else None
        if key not in METHODS:
            return self.fail(Refusal(404, "Not found"))
        self.serve(key[1], body, METHODS[key])

    def do_GET(self):
        path, _, query = self.path.partition("?")
        found = re.fullmatch(r"/v1/kernels/(logs/stream|output/download)/([^/]+)/([^/]+)|/v1/kernels/(output/download_zip)/([0-9]+)", path)
        if not found:
            return self.fail(Refusal(404, "Not found"))
        if found[4]:
            self.serve(ZIP, None, None, (int(found[5]), None, query))
        else:
            self.serve(found[1], None, None, (urllib.parse.unquote(found[2]), urllib.parse.unquote(found[3]), query))

    def serve(self, method, body, fields, route=None):
        s = self.standin
        owner = s.owner(self.headers.get("Authorization", ""))
        call = Call(method, owner and owner.username, s.world.clock.now(), None)
        s.note(call, self.headers)
        try:
            if owner is None and not (method == "IntrospectToken" and "Authorization" not in self.headers):
                raise Refusal(401, "Unauthenticated")
            if not self.headers.get("User-Agent"):
                return self.send(200, HTML, "text/html; charset=utf-8")
            fault = s.faulty(method, call.owner)
            if fault and (route or not (fault.kind in EFFECTIVE + SHAPES or fault.options.get("effect"))) and fault.kind != "redirect":
                call.status = fault.kind
                return self.misbehave(fault, call, b"{}")
            if route:
                call.status = 200
                return getattr(self, {STREAM: "stream", DOWNLOAD: "download", ZIP: "zip"}[method])(owner, *route, fault)
            request = self.parse(body, fields)
            call.request = {k: v for k, v in request.items() if k not in ("token", "text")}
            s.world.tick()
            with s.world.lock:
                answer = getattr(s.methods, method)(owner, request)
            call.status = 200 if not answer.get("error") else answer["error"]
            if not fault:
                return self.send(200, json.dumps(answer).encode(), "application/json; charset=utf-8")
            if fault.kind in SHAPES:
                return self.send(200, json.dumps(shaped(fault, method, answer)).encode())
            self.misbehave(fault, call, json.dumps(answer).encode())
        except Refusal as refusal:
            call.status = refusal.status
            self.fail(refusal)

    def parse(self, body, fields):
        if self.headers.get("Content-Type", "").split(";")[0].strip().lower() != "application/json":
            raise Refusal(400, "Content-Type must be application/json")
        try:
            request = json.loads(body)
        except ValueError:
            raise Refusal(400, "Invalid JSON payload received") from None
        if not isinstance(request, dict):
            raise Refusal(400, "Invalid JSON payload received")
        for name, value in request.items():
            if name not in fields:
                raise Refusal(400, "Invalid JSON payload received. Unknown name \"%s\"" % name)
            if not fields[name](value):
                raise Refusal(400, "Invalid value at '%s'" % name)
        return request

    def misbehave(self, fault, call, body):
        kind, options = fault.kind, fault.options
        if kind == "429":
            self.limited(fault, call)
        elif kind in ("409", "500", "502", "503"):
            self.fail(Refusal(int(kind), "Internal error"))
        elif kind == "html":
            self.send(200, HTML, "text/html; charset=utf-8")
        elif kind == "empty":
            self.send(200, b"")
        elif kind == "truncated":
            self.send(200, body[:max(1, len(body) // 2)])
        elif kind == "drip":
            self.send(200, body, drip=options.get("seconds", 0.05))
        else:
            self.reset()

    def limited(self, fault, call):
        after = fault.options.get("retry_after")
        if after is None:
            return self.fail(Refusal(429, "Too many requests"))
        self.standin.hold(call.owner, after)
        # A date has whole seconds: rounded up, or it would allow less than was asked.
        value = email.utils.formatdate(int(time.time() + after + 0.999), usegmt=True) if fault.options.get("date") else str(after)
        return self.fail(Refusal(429, "Too many requests"), [("Retry-After", value)])

    # ---- routes that are not JSON ----
    def stream(self, account, owner, slug, query, fault):
        world = self.standin.world
        world.tick()
        with world.lock:
            run = world.kernel(owner, slug, account).versions[-1].run
        if run is None or run.ended_at is not None:
            return self.send(200, json.dumps(run.log if run else []).encode())
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("X-Kaggle-RequestId", secrets.token_hex(8))
        self.send_header("X-Kaggle-ApiVersion", "2.2.3")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        sent, most = 0, self.standin.stream_events
        while not self.standin.stopping.is_set():
            over = run.ended_at is not None or run.deleted
            while sent < len(run.log) and (most is None or sent < most):
                self.wfile.write(b"data: %s\n\n" % json.dumps(run.log[sent]).encode())
                sent += 1
            if most is not None and sent >= most:
                return self.reset()
            if over:
                return self.wfile.write(b"data: END_OF_LOG\n\n")
            self.standin.stopping.wait(0.02)

    def download(self, account, owner, slug, query, fault):
        world, asked = self.standin.world, urllib.parse.parse_qs(query)
        if set(asked) - {"versionNumber"}:
            raise Refusal(400, "Unknown parameter")
        number = asked.get("versionNumber", [""])[0]
        with world.lock:
            run = world.kernel(owner, slug, account).version("v" + number if number else None).run
        if run is None:
            raise Refusal(404, "Not found")
        base = "http://127.0.0.1:%d" % self.standin.file_port if fault and fault.kind == "redirect" else self.standin.url[:-3]
        self.send(302, b"", headers=[("Location", "%s/v1/kernels/%s/%d" % (base, ZIP, run.sid))])

    def zip(self, account, sid, _, query, fault):
        world = self.standin.world
        with world.lock:
            run = next((r for r in world.runs if r.sid == sid and r.owner == account.username and not r.deleted), None)
            if run is None or run.ended_at is None:
                raise Refusal(404, "Not found")
            out = io.BytesIO()
            with zipfile.ZipFile(out, "w") as file:
                for name, content in run.files:
                    file.writestr(name, read(content))
        self.send(200, out.getvalue(), "application/zip")


class Files(Handler):
    """Signed addresses: whoever has one may read, and nobody may send a credential there."""

    def do_GET(self):
        s = self.standin
        for name in ("Authorization", "Cookie", "Proxy-Authorization"):
            if name in self.headers:
                s.violations.append("%s was sent to the file server" % name)
        content = s.signed.get(self.path)
        call = Call("file", None, s.world.clock.now(), None)
        s.calls.append(call)
        fault = s.faulty("file", None)
        try:
            if content is None:
                raise Refusal(403, "Access denied")
            if fault:
                call.status = fault.kind
                return self.reset() if fault.kind.startswith("reset") else self.fail(Refusal(int(fault.kind), "Unavailable"))
            call.status = 200
            self.send(200, read(content), "application/octet-stream")
        except Refusal as refusal:
            call.status = refusal.status
            self.send(refusal.status, b"<?xml version='1.0'?><Error/>", "application/xml")
        except OSError:
            call.status = 404
            self.send(404, b"<?xml version='1.0'?><Error/>", "application/xml")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass


class KaggleStandIn:
    def __init__(self, port=0):
        self.world = World()
        self.stopping = threading.Event()
        self.calls, self.violations, self.faults, self.signed, self.held = [], [], [], {}, {}
        self.stream_events = None           # a live log's stream is cut after so many
        self.lock = threading.Lock()
        self.methods = Methods(self.world, self.sign)
        self.servers = [Server(("127.0.0.1", p), type(kind.__name__, (kind,), {"standin": self})) for kind, p in ((Api, port), (Files, 0))]
        self.port, self.file_port = (s.server_address[1] for s in self.servers)
        self.url = "http://127.0.0.1:%d/v1" % self.port
        self.threads = []

    # ---- life ----
    def start(self):
        for target, args in (*((s.serve_forever, (0.05,)) for s in self.servers), (self.keep_time, ())):
            thread = threading.Thread(target=target, args=args, daemon=True)
            thread.start()
            self.threads.append(thread)
        return self

    def keep_time(self):
        while not self.stopping.wait(0.02):
            self.world.tick()

    def stop(self):
        self.stopping.set()
        for server in self.servers:
            server.shutdown()
            server.server_close()
        for thread in self.threads:
            thread.join(10)
        with self.world.lock:
            for run in self.world.runs:
                run.halt()
                run.sweep()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- for the handlers ----
    def owner(self, header):
        kind, _, value = header.partition(" ")
        try:
            name, _, key = base64.b64decode(value, validate=True).decode().partition(":") if kind == "Basic" else ("", "", "")
        except ValueError:
            return None
        for account in list(self.world.accounts.values()):
            if kind == "Bearer" and value in account.tokens:
                return account
            if kind == "Basic" and account.key is not None and name == account.username and secrets.compare_digest(key.encode(), account.key.encode()):
                return account
        return None

    def note(self, call, headers):
        if not headers.get("User-Agent"):
            self.violations.append("%s without User-Agent" % call.method)
        with self.lock:
            self.calls.append(call)
            if call.at < self.held.get(call.owner, 0):
                self.violations.append("%s by %s before Retry-After had passed" % (call.method, call.owner))

    def hold(self, owner, seconds):
        with self.lock:
            self.held[owner] = time.monotonic() + seconds - 0.05

    def faulty(self, method, owner):
        with self.lock:
            return next((f for f in self.faults if f.takes(method, owner)), None)

    def sign(self, name, content):
        path = "/signed/%s/%s?Expires=%d&Signature=%s" % (secrets.token_hex(8), urllib.parse.quote(name.rsplit("/", 1)[-1]),
                                                          time.time() + 600, secrets.token_urlsafe(12))
        self.signed[path] = content
        return "http://127.0.0.1:%d%s" % (self.file_port, path)

    # ---- for tests ----
    def account(self, username, key=None, tokens=(), **switches):
        account = self.world.accounts[username] = kernels.Account(username, key, tokens)
        for name, value in switches.items():
            if not hasattr(account, name):
                raise AttributeError(name)
            setattr(account, name, value)
        return account

    def fault(self, method, kind, times=1, owner=None, after=0, **options):
        """The next `times` calls of method ("*": any; "file": a signed address), after `after` good ones, go wrong."""
        fault = Fault(method, kind, times, owner, after, options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def clear(self, owner=None):
        """Takes back the faults of one owner, or all."""
        with self.lock:
            self.faults = [f for f in self.faults if owner not in (None, f.owner)]

    def count(self, method=None, owner=None, since=0.0):
        with self.lock:
            return sum(1 for c in self.calls if method in (None, c.method) and owner in (None, c.owner) and c.at >= since)

    def runs(self, owner=None, live=None):
        with self.world.lock:
            return [r for r in self.world.runs if owner in (None, r.owner) and live in (None, r.live)]

    def foreign(self, owner, title, text="print('mine')\n", live=False):
        """A kernel that its owner made by hand."""
        fields = {"slug": "%s/%s" % (owner, kernels.slug_of(title)), "newTitle": title, "text": text, "language": "python",
                  "kernelType": "script", "isPrivate": True, "kernelExecutionType": "SAVE_AND_RUN_ALL" if live else "QUICK_SAVE"}
        with self.world.lock:
            answer = self.world.save(self.world.accounts[owner], fields)
            assert not answer.get("error"), answer
            kernel = self.world.kernels[(owner, kernels.slug_of(title))]
            kernel.lag = 0
            return kernel

    def blameless(self):
        """Nothing happened that no well-behaved client does."""
        with self.world.lock:
            public = ["public: " + k.slug for k in self.world.kernels.values() if not k.versions[-1].fields.get("isPrivate")]
            twice = ["started twice: " + line for line in self.world.twice()]
            wrong = self.violations + public + twice + ["pushed while live: %s/%s v%d" % o for o in self.world.overlaps]
        assert not wrong, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--account", action="append", default=[], metavar="NAME:KEY")
    parser.add_argument("--token", action="append", default=[], metavar="NAME:TOKEN")
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with KaggleStandIn(options.port) as standin:
        for pair in options.account:
            standin.account(*pair.split(":", 1))
        for pair in options.token:
            name, token = pair.split(":", 1)
            (standin.world.accounts.get(name) or standin.account(name)).tokens.append(token)
        print(standin.url, flush=True)
        try:
            while True:
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
