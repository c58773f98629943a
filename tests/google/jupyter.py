"""The machine of a runtime: Jupyter's interface as far as it is asked, over a kernel that really runs the code.

Every message that the server sends goes in fragments, with pings between.
"""
import base64
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import uuid

import websocket
from google_standin import HERE, Refusal, Takeover, checked
from kernels import SMI

PIECES = 3


class Machine:
    """Its directory, and the kernel in a box (tests/kaggle/box.py) that ends whatever descends from it."""

    def __init__(self, runtime):
        self.runtime, self.sessions, self.kernels = runtime, {}, {}
        self.directory = tempfile.mkdtemp(prefix="colab-machine-")
        for name in ("content", "bin", "tmp", "root"):
            os.makedirs(os.path.join(self.directory, name))
        os.chmod(self.directory, 0o755)
        os.chmod(self.directory + "/tmp", 0o1777)
        self.box, self.lock, self.waiting = None, threading.Lock(), {}
        if runtime.gpus:
            with open(self.directory + "/bin/nvidia-smi", "w") as file:
                file.write(SMI % "".join("gpu %d '%s' %d\n" % (i, *gpu) for i, gpu in enumerate(runtime.gpus)))
        else:
            with open(self.directory + "/bin/nvidia-smi", "w") as file:
                file.write("#!/bin/sh\nexit 9\n")
        os.chmod(self.directory + "/bin/nvidia-smi", 0o755)

    def kernel(self):
        """Starts the one kernel that all sessions here share."""
        with self.lock:
            if self.box is None:
                env = {"PATH": self.directory + "/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": self.directory + "/root",
                       "TMPDIR": self.directory + "/tmp", "PYTHONDONTWRITEBYTECODE": "1", **self.runtime.person.environment}
                box = os.path.join(os.path.dirname(HERE), "kaggle", "box.py")
                self.pipe, far = os.pipe()
                out, self.out = os.pipe()
                self.box = subprocess.Popen([sys.executable, "-I", "-S", box, "/usr/bin/python3", os.path.join(HERE, "kernel.py"), str(self.pipe), str(self.out)],
                                            env=env, cwd=self.directory + "/content", stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                            stderr=subprocess.DEVNULL, pass_fds=(self.pipe, self.out), start_new_session=True)
                os.close(self.pipe)
                os.close(self.out)
                self.to, self.come = os.fdopen(far, "wb"), os.fdopen(out, "rb")
                threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        for line in self.come:
            event = json.loads(line)
            take = self.waiting.get(event.pop("id"))
            if take:
                take(event)

    def execute(self, id, code, take):
        self.waiting[id] = take
        with self.lock:
            self.to.write(json.dumps({"id": id, "code": code}).encode() + b"\n")
            self.to.flush()

    def halt(self):
        with self.lock:
            if self.box:
                self.box.terminate()
                self.box.wait(20)
                self.box.stdin.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class Jupyter:
    name = "jupyter"
    settings = ()
    PATH = re.compile(r"/([a-z0-9-]+)(/api/.*)")

    def __init__(self, google):
        self.google = google
        self.executed = []              # (runtime, code)
        self.abrupt = None              # how the channels end: "before" or "after" the code is run
        self.abrupt_left = 0
        self.drive = False              # the kernel asks for the person's Drive first
        self.declined = []
        self.error = 0                  # so many executions end with an exception instead

    # ---- machines ----
    def begin(self, runtime):
        runtime.machine = Machine(runtime)

    def halt(self, runtime):
        if runtime.machine:
            runtime.machine.halt()

    # ---- routes ----
    def operation(self, request):
        match = self.PATH.fullmatch(request.path)
        path = match[2] if match else ""
        if path == "/api/sessions":
            return "jupyter.session"
        if path == "/api/colab/resources":
            return "jupyter.resources"
        if path.startswith("/api/contents/"):
            return "jupyter.contents"
        return "jupyter.channels" if re.fullmatch("/api/kernels/[^/]+/channels", path) else "jupyter.unknown"

    def handle(self, request):
        match = self.PATH.fullmatch(request.path)
        runtime = self.google.tunnel.endpoints.get(match[1]) if match else None
        if runtime is None:
            raise Refusal(404, "Not Found")
        until = runtime.tokens.get(request.headers.get("X-Colab-Runtime-Proxy-Token", ""))
        if until is None:
            raise Refusal(401, "Unauthorized")
        if until <= self.google.clock.now():
            raise Refusal(403, "Forbidden")
        if request.headers.get("X-Colab-Client-Agent") != "gpupool":
            self.google.violations.append("X-Colab-Client-Agent is %r" % request.headers.get("X-Colab-Client-Agent"))
        if request.headers.get("Authorization"):
            self.google.violations.append("Google's token was sent to a runtime")
        request.principal = runtime.person.name
        kind = self.operation(request).split(".")[1]
        return getattr(self, "do_" + kind)(request, runtime, match[2])

    def do_unknown(self, request, runtime, path):
        raise Refusal(404, "Not Found")

    def do_session(self, request, runtime, path):
        if request.method != "POST":
            raise Refusal(405, "Method Not Allowed")
        text = lambda v: isinstance(v, str) and v
        body = checked(request.json(), {"name": text, "path": text, "type": lambda v: v == "notebook", "kernel": {"name": lambda v: v == "python3"}})
        if set(body) != {"name", "path", "type", "kernel"}:
            raise Refusal(400, "missing fields")
        runtime.machine.kernel()
        session = runtime.machine.sessions.setdefault(body["path"], {"id": str(uuid.uuid4()), "kernel": str(uuid.uuid4())})
        runtime.machine.kernels[session["kernel"]] = session
        return {"id": session["id"], "path": body["path"], "name": body["name"], "type": "notebook",
                "kernel": {"id": session["kernel"], "name": "python3", "execution_state": "starting", "last_activity": self.google.clock.iso(), "connections": 0}}

    def do_resources(self, request, runtime, path):
        request.only()
        return {"memory": {"totalBytes": 13 << 30, "freeBytes": 12 << 30}, "disks": [],
                "gpus": [{"name": name, "memoryUsedBytes": 0, "memoryTotalBytes": m << 20, "gpuUtilization": 0, "memoryUtilization": 0, "everUsed": False}
                         for name, m in runtime.gpus]}

    def do_contents(self, request, runtime, path):
        request.only("content", "type", "format")
        name = path[len("/api/contents/"):]
        if request.method != "GET" or not re.fullmatch(r"content/[A-Za-z0-9._-]+", name) or ".." in name:
            raise Refusal(404, "No such file or directory")
        try:
            with open(os.path.join(runtime.machine.directory, name), "rb") as file:
                data = file.read()
        except OSError:
            raise Refusal(404, "No such file or directory: " + name) from None
        answer = {"name": os.path.basename(name), "path": name, "type": "file", "size": len(data), "format": None, "content": None, "writable": True}
        if request.query.get("content", "1") == "1":
            answer.update(format="base64", content=base64.encodebytes(data).decode())
        return answer

    # ---- the channels ----
    def do_channels(self, request, runtime, path):
        wrong = websocket.refusal(request.headers)
        if wrong:
            raise Refusal(400, wrong)
        if str(uuid.UUID(request.query.get("session_id", ""))) != request.query["session_id"]:
            raise Refusal(400, "session_id")
        kernel = path.split("/")[3]
        if kernel not in runtime.machine.kernels:
            raise Refusal(404, "Kernel does not exist: " + kernel)
        return Takeover(lambda handler: self.channels(handler, request, runtime))

    def channels(self, handler, request, runtime):
        handler.connection.sendall(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n"
                                    % websocket.accept_key(request.headers["Sec-WebSocket-Key"])).encode())
        c = websocket.Connection(handler.connection, handler.rfile)
        c.send(json.dumps(self.message("status", {}, "iopub", {"execution_state": "starting"})))    # of nobody's request
        try:
            while True:
                self.talk(c, handler, runtime, json.loads(c.receive()[1]))
        except (websocket.Gone, OSError):
            pass
        except (websocket.Broken, ValueError) as e:
            self.google.violations.append("channels: %r" % e)

    def message(self, kind, parent, channel, content, **metadata):
        return {"header": {"msg_id": str(uuid.uuid4()), "msg_type": kind, "session": "kernel", "username": "", "date": self.google.clock.iso(), "version": "5.3"},
                "parent_header": parent, "metadata": metadata, "content": content, "channel": channel, "buffers": []}

    def talk(self, c, handler, runtime, m):
        checked(m, {"header": lambda v: isinstance(v, dict), "parent_header": lambda v: v == {}, "metadata": lambda v: v == {}, "channel": lambda v: v == "shell",
                    "content": lambda v: isinstance(v, dict), "buffers": lambda v: v == []})
        header, content = m["header"], m["content"]
        if set(header) != {"msg_id", "msg_type", "session", "username", "date", "version"} or header["msg_type"] != "execute_request":
            raise ValueError("header %r" % header)
        if set(content) != {"code", "silent", "store_history", "user_expressions", "allow_stdin", "stop_on_error"}:
            raise ValueError("content %r" % sorted(content))
        if self.abrupt and self.abrupt_left > 0 and self.abrupt == "before":
            self.abrupt_left -= 1
            handler.reset()
            raise websocket.Gone()
        send = lambda *message, **more: c.send(json.dumps(self.message(message[0], header, *message[1:], **more)), PIECES)
        send("status", "iopub", {"execution_state": "busy"})
        if self.drive:
            self.ask(c, send)
        runtime.active_at = self.google.clock.now()
        self.executed.append((runtime, content["code"]))
        code, events, over = content["code"], [], threading.Event()
        if self.error > 0:
            self.error -= 1
            code = "raise OSError('no space left')"
        def take(event):
            events.append(event)
            if "status" in event:
                over.set()
        runtime.machine.execute(header["msg_id"], code, take)
        if not over.wait(60):
            raise OSError("the kernel does not end")
        if self.abrupt and self.abrupt_left > 0:
            self.abrupt_left -= 1
            handler.reset()
            raise websocket.Gone()
        for event in events:
            if "stream" in event:
                send("stream", "iopub", {"name": "stdout", "text": event["stream"]})
            elif event["status"] == "error":
                bare = {k: event[k] for k in ("ename", "evalue", "traceback")}
                send("error", "iopub", bare)
                send("execute_reply", "shell", {"status": "error", "execution_count": 1, **bare})
            else:
                send("execute_reply", "shell", {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []})
        send("status", "iopub", {"execution_state": "idle"})

    def ask(self, c, send):
        """A colab_request, and the reply that it must have."""
        id = str(uuid.uuid4())
        send("colab_request", "stdin", {"request": {"authType": "dfs_ephemeral"}}, colab_msg_id=id)
        reply = json.loads(c.receive()[1])
        value = reply["content"]["value"]
        if reply["channel"] != "stdin" or reply["header"]["msg_type"] != "input_reply" or value.get("type") != "colab_reply" or value.get("colab_msg_id") != id:
            raise ValueError("reply %r" % reply)
        self.declined.append(value.get("error"))
