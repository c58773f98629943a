"""Fixtures: the command line against a stand-in server that remembers what it was sent."""
import http.server
import json
import os
import subprocess
import threading
import urllib.parse
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("GPUPOOL_BIN", ROOT / "build" / "release"))


class Standin:
    """Answers by (method, path); what nobody set answers 404 as the server would."""

    def __init__(self):
        self.answers = {}
        self.seen = []
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *args):
                pass

            def serve(self):
                path, _, query = self.path.partition("?")
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                call = {"method": self.command, "path": path, "query": dict(urllib.parse.parse_qsl(query)),
                        "headers": {k.lower(): v for k, v in self.headers.items()}, "body": body,
                        "json": json.loads(body) if body else None}
                outer.seen.append(call)
                answer = outer.answers.get((self.command, path), problem(404, "Not Found", "There is no such thing."))
                if callable(answer):
                    answer = answer(call)
                status, kind, content = answer
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PATCH = do_DELETE = do_PUT = serve

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = "http://127.0.0.1:%d" % self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        self.thread.start()

    def on(self, method, path, answer, status=200):
        if not callable(answer) and not isinstance(answer, tuple):
            answer = reply(answer, status)
        self.answers[(method, path)] = answer

    def last(self, method, path):
        return [c for c in self.seen if (c["method"], c["path"]) == (method, path)][-1]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


def reply(document, status=200):
    return status, "application/json", json.dumps(document).encode()


def problem(status, title, detail, errors=()):
    return status, "application/problem+json", json.dumps(
        {"type": "about:blank", "title": title, "status": status, "detail": detail, "errors": list(errors)}).encode()


@pytest.fixture
def server():
    s = Standin()
    yield s
    s.close()


@pytest.fixture
def gp(server, tmp_path):
    """gp("jobs", "list") runs the command line; the result has code, out and err."""
    home = tmp_path / "home"
    home.mkdir()

    def run(*args, token="gpt_secret", stdin="", env=None, code=None, **more):
        clean = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "GPUPOOL_PUBLIC_URL": server.url,
                 "GPUPOOL_STATE": str(tmp_path / "none")}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                clean[name] = os.environ[name]
        if token:
            clean["GPUPOOL_TOKEN"] = token
        clean.update(env or {})
        done = subprocess.run([str(BIN / "gpupool"), *args], input=stdin.encode() if isinstance(stdin, str) else stdin,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean, timeout=60, cwd=tmp_path, **more)
        done.code, done.out, done.err = done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode()
        assert code is None or done.code == code, (done.code, done.out, done.err)
        return done
    run.home = home
    return run
