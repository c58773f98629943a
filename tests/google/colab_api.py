"""Colab's interface v1beta: specs, runtimes, operations; and the tunnel's keep-alive, which is asked beside it.

A runtime has a real machine (jupyter.py).  Switches for tests are in Person: one for each who consented.
"""
import re
import secrets
import uuid

from google_standin import Answer, Refusal, checked

COLABORATORY = "https://www.googleapis.com/auth/colaboratory"
READONLY = COLABORATORY + ".readonly"
ID = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
SPECS = {("VARIANT_CPU", "NONE"): [], ("VARIANT_GPU", "T4"): [("Tesla T4", 15360)], ("VARIANT_GPU", "L4"): [("NVIDIA L4", 23034)],
         ("VARIANT_GPU", "A100"): [("NVIDIA A100-SXM4-40GB", 40960)], ("VARIANT_TPU", "V5E1"): []}
SIZED = {"L4", "V28", "V5E1", "V6E1"}
REFUSALS = {  # switch: what an operation ends with
    "too_many": (9, "TOO_MANY_ACTIVE_RUNTIMES", "You have too many active runtimes."),
    "denylisted": (7, "DENYLISTED", "This account is blocked from Colab runtimes."),
    "quota": (9, "QUOTA_EXCEEDED_USAGE_TIME", "You cannot currently connect to a GPU due to usage limits."),
    "no_machine": (9, "ACCELERATOR_UNAVAILABLE", "No T4 is available."),
    "no_reason": (13, None, "Internal error encountered."),
}


class Person:
    """Whoever consented, by e-mail address."""

    def __init__(self, name):
        self.name = name
        self.enabled = True             # False: the API is off in the project; "allowlist": it is not open to it
        self.eligible = {"NONE", "T4", "V5E1"}
        self.refuse = None              # a key of REFUSALS: how the next creates end; refuse_left of them, None = all
        self.refuse_left = None
        self.polls = 2                  # looks at an operation until it is done
        self.most = 1                   # runtimes at once
        self.grant = None               # GPUs given whatever is asked
        self.token_life = 3600
        self.environment = {}           # of the machine


class Operation:
    def __init__(self, person, runtime_id):
        self.person, self.runtime_id = person, runtime_id
        self.name = "operations/" + secrets.token_hex(12)
        self.left, self.error, self.runtime = person.polls, None, None

    def fail(self, code, reason, message):
        self.error = {"code": code, "message": message}
        if reason:
            self.error["details"] = [{"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": reason, "domain": "colaboratory.googleapis.com",
                                      "metadata": {}}]


class Runtime:
    def __init__(self, person, id, spec):
        self.person, self.id, self.spec = person, id, spec
        self.endpoint = "%s-s-%s" % (spec["accelerator"].lower(), secrets.token_hex(8))
        self.tokens, self.machine = {}, None
        self.made_at = self.active_at = None
        self.ended_at = None
        self.alive = []                 # when it was told that something runs

    @property
    def gpus(self):
        return self.person.grant if self.person.grant is not None else SPECS[self.spec["variant"], self.spec["accelerator"]]


class ColabApi:
    name = "colab_api"
    settings = ("GPUPOOL_COLAB_API_URL",)

    def __init__(self, google):
        self.google, self.persons = google, {}
        self.runtimes, self.requests, self.operations, self.over = {}, {}, {}, []
        self.idle_seconds, self.life_seconds = 5400, 12 * 3600
        self.wrong = []

    # ---- for tests ----
    def person(self, name, **switches):
        with self.google.lock:
            person = self.persons.setdefault(name, Person(name))
        for key, value in switches.items():
            if not hasattr(person, key):
                raise AttributeError(key)
            setattr(person, key, value)
        return person

    def of(self, name):
        """Runtimes of a person that are there."""
        with self.google.lock:
            return [r for (owner, _), r in self.runtimes.items() if owner == name]

    def end(self, runtime):
        """As Colab does by itself."""
        with self.google.lock:
            if self.runtimes.pop((runtime.person.name, runtime.id), None) is None:
                return
            runtime.ended_at = self.google.clock.now()
            self.over.append(runtime)
            self.google.tunnel.endpoints.pop(runtime.endpoint, None)
        self.google.jupyter.halt(runtime)

    def close(self):
        for runtime in list(self.runtimes.values()):
            self.end(runtime)

    def blames(self):
        return self.wrong

    def tick(self, now):
        with self.google.lock:
            late = [r for r in self.runtimes.values() if now - r.active_at > self.idle_seconds or now - r.made_at > self.life_seconds]
        for runtime in late:
            self.end(runtime)

    # ---- routes ----
    def operation(self, request):
        path = request.path
        if path == "/v1beta/runtimespecs":
            return "colab_api.specs"
        if path.startswith("/v1/operations"):
            return "colab_api.wait" if path.endswith(":wait") else "colab_api.operations"
        if path.startswith("/v1beta/runtimes"):
            what = {"POST": "create", "DELETE": "delete"}.get(request.method)
            return "colab_api." + (what or ("list" if path == "/v1beta/runtimes" else "get"))
        return "colab_api.unknown"

    def handle(self, request):
        kind = self.operation(request).split(".")[1]
        reads = kind in ("specs", "operations", "wait", "list", "get")
        self.google.authorize(request, COLABORATORY, *([READONLY] if reads else []))
        person = self.person(request.principal)
        if person.enabled is False:
            raise Refusal(403, "Colab API has not been used in project 1234 before or it is disabled.", reason="SERVICE_DISABLED",
                          metadata={"service": "colaboratory.googleapis.com", "consumer": "projects/1234"})
        if person.enabled == "allowlist":
            raise Refusal(403, "The caller does not have permission")
        with self.google.lock:
            return getattr(self, "do_" + kind)(request, person)

    def do_unknown(self, request, person):
        raise Refusal(404, "Not found: " + request.path)

    def do_specs(self, request, person):
        request.only()
        return {"runtimeSpecs": [{"key": {"variant": v, "accelerator": a, "shape": "SHAPE_STANDARD"}, "eligible": a in person.eligible} for v, a in SPECS]}

    # ---- runtimes ----
    def show(self, runtime):
        token = secrets.token_urlsafe(48)
        until = self.google.clock.now() + runtime.person.token_life
        runtime.tokens[token] = until
        return {"name": "runtimes/" + runtime.id, "runtimeSpec": runtime.spec, "version": "2026.04",
                "connectionInfo": {"endpoint": runtime.endpoint, "token": token, "expireTime": self.google.clock.iso(until),
                                   "url": self.google.url("jupyter") + "/" + runtime.endpoint}}

    def find(self, request, person):
        runtime = self.runtimes.get((person.name, request.path[len("/v1beta/runtimes/"):]))
        if runtime is None:
            raise Refusal(404, "Runtime not found.")
        return runtime

    def do_list(self, request, person):
        request.only()
        return {"runtimes": [self.show(r) for (owner, _), r in self.runtimes.items() if owner == person.name]}

    def do_get(self, request, person):
        request.only()
        return self.show(self.find(request, person))

    def do_delete(self, request, person):
        request.only("allowMissing")
        self.end(self.find(request, person))
        return {}

    def do_create(self, request, person):
        request.only("runtimeId", "requestId")
        id, asked = request.query.get("runtimeId", ""), request.query.get("requestId", "")
        if not ID.fullmatch(id):
            raise Refusal(400, "Invalid runtime id")
        if str(uuid.UUID(asked)) != asked or uuid.UUID(asked).version != 4:
            raise Refusal(400, "requestId must be a UUID4")
        body = checked(request.json(), {"runtimeSpec": {"variant": lambda v: v in ("VARIANT_CPU", "VARIANT_GPU", "VARIANT_TPU"),
                                                        "accelerator": lambda v: isinstance(v, str), "shape": lambda v: v in ("SHAPE_STANDARD", "SHAPE_HIGHMEM")},
                                        "version": lambda v: isinstance(v, str)})
        spec = body.get("runtimeSpec")
        if not spec or (spec.get("variant"), spec.get("accelerator")) not in SPECS:
            raise Refusal(400, "Unknown runtime spec")
        if spec["accelerator"] in SIZED and "shape" in spec:
            self.wrong.append("a shape for " + spec["accelerator"])
        if asked in self.requests:
            return self.told(self.requests[asked])
        operation = self.requests[asked] = Operation(person, id)
        operation.spec = spec
        self.operations[operation.name] = operation
        self.judge(operation, person, id, spec)
        return self.told(operation)

    def judge(self, operation, person, id, spec):
        if person.refuse and person.refuse_left != 0:
            if person.refuse_left:
                person.refuse_left -= 1
            operation.fail(*REFUSALS[person.refuse])
        elif (person.name, id) in self.runtimes:
            operation.left = 0
            operation.fail(6, None, "Runtime already exists.")
        elif spec["accelerator"] not in person.eligible:
            operation.fail(9, "ACCELERATOR_UNAVAILABLE", "Not entitled to %s." % spec["accelerator"])
        elif sum(owner == person.name for owner, _ in self.runtimes) >= person.most:
            operation.fail(*REFUSALS["too_many"])

    # ---- operations ----
    def step(self, operation):
        """One look of any kind nearer to the end, for it comes by itself; what is not to fail is made there."""
        if operation.left > 0:
            operation.left -= 1
            return
        if operation.error or operation.runtime:
            return
        runtime = Runtime(operation.person, operation.runtime_id, operation.spec)
        runtime.made_at = runtime.active_at = self.google.clock.now()
        operation.runtime = self.runtimes[operation.person.name, runtime.id] = runtime
        self.google.tunnel.endpoints[runtime.endpoint] = runtime
        self.google.jupyter.begin(runtime)

    def told(self, operation):
        self.step(operation)
        done = operation.left == 0 and (operation.error or operation.runtime)
        answer = {"name": operation.name, "done": bool(done), "metadata": {"runtime": "runtimes/" + operation.runtime_id}}
        if done:
            answer["error" if operation.error else "response"] = operation.error or self.show(operation.runtime)
        return answer

    def do_wait(self, request, person):
        """May return early, and does: one look each."""
        request.only("timeout")
        operation = self.operations.get(request.path[len("/v1/"):-len(":wait")])
        if operation is None or operation.person is not person:
            raise Refusal(404, "Operation not found.")
        if not re.fullmatch(r"\d+s", request.query.get("timeout", "0s")):
            raise Refusal(400, "Invalid timeout")
        return self.told(operation)

    def do_operations(self, request, person):
        request.only()
        name = request.path[len("/v1/"):]
        if name != "operations":
            raise Refusal(404, "Operation not found.")
        return {"operations": [self.told(o) for o in list(self.operations.values()) if o.person is person]}


class Tunnel:
    """colab.research.google.com, as far as it is asked."""
    name = "colab"
    settings = ("GPUPOOL_COLAB_URL",)
    PATH = re.compile(r"/tun/m/([a-z0-9-]+)/keep-alive/")

    def __init__(self, google):
        self.google, self.endpoints = google, {}
        google.tunnel = self
        self.hang = False               # the machine behind it never answers

    def operation(self, request):
        return "colab.keep_alive" if self.PATH.fullmatch(request.path) else "colab.unknown"

    def handle(self, request):
        match = self.PATH.fullmatch(request.path)
        if match is None or request.method != "GET":
            raise Refusal(404, "Not found")
        self.google.authorize(request, COLABORATORY)
        if request.headers.get("X-Colab-Tunnel") != "Google" or request.query.get("authuser") != "0":
            self.google.violations.append("a keep-alive without X-Colab-Tunnel or authuser")
            raise Refusal(400, "Bad Request")
        with self.google.lock:
            runtime = self.endpoints.get(match[1])
            if runtime is None or runtime.person.name != request.principal:
                raise Refusal(404, "Not Found")
            runtime.active_at = self.google.clock.now()
            runtime.alive.append(runtime.active_at)
        if self.hang:
            self.google.stopping.wait(30)
        return Answer(b"OK", type="text/plain")
