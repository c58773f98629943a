"""A small Colab for tests: pages with the custom elements, open shadow roots, dialogs and menus of the real one, a sign-in
page on another port, outputs on a third, and runtimes that really run the notebook's cells.

    minicolab.py      prints the address of Colab and of the sign-in page, and serves until its input closes

In Python: `with MiniColab() as colab: …`; switches are attributes, what happened is in `events`.  Over HTTP the same are
POST /_test (a JSON object of switches) and GET /_test.
"""
import argparse
import html
import http.server
import json
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
from pathlib import Path

HERE = Path(__file__).resolve().parent
BOX = HERE.parents[1] / "kaggle" / "box.py"
COOKIE = "MINISID"
sys.path.insert(0, str(BOX.parent))
from kernels import SMI  # noqa: E402

SWITCHES = {
    "dialog": None,             # what connecting ends in: quota units too_many denylisted recaptcha
    "warn": False,              # running asks: not authored by Google
    "connect_seconds": 0.3,
    "stuck": False,             # connecting never ends
    "entitled": ["NONE", "T4", "V5E1"],
    "preset": True,             # a notebook's metadata choose its accelerator
    "wall": False,              # running asks for a sign-in although the header shows an account
    "challenge": None,          # what a sign-in ends in: rejected 2fa captcha
    "upload_fails": False,
}


def cells_of(notebook):
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "code"]


def checked(raw):
    """A notebook as Colab takes it: ValueError says what is wrong."""
    notebook = json.loads(raw)
    if notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise ValueError("not a notebook of format 4")
    for cell in notebook["cells"]:
        if cell.get("cell_type") not in ("code", "markdown") or not isinstance(cell.get("metadata"), dict):
            raise ValueError("a cell is not as it must be")
        if cell["cell_type"] == "code" and ("outputs" not in cell or "execution_count" not in cell):
            raise ValueError("a code cell lacks outputs or execution_count")
    return notebook


class Runtime:
    """One machine: runs the cells of its notebook one after the other."""

    def __init__(self, notebook, accelerator):
        self.notebook, self.accelerator = notebook, accelerator
        self.directory = Path(tempfile.mkdtemp(prefix="minicolab-"))
        self.directory.chmod(0o711)         # jobs there are of other users
        self.box, self.dead = None, False
        self.cells = ["idle"] * len(cells_of(notebook.content))
        self.begun = time.monotonic()

    def run_all(self):
        threading.Thread(target=self.work, daemon=True).start()

    def environment(self):
        tools = self.directory / "bin"
        tools.mkdir(exist_ok=True)
        if self.accelerator not in ("NONE", "V5E1", "V6E1"):
            smi = tools / "nvidia-smi"
            name, memory = ("Tesla T4", 15360) if self.accelerator == "T4" else ("NVIDIA " + self.accelerator, 40960)
            smi.write_text(SMI % ("gpu 0 '%s' %d\n" % (name, memory)))
            smi.chmod(0o755)
        (self.directory / "tmp").mkdir(exist_ok=True)
        (self.directory / "tmp").chmod(0o1777)
        return {"PATH": "%s:/usr/bin:/bin" % tools, "HOME": str(self.directory), "TMPDIR": str(self.directory / "tmp"),
                "LANG": "C.UTF-8", "COLAB_RELEASE_TAG": "minicolab"}

    def work(self):
        self.cells = ["pending"] * len(self.cells)
        for i, source in enumerate(cells_of(self.notebook.content)):
            if self.dead:
                return
            path = self.directory / ("cell-%d.py" % i)
            path.write_text(source)
            self.cells[i] = "running"
            with open(self.directory / "output", "ab") as out:
                self.box = subprocess.Popen([sys.executable, str(BOX), sys.executable, "-u", str(path)], stdin=subprocess.PIPE, stdout=out,
                                            stderr=subprocess.STDOUT, cwd=self.directory, env=self.environment(), start_new_session=True)
            status = self.box.wait()
            self.cells[i] = "done" if status == 0 else "error"
            if status:
                self.cells = [c if c != "pending" else "idle" for c in self.cells]
                return

    def output(self):
        try:
            return (self.directory / "output").read_text(errors="replace")
        except OSError:
            return ""

    def kill(self):
        self.dead = True
        if self.box and self.box.poll() is None:
            self.box.terminate()
            self.box.wait(20)
        shutil.rmtree(self.directory, ignore_errors=True)


class Notebook:
    def __init__(self, id, owner, name, content):
        self.id, self.owner, self.name, self.content = id, owner, name, content
        self.runtime = None
        self.state = "disconnected"         # connecting connected reconnect
        self.dialog = None
        self.until = 0
        meta = content.get("metadata", {})
        self.accelerator = meta.get("colab", {}).get("gpuType") or ("T4" if meta.get("accelerator") == "GPU" else "NONE")


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, address):
        if not isinstance(sys.exc_info()[1], ConnectionError):    # a browser that is killed hangs up
            super().handle_error(request, address)


class MiniColab:
    def __init__(self):
        self.lock = threading.RLock()
        self.users = {}                     # email → password
        self.signed_in = {}                 # cookie → email
        self.notebooks = {}
        self.events = []                    # (what, …)
        self.user("alice@example.com", "correct horse battery")
        for name, value in SWITCHES.items():
            setattr(self, name, value)

    # ---- for tests ----
    def user(self, email, password):
        self.users[email] = password

    def reset(self):
        for name, value in SWITCHES.items():
            setattr(self, name, value)

    def set(self, notebook, dialog):
        """Something happens to a running notebook: idle, recaptcha, denylisted …"""
        with self.lock:
            notebook.dialog = dialog
            if dialog in ("idle", "denylisted"):
                self.drop(notebook, "reconnect")

    def drop(self, n, state):
        if n.runtime:
            n.runtime.kill()
        n.runtime, n.state = None, state

    def count(self, what):
        return sum(1 for e in self.events if e[0] == what)

    def live(self):
        return [n for n in self.notebooks.values() if n.runtime]

    # ---- its life ----
    def __enter__(self):
        def serve(handler):
            server = Server(("127.0.0.1", 0), handler)
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
            return server
        bound = lambda cls: type(cls.__name__, (cls,), {"colab": self})
        self.servers = [serve(bound(Pages)), serve(bound(Accounts)), serve(bound(Outputs))]
        self.url, self.accounts_url, self.outputs_url = ["http://127.0.0.1:%d" % s.server_address[1] for s in self.servers]
        return self

    def __exit__(self, *_):
        for s in self.servers:
            s.shutdown()
            s.server_close()
        with self.lock:
            for n in self.notebooks.values():
                self.drop(n, "disconnected")

    # ---- what the pages do ----
    def upload(self, owner, name, raw):
        content = checked(raw)
        n = Notebook(secrets.token_hex(16), owner, name, content)
        if not self.preset:
            n.accelerator = "NONE"
        with self.lock:
            self.notebooks[n.id] = n
            self.events.append(("upload", owner, name))
        return n

    def run(self, n):
        with self.lock:
            self.events.append(("run", n.id, n.accelerator))
            if n.state == "connected":
                n.runtime.run_all()
                return
            n.state, n.until, n.dialog = "connecting", time.monotonic() + self.connect_seconds, None

    def tick(self, n):
        with self.lock:
            if n.state != "connecting" or time.monotonic() < n.until or self.stuck:
                return
            if self.dialog:
                n.state, n.dialog = "disconnected", self.dialog
                self.events.append(("dialog", self.dialog))
                return
            n.state, n.runtime = "connected", Runtime(n, n.accelerator)
            self.events.append(("connected", n.id, n.accelerator))
            n.runtime.run_all()

    def shown(self, n):
        self.tick(n)
        return {"state": n.state, "dialog": n.dialog, "accelerator": n.accelerator, "cells": n.runtime.cells if n.runtime else
                ["idle"] * len(cells_of(n.content)), "entitled": self.entitled, "warn": self.warn, "wall": self.wall,
                "sources": [c[:2000] for c in cells_of(n.content)], "name": n.name}


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    colab = None

    def log_message(self, *_):
        pass

    def email(self):
        for part in self.headers.get("Cookie", "").split(";"):
            key, _, value = part.strip().partition("=")
            if key == COOKIE:
                return self.colab.signed_in.get(value)
        return None

    def send(self, status, body, kind="text/html; charset=utf-8", **headers):
        if not isinstance(body, (bytes, str)):
            body, kind = json.dumps(body), "application/json"
        body = body.encode() if isinstance(body, str) else body
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", "no-store")
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def redirect(self, where, **headers):
        self.send(302, "", Location=where, **headers)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))


class Pages(Handler):
    def app(self, notebook=None):
        text = (HERE / "page.html").read_text()
        told = {"account": self.email(), "notebook": notebook.id if notebook else None, "accounts": self.colab.accounts_url,
                "outputs": self.colab.outputs_url, "shown": self.colab.shown(notebook) if notebook else None}
        # The real one forbids scripts made of text in the page; nothing here needs them.
        self.send(200, text.replace("@TOLD@", html.escape(json.dumps(told))), Content_Security_Policy="script-src 'self'")

    def mine(self, id):
        n = self.colab.notebooks.get(id)
        return n if n and n.owner == self.email() else None

    def do_GET(self):
        path = urllib.parse.urlsplit(self.path).path
        if path == "/page.js":
            return self.send(200, (HERE / "page.js").read_text(), "text/javascript")
        if path == "/_test":
            return self.send(200, {"events": self.colab.events, "live": len(self.colab.live())})
        if path == "/":
            return self.app()
        if path == "/recaptcha/api2/anchor":
            return self.send(200, "<p>I am not a robot")
        found = re.fullmatch(r"/drive/([0-9a-f]{32})", path)
        if found and not self.email():
            return self.redirect(self.colab.accounts_url + "/ServiceLogin?continue=" + urllib.parse.quote(self.colab.url + self.path, ""))
        found = found or re.fullmatch(r"/api/([0-9a-f]{32})/state", path)
        n = self.mine(found.group(1)) if found else None
        if not n:
            return self.send(404, "Notebook not found")
        return self.app(n) if path.startswith("/drive/") else self.send(200, self.colab.shown(n))

    def do_POST(self):
        raw, path = self.body(), urllib.parse.urlsplit(self.path).path
        if path == "/_test":
            for name, value in json.loads(raw).items():
                if name == "user":
                    self.colab.user(*value)
                elif name == "set":
                    for n in self.colab.live():
                        self.colab.set(n, value)
                elif name in SWITCHES:
                    setattr(self.colab, name, value)
                else:
                    return self.send(400, {"error": name})
            return self.send(200, {})
        if not self.email():
            return self.send(401, {"error": "signed out"})
        if path == "/api/upload":
            if self.colab.upload_fails:
                return self.send(500, {"error": "try later"})
            try:
                n = self.colab.upload(self.email(), urllib.parse.unquote(self.headers.get("X-Name", "")), raw)
            except (ValueError, KeyError, TypeError) as e:
                return self.send(400, {"error": str(e)})
            return self.send(200, {"id": n.id})
        found = re.fullmatch(r"/api/([0-9a-f]{32})/(run|accelerator|powerwash|dismiss)", path)
        n = self.mine(found.group(1)) if found else None
        if not n:
            return self.send(404, {"error": "no notebook"})
        return getattr(self, found.group(2))(n, raw)

    def run(self, n, _):
        self.colab.run(n)
        self.send(200, {})

    def accelerator(self, n, raw):
        wanted = json.loads(raw)["accelerator"]
        if wanted not in self.colab.entitled:
            return self.send(400, {"error": "not entitled"})
        n.accelerator = wanted
        self.colab.events.append(("accelerator", n.id, wanted))
        self.send(200, {})

    def powerwash(self, n, _):
        with self.colab.lock:
            self.colab.events.append(("powerwash", n.id))
            self.colab.drop(n, "disconnected")
        self.send(200, {})

    def dismiss(self, n, raw):
        self.colab.events.append(("pressed", json.loads(raw)["button"]))
        n.dialog = None
        self.send(200, {})


class Accounts(Handler):
    def form(self, title, inside, status=200):
        self.send(status, "<!doctype html><title>Sign in</title><h1>%s</h1>%s" % (title, inside))

    def ask(self, what, state, hint=""):
        hidden = "".join('<input type=hidden name="%s" value="%s">' % (k, html.escape(v)) for k, v in state.items())
        email = what == "identifier"
        field = ('<input type=email id=identifierId name=identifier aria-label="Email or phone">' if email else
                 '<input type=password name=Passwd aria-label="Enter your password">')
        captcha = "<img id=captchaimg alt=captcha width=200 height=70>" if self.colab.challenge == "captcha" else ""
        self.form("Sign in" if email else "Welcome", "<form method=post>%s%s<p>%s</p>%s<div id=%s><button>Next</button></div></form>"
                  % (hidden, field, hint, captcha, "identifierNext" if email else "passwordNext"))

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        if url.path == "/ServiceLogin":
            if self.email():
                return self.redirect(query.get("continue", self.colab.url))
            return self.redirect("/v3/signin/identifier?" + url.query)
        if url.path == "/v3/signin/identifier":
            return self.ask("identifier", {"continue": query.get("continue", self.colab.url)})
        if url.path == "/v3/signin/rejected":
            return self.form("Couldn't sign you in", "<p>This browser or app may not be secure. Try using a different browser.</p>")
        if url.path == "/v3/signin/challenge/dp":
            return self.form("2-Step Verification", "<p>Check your phone</p>")
        return self.send(404, "no such page")

    def do_POST(self):
        fields = dict(urllib.parse.parse_qsl(self.body().decode()))
        where = urllib.parse.urlsplit(self.path).path
        email = fields.get("identifier", "")
        if "Passwd" not in fields:
            if email not in self.colab.users:
                return self.ask("identifier", {"continue": fields["continue"]}, "Couldn't find your Google Account")
            if self.colab.challenge == "rejected":
                self.colab.events.append(("rejected",))
                return self.redirect("/v3/signin/rejected")
            return self.ask("pwd", {"continue": fields["continue"], "identifier": email})
        if where.endswith("rejected") or self.colab.users.get(email) != fields["Passwd"]:
            self.colab.events.append(("wrong_password", email))
            return self.ask("pwd", {"continue": fields["continue"], "identifier": email},
                            "Wrong password. Try again or click Forgot password to reset it.")
        if self.colab.challenge == "2fa":
            return self.redirect("/v3/signin/challenge/dp")
        cookie = secrets.token_hex(16)
        self.colab.signed_in[cookie] = email
        self.colab.events.append(("signed_in", email))
        # As on Google's hosts, it is kept over an end of the browser.
        self.redirect(fields["continue"], Set_Cookie="%s=%s; Path=/; HttpOnly; Max-Age=86400" % (COOKIE, cookie))


class Outputs(Handler):
    """Of another origin, as the real ones are."""

    def do_GET(self):
        n = self.colab.notebooks.get(self.path.strip("/"))
        text = n.runtime.output() if n and n.runtime else ""
        self.send(200, "<!doctype html><pre>%s</pre>" % html.escape(text[-20000:]))


def main():
    argparse.ArgumentParser(description=__doc__).parse_args()
    with MiniColab() as colab:
        print(colab.url, colab.accounts_url, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
