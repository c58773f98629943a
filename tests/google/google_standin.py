#!/usr/bin/python3
"""A strict stand-in of Google: one server, whose parts are mounted by the first segment of the path.

    google_standin.py [--port N]       prints the settings that aim gpupool at it, and serves until Ctrl-C

In tests:

    with GoogleStandIn() as google:
        … **google.settings() …                        GPUPOOL_GOOGLE_OAUTH_URL and its like
        google.oauth.service_account("robot@p.iam…")   each part is an attribute: oauth, vertex, gcs, drive, …
        google.fault("vertex.create", "reset_after")
        google.count("vertex.create")
        google.clock.advance(3600)
        google.blameless()

A part is a class like those in oauth.py: `name` (the first segment of its paths and the attribute), `settings` (which
GPUPOOL_… settings are its address), `operation(request)` (a word for the log and for faults, "vertex.create") and
`handle(request)`, which returns an Answer (or a dict: a 200) or raises Refusal.  `tick(now)` and `close()` where it has
them.  To take the connection over (a WebSocket), return a Takeover.  It is listed in PARTS below.

`calls` is what was asked, when and by whom; `violations` what no well-behaved client does: a test ends with blameless().

Kinds of fault, each `times` times (None: until cleared), those marked (*) after the true effect:
    a number: that status with Google's words for it, or error={…} (retry_after=seconds, effect=True: *),
    html *, empty *, truncated *, drip * (seconds a byte), reset_before, reset_after *, hang (until stopped)
and "shape" (change=function of the true answer's document, which it may alter).
"""
import argparse
import http.server
import importlib
import json
import os
import re
import secrets
import socket
import struct
import sys
import threading
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
for path in (HERE, os.path.join(os.path.dirname(HERE), "kaggle")):
    if path not in sys.path:
        sys.path.insert(0, path)

# Module and class of each part; one whose module is not there yet is left out.
PARTS = [("oauth", "OAuth"), ("vertex", "Vertex"), ("gcs", "Storage"), ("drive", "Drive"), ("colab_api", "ColabApi"), ("colab_api", "Tunnel"), ("jupyter", "Jupyter")]

STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 409: "ALREADY_EXISTS",
          412: "FAILED_PRECONDITION", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 502: "UNAVAILABLE", 503: "UNAVAILABLE", 504: "DEADLINE_EXCEEDED"}
HTML = b"<!DOCTYPE html>\n<html lang=en><title>Error 502 (Server Error)!!1</title><p>That\xe2\x80\x99s all we know.\n"


class Refusal(Exception):
    """An error as Google's interfaces say it.  reason and metadata make an ErrorInfo."""

    def __init__(self, status, message="", code=None, reason=None, metadata=None, body=None, headers=()):
        super().__init__(message)
        self.status, self.headers = status, list(headers)
        error = {"code": status, "message": message or STATUS.get(status, "error"), "status": code or STATUS.get(status, "UNKNOWN")}
        if reason:
            error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "googleapis.com",
                                 "metadata": metadata or {}}]
        self.body = {"error": error} if body is None else body


class Answer:
    def __init__(self, body=b"", status=200, type=None, headers=()):
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.status, self.headers = status, list(headers)
        self.type = type or ("application/json; charset=UTF-8" if not isinstance(body, bytes) else "application/octet-stream")


class Takeover:
    """run(handler) has the connection: handler.rfile, handler.wfile, handler.connection."""

    def __init__(self, run):
        self.run = run


class Request:
    def __init__(self, method, path, query, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.principal = None
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query))
        self.query = dict(pairs)
        self.pairs = pairs      # as they were sent: a few may be repeated
        if len(self.query) != len(pairs) and {k for k, _ in pairs if [n for n, _ in pairs].count(k) > 1} != {"permissions"}:
            raise Refusal(400, "A parameter is given twice")

    def json(self):
        """The body, which must be a JSON object without a member twice."""
        if self.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
            raise Refusal(400, "Content-Type must be application/json")
        def once(pairs):
            if len(dict(pairs)) != len(pairs):
                raise ValueError("a member twice")
            return dict(pairs)
        try:
            value = json.loads(self.body.decode(), object_pairs_hook=once)
        except ValueError as e:
            raise Refusal(400, "Invalid JSON payload received. %s" % e)
        if not isinstance(value, dict):
            raise Refusal(400, "The body must be an object")
        return value

    def form(self):
        if self.headers.get("Content-Type", "").split(";")[0].strip() != "application/x-www-form-urlencoded":
            raise Refusal(400, body={"error": "invalid_request", "error_description": "Content-Type must be application/x-www-form-urlencoded"})
        pairs = urllib.parse.parse_qsl(self.body.decode(), keep_blank_values=True, strict_parsing=True)
        if len(dict(pairs)) != len(pairs):
            raise Refusal(400, body={"error": "invalid_request", "error_description": "a parameter twice"})
        return dict(pairs)

    def only(self, *names):
        """Refuses query parameters other than these."""
        for name in self.query:
            if name not in names:
                raise Refusal(400, "Invalid JSON payload received. Unknown name \"%s\": Cannot bind query parameter." % name)


def checked(value, fields, where=""):
    """Refuses members that `fields` does not name, and values that its functions do not take; a dict there goes deeper."""
    if not isinstance(value, dict):
        raise Refusal(400, "Invalid value at '%s'" % where)
    for name, member in value.items():
        at = where + "." + name if where else name
        if name not in fields:
            raise Refusal(400, "Invalid JSON payload received. Unknown name \"%s\" at '%s': Cannot find field." % (name, where))
        if isinstance(fields[name], dict):
            checked(member, fields[name], at)
        elif not fields[name](member):
            raise Refusal(400, "Invalid value at '%s'" % at)
    return value


class Clock:
    """Wall time, which tests may move on."""

    def __init__(self):
        self.ahead = 0.0

    def now(self):
        return time.time() + self.ahead

    def advance(self, seconds):
        self.ahead += seconds

    def iso(self, at=None):
        at = self.now() if at is None else at
        return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(at)) + ".%06dZ" % (at % 1 * 1e6)


class Call:
    def __init__(self, operation, request):
        self.operation, self.at, self.principal, self.status = operation, time.monotonic(), None, None
        self.method, self.path, self.query = request.method, request.path, request.query
        self.request = request

    def __repr__(self):
        return "<%s %s %s>" % (self.operation, self.principal, self.status)


class Fault:
    def __init__(self, operation, kind, times, after, where, options):
        self.operation, self.kind, self.left, self.after, self.where = operation, kind, times, after, where
        self.options, self.met = options, 0

    def takes(self, operation, path):
        if self.left == 0 or (self.where and self.where not in path) or not (self.operation in (operation, "*") or operation.startswith(self.operation + ".")):
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.met += 1
        if self.left is not None:
            self.left -= 1
        return True

    @property
    def effect(self):
        return self.kind in ("html", "empty", "truncated", "drip", "reset_after", "shape") or bool(self.options.get("effect"))


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 60
    google = None

    def log_message(self, *_):
        pass

    def send(self, answer, head=False, drip=0):
        self.send_response(answer.status)
        self.send_header("Content-Type", answer.type)
        self.send_header("Content-Length", str(len(answer.body)))
        for name, value in answer.headers:
            self.send_header(name, value)
        self.end_headers()
        if drip:
            for i in range(len(answer.body)):
                self.wfile.write(answer.body[i:i + 1])
                self.wfile.flush()
                if self.google.stopping.wait(drip):
                    break
        else:
            self.wfile.write(answer.body)

    def reset(self):
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
        self.close_connection = True

    def body(self):
        length = self.headers.get("Content-Length")
        if self.headers.get("Transfer-Encoding"):
            raise Refusal(411, "Length Required")
        if length is None:
            if self.command in ("POST", "PUT", "PATCH"):
                raise Refusal(411, "Length Required")
            return b""
        return self.rfile.read(int(length))

    def serve(self):
        google = self.google
        path, _, query = self.path.partition("?")
        answer = call = fault = None
        try:
            body = self.body()
            name, _, rest = path.lstrip("/").partition("/")
            part = google.parts.get(name)
            if part is None:
                raise Refusal(404, "No such host: %s" % name)
            request = Request(self.command, "/" + rest, query, self.headers, body)
            call = Call(part.operation(request), request)
            google.note(call)
            fault = google.faulty(call.operation, request.path)
            if fault and not fault.effect:
                return self.misbehave(fault, call, None)
            answer = part.handle(request)
            if isinstance(answer, Takeover):
                call.status, call.principal = 101, request.principal
                self.close_connection = True
                return answer.run(self)
            if not isinstance(answer, Answer):
                answer = Answer(answer)
        except Refusal as refusal:
            answer = Answer(refusal.body, refusal.status, headers=refusal.headers)
        except ValueError as e:
            answer = Answer(Refusal(400, str(e)).body, 400)
        if call:
            call.status, call.principal = answer.status, call.request.principal
        if fault:
            return self.misbehave(fault, call, answer)
        self.send(answer)

    def misbehave(self, fault, call, answer):
        kind, options = fault.kind, fault.options
        call.status = "%s %s" % (kind, answer.status if answer else "")
        if kind == "html":
            self.send(Answer(HTML, options.get("status", 200), "text/html; charset=UTF-8"))
        elif kind == "empty":
            self.send(Answer(b"", answer.status))
        elif kind == "truncated":
            self.send(Answer(answer.body[:max(1, len(answer.body) // 2)], answer.status, answer.type))
        elif kind == "drip":
            self.send(answer, drip=options.get("seconds", 0.05))
        elif kind == "shape":
            document = json.loads(answer.body)
            changed = options["change"](document)
            self.send(Answer(document if changed is None else changed, answer.status, headers=answer.headers))
        elif kind == "hang":
            self.google.stopping.wait(options.get("seconds", 3600))
            self.reset()
        elif kind in ("reset_before", "reset_after"):
            self.reset()
        else:
            refusal = Refusal(int(kind), options.get("message", ""), options.get("code"), options.get("reason"), options.get("metadata"))
            after = options.get("retry_after")
            self.send(Answer(options.get("error", refusal.body), int(kind), headers=[("Retry-After", str(after))] if after is not None else []))

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = serve


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        if not isinstance(sys.exc_info()[1], (ConnectionError, TimeoutError, BrokenPipeError)):
            super().handle_error(*_)
            self.google.violations.append("the stand-in itself failed: %r" % sys.exc_info()[1])


class GoogleStandIn:
    def __init__(self, port=0):
        self.clock, self.stopping, self.lock = Clock(), threading.Event(), threading.RLock()
        self.calls, self.violations, self.faults = [], [], []
        self.server = Server(("127.0.0.1", port), type("Handler", (Handler,), {"google": self}))
        self.server.google = self
        self.port = self.server.server_address[1]
        self.parts, self.threads = {}, []
        for module, name in PARTS:
            if os.path.exists(os.path.join(HERE, module + ".py")):
                part = getattr(importlib.import_module(module), name)(self)
                self.parts[part.name] = part
                setattr(self, part.name, part)

    def url(self, name):
        return "http://127.0.0.1:%d/%s" % (self.port, name)

    def settings(self):
        return {setting: self.url(part.name) for part in self.parts.values() for setting in part.settings}

    # ---- life ----
    def start(self):
        for target, args in ((self.server.serve_forever, (0.05,)), (self.keep_time, ())):
            thread = threading.Thread(target=target, args=args, daemon=True)
            thread.start()
            self.threads.append(thread)
        return self

    def keep_time(self):
        while not self.stopping.wait(0.02):
            self.tick()

    def tick(self):
        for part in self.parts.values():
            if hasattr(part, "tick"):
                part.tick(self.clock.now())

    def stop(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()
        for thread in self.threads:
            thread.join(10)
        for part in self.parts.values():
            if hasattr(part, "close"):
                part.close()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.stop()

    # ---- for the handlers ----
    def note(self, call):
        if not call.request.headers.get("User-Agent"):
            self.violations.append("%s without User-Agent" % call.operation)
        for name in call.query:
            if re.search("token|key|secret|password", name) and name not in ("pageToken", "access_token", "colab-runtime-proxy-token"):
                self.violations.append("%s has %s in its address" % (call.operation, name))
        with self.lock:
            self.calls.append(call)

    def faulty(self, operation, path):
        with self.lock:
            return next((f for f in self.faults if f.takes(operation, path)), None)

    def authorize(self, request, *scopes):
        """Who asks, by a bearer token that is good now and has one of the scopes; 401 or 403 otherwise."""
        return self.oauth.authorize(request, scopes)

    # ---- for tests ----
    def fault(self, operation, kind, times=1, after=0, where=None, **options):
        """The next `times` calls of an operation ("*": any; "vertex": all of it), after `after` good ones, go wrong; where:
        only those whose path holds this, such as one project's."""
        fault = Fault(operation, kind, times, after, where, options)
        with self.lock:
            self.faults.append(fault)
        return fault

    def clear(self, where=None):
        with self.lock:
            self.faults = [f for f in self.faults if where not in (None, f.where)]

    def count(self, operation=None, since=0.0, where=None):
        with self.lock:
            return sum(1 for c in self.calls if c.at >= since and (where is None or where in c.path) and (operation is None or c.operation == operation or c.operation.startswith(operation + ".")))

    def blameless(self):
        """Nothing happened that no well-behaved client does."""
        with self.lock:
            wrong = list(self.violations)
            for part in self.parts.values():
                wrong += part.blames() if hasattr(part, "blames") else []
        assert not wrong, wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--port", type=int, default=0)
    options = parser.parse_args()
    with GoogleStandIn(options.port) as google:
        for name, value in sorted(google.settings().items()):
            print("%s=%s" % (name, value), flush=True)
        try:
            while True:
                time.sleep(0.1)
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    sys.modules["google_standin"] = sys.modules["__main__"]     # the parts import it by its name
    main()
