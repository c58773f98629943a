"""What the stand-in of Kaggle knows: accounts, kernels, versions, runs and hours.  No HTTP here.

A run is what Kaggle calls a session: one execution of one version.  Where `World.processes` is true it is a real child
process, started in a box of its own (box.py).  Everything that lasts a while goes by `World.clock`, which tests may move.
"""
import collections
import datetime
import itertools
import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time

QUEUED, RUNNING, COMPLETE, ERROR = "QUEUED", "RUNNING", "COMPLETE", "ERROR"
CANCEL_REQUESTED, CANCEL_ACKNOWLEDGED, NEW_SCRIPT = "CANCEL_REQUESTED", "CANCEL_ACKNOWLEDGED", "NEW_SCRIPT"
LIVE = (QUEUED, RUNNING, CANCEL_REQUESTED)

WEEK = 7 * 86400
SATURDAY = 2 * 86400            # 1970-01-03 was one: weeks begin then, at 00:00 UTC
SESSION_SECONDS = {"gpu": 43200, "cpu": 43200, "tpu": 32400}
SLUG_MOST, TEXT_MOST = 50, 1000000

# machineShape: the resource whose hours it uses, and what nvidia-smi shows there.
T4, L4 = ("Tesla T4", 15360), ("NVIDIA L4", 23034)
SHAPES = {
    "NvidiaTeslaT4": ("gpu", [T4, T4]), "NvidiaTeslaT4Highmem": ("gpu", [T4, T4]),
    "NvidiaL4": ("gpu", [L4] * 4), "NvidiaL4X1": ("gpu", [L4]),
    "NvidiaTeslaA100": ("gpu", [("NVIDIA A100-SXM4-40GB", 40960)]),
    "NvidiaH100": ("gpu", [("NVIDIA H100 80GB HBM3", 81559)]),
    "NvidiaRtxPro6000": ("gpu", [("NVIDIA RTX PRO 6000 Blackwell Server Edition", 97887)]),
    "TpuV5E8": ("tpu", []), "TpuV6E8": ("tpu", []),
}
# What an account may be given that nobody can ask for: half a machine, and an older one.
GRANTS = {"one T4": ("gpu", [T4]), "half T4": ("gpu", [("Tesla T4", 7680)] * 2)}
RETIRED = {"NvidiaTeslaP100": "NvidiaTeslaT4", "Gpu": "NvidiaTeslaT4", "TpuV38": "TpuV5E8", "Tpu1VmV38": "TpuV5E8",
           "TpuV232": "TpuV5E8", "TpuV2256": "TpuV5E8"}
SOURCES = {"datasetDataSources": ("datasets", "invalidDatasetSources"), "kernelDataSources": ("kernels", "invalidKernelSources"),
           "competitionDataSources": ("competitions", "invalidCompetitionSources"), "modelDataSources": ("models", "invalidModelSources"),
           "categoryIds": ("tags", "invalidTags")}
# nvidia-smi, as far as anybody asks it: -L, or --query-gpu with fields, with or without units.
SMI = """#!/bin/sh
all="$*"
fields=$(printf '%%s\\n' "$@" | sed -n 's/^--query-gpu=//p' | tr ',' ' ')
gpu() {
	case $all in -L) echo "GPU $1: $2 (UUID: GPU-$1-4f1c)"; return;; esac
	line= mib=" MiB" percent=" %%"
	case $all in *nounits*) mib= percent=;; esac
	for field in $fields; do
		case $field in
		index) v=$1;; uuid) v=GPU-$1-4f1c;; name) v=$2;; memory.total) v=$3$mib;; memory.used) v=$((1000 * $1 + 1000))$mib;;
		utilization.gpu) v=$((10 * $1 + 10))$percent;; driver_version) v=550.90.07;; *) echo "Field \"$field\" is not a valid field to query."; exit 2;;
		esac
		line="$line${line:+, }$v"
	done
	echo "$line"
}
%s"""


class Refusal(Exception):
    """An HTTP error: status and text."""

    def __init__(self, status, message):
        super().__init__(message)
        self.status, self.message = status, message


def slug_of(title):
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


class Clock:
    def __init__(self):
        self.moved = 0.0

    def now(self):
        return time.time() + self.moved

    def advance(self, seconds):
        self.moved += seconds

    def iso(self, at=None):
        at = datetime.datetime.fromtimestamp(self.now() if at is None else at, datetime.timezone.utc)
        return at.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class Account:
    """One person.  The members below user_id are switches for tests."""

    def __init__(self, username, key=None, tokens=()):
        self.username, self.key, self.tokens = username, key, list(tokens)
        self.user_id = 1000 + secrets.randbelow(1 << 20)
        self.phone = "verified"             # "silent": runs start without GPU and internet; "refused": no push with them
        self.grant = None                   # a machineShape, or one of GRANTS, given whatever is asked; "none": no accelerator
        self.internet = True                # False: runs cannot reach anything though they asked for internet
        self.queue_seconds = 0.1            # from push to RUNNING
        self.stuck = False                  # nothing leaves the queue
        self.together = {"gpu": 2, "cpu": 5, "tpu": 1}
        self.week = {"gpu": 108000, "tpu": 72000}
        self.before = {"gpu": (0, 0), "tpu": (0, 0)}  # (week, seconds used elsewhere)
        self.environment = {}               # more of it, for each run
        self.cancelled_holds_slot = False   # a cancelled run counts as live until its kernel is deleted

    def revoke(self):
        self.key, self.tokens = None, []


class Run:
    def __init__(self, world, kernel, version, resource, shape, timeout):
        self.world, self.kernel, self.version = world, kernel, version
        self.owner, self.sid = kernel.owner, next(world.ids)
        self.resource, self.shape, self.timeout = resource, shape, timeout
        self.state, self.failure, self.exit_code = QUEUED, "", None
        self.queued_at, self.started_at, self.ended_at, self.cancelled_at = world.clock.now(), None, None, None
        self.log, self.files, self.deleted = [], [], False
        self.box = self.directory = None
        self.readers = []

    @property
    def live(self):
        return self.state in LIVE and not self.deleted

    def seconds(self, begin=0.0):
        """Running time that fell after `begin`."""
        if self.started_at is None:
            return 0.0
        end = self.ended_at if self.ended_at is not None else self.world.clock.now()
        return max(0.0, end - max(self.started_at, begin))

    # ---- the machine ----
    def begin(self):
        self.state, self.started_at = RUNNING, self.world.clock.now()
        if not self.world.processes:
            return
        account, fields = self.world.accounts[self.owner], self.version.fields
        self.directory = tempfile.mkdtemp(prefix="kaggle-run-")
        for name in ("", "working", "src", "input", "bin", "tmp", "root"):
            os.makedirs(os.path.join(self.directory, name), exist_ok=True)
            os.chmod(os.path.join(self.directory, name), 0o1777 if name == "tmp" else 0o755)
        script = os.path.join(self.directory, "src", "script.py")
        with open(script, "w", encoding="utf-8") as file:
            file.write(self.version.text)
        for name in self.version.inputs:
            where = os.path.join(self.directory, "input", name)
            os.makedirs(where)
            with open(os.path.join(where, "data.txt"), "w") as file:
                file.write(name + "\n")
        env = {"PATH": self.directory + "/bin:/usr/bin:/bin", "LANG": "C.UTF-8", "HOME": self.directory + "/root",
               "TMPDIR": self.directory + "/tmp", "KAGGLE_KERNEL_RUN_TYPE": "Batch",
               "KAGGLE_URL_BASE": "https://www.kaggle.com", "PYTHONDONTWRITEBYTECODE": "1", **account.environment}
        internet = fields.get("enableInternet", False) and account.internet and account.phone == "verified"
        self._accelerator(env, account)
        box = [sys.executable, "-I", "-S", os.path.join(os.path.dirname(os.path.abspath(__file__)), "box.py")]
        self.box = subprocess.Popen([*box, *([] if internet else ["--no-network"]), "/usr/bin/python3", script], env=env,
                                    cwd=self.directory + "/working", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                    stderr=subprocess.PIPE, start_new_session=True)
        begun = time.monotonic()
        for name in ("stdout", "stderr"):
            reader = threading.Thread(target=self._read, args=(name, getattr(self.box, name), begun), daemon=True)
            reader.start()
            self.readers.append(reader)

    def _accelerator(self, env, account):
        shape = account.grant or self.shape
        if account.phone != "verified":
            shape = "none"
        resource, gpus = {**SHAPES, **GRANTS}.get(shape, ("cpu", []))
        if resource == "tpu":
            env["TPU_ACCELERATOR_TYPE"] = "v5e-8"
        elif resource == "gpu":
            self._tool(SMI % "".join("gpu %d '%s' %d\n" % (i, name, memory) for i, (name, memory) in enumerate(gpus)))
        elif shutil.which("nvidia-smi", path="/usr/bin:/bin"):
            self._tool("#!/bin/sh\nexit 9\n")   # this machine's own GPUs are not Kaggle's

    def _tool(self, text):
        path = os.path.join(self.directory, "bin", "nvidia-smi")
        with open(path, "w") as file:
            file.write(text)
        os.chmod(path, 0o755)

    def _read(self, name, pipe, begun):
        for line in iter(pipe.readline, b""):
            self.log.append({"stream_name": name, "time": round(time.monotonic() - begun, 6), "data": line.decode("utf-8", "replace")})
        pipe.close()

    def halt(self):
        """Ends the processes; returns when none is left."""
        if self.box is None:
            return
        if self.box.poll() is None:
            self.box.terminate()
            self.box.wait(20)
        self.exit_code = self.box.returncode
        self.box.stdin.close()
        for reader in self.readers:
            reader.join(5)
        self.box = None

    # ---- its end ----
    def finish(self, state, failure=""):
        self.halt()
        self.state, self.failure, self.ended_at = state, failure, self.world.clock.now()
        if self.version.fields.get("kernelType") == "script":
            for line in ("[NbConvertApp] Converting notebook __notebook__.ipynb to html\n", "[NbConvertApp] Writing 314221 bytes to __results__.html\n"):
                self.log.append({"stream_name": "stderr", "time": round(self.seconds(), 6), "data": line})
        if self.directory:
            for folder, _, names in os.walk(self.directory + "/working"):
                for name in sorted(names):
                    path = os.path.join(folder, name)
                    if os.path.isfile(path) and not os.path.islink(path):
                        self.files.append((os.path.relpath(path, self.directory + "/working"), path))
        self.files.sort()
        self.files += [(name, content) for name, content in self.world.extra_files.items()]

    def cancel(self):
        if self.state in (QUEUED, RUNNING):
            self.state, self.cancelled_at = CANCEL_REQUESTED, self.world.clock.now()
            self.halt()

    def forget(self):
        """Its kernel was deleted: it ends at once and leaves nothing."""
        self.halt()
        if self.ended_at is None:
            self.ended_at = self.world.clock.now()
        if self.state in LIVE:
            self.state = CANCEL_ACKNOWLEDGED
        self.deleted, self.files = True, []
        self.sweep()

    def sweep(self):
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None

    def tick(self, now):
        account = self.world.accounts[self.owner]
        if self.state == QUEUED and not account.stuck and now - self.queued_at >= account.queue_seconds:
            self.begin()
        elif self.state == RUNNING and now - self.started_at >= self.timeout:
            self.finish(self.world.timeout_status, "Your notebook exceeded its session timeout." if self.world.timeout_status == ERROR else "")
        elif self.state == RUNNING and self.box and self.box.poll() is not None:
            code = self.box.returncode
            self.finish(COMPLETE) if code == 0 else self.finish(ERROR, "notebook ended with an exception (exit status %d)" % code)
        elif self.state == CANCEL_REQUESTED and now - self.cancelled_at >= self.world.save_seconds:
            self.finish(CANCEL_ACKNOWLEDGED)


class Version:
    def __init__(self, number, text, fields):
        self.number, self.text, self.fields = number, text, fields
        self.inputs, self.run = [], None


class Kernel:
    def __init__(self, id, owner, slug, lag):
        self.id, self.owner, self.slug = id, owner, slug
        self.title, self.versions, self.lag = "", [], lag

    def version(self, label):
        """By versionLabel: none is the latest, v<N> that one."""
        if label is None or label == "":
            return self.versions[-1]
        found = re.fullmatch(r"v([1-9][0-9]*)", label)
        if not found or int(found[1]) > len(self.versions):
            raise Refusal(404, "Version not found")
        return self.versions[int(found[1]) - 1]


class World:
    """Everything, behind one lock.  Members up to `lock` are switches for tests."""

    def __init__(self):
        self.clock = Clock()
        self.processes = True               # False: runs last until finished, cancelled, deleted or out of time
        self.lag = 0                        # 403s for a kernel that was just made
        self.log_seconds = 0.0              # from a run's end to its log and files
        self.save_seconds = 0.1             # CANCEL_REQUESTED lasts so long
        self.timeout_status = CANCEL_ACKNOWLEDGED
        self.mismatch_refused = False       # title and slug differ: refused, not stored elsewhere
        self.tells_session = False          # SaveKernel's answer has kernelSessionId
        self.denied_shapes = set()
        self.sources = {"datasets": set(), "kernels": set(), "competitions": set(), "models": set(), "tags": {"gpu", "tpu"}}
        self.extra_files = {"results/out.json": b'{"ok": true}\n', "../x": b"outside\n"}
        self.lock = threading.RLock()
        self.ids = itertools.count(555001)
        self.kernel_ids = itertools.count(9001)
        self.accounts, self.kernels, self.runs = {}, {}, []
        self.overlaps = []                  # runs pushed while an earlier one of their kernel was live
        self.deleted = []                   # (owner, slug)

    # ---- finding ----
    def kernel(self, owner, slug, viewer):
        found = self.kernels.get((owner, slug))
        if found is None or found.owner != viewer.username:
            raise Refusal(403, "Permission 'kernels.get' was denied")
        if found.lag > 0:
            found.lag -= 1
            raise Refusal(403, "Permission 'kernels.get' was denied")
        return found

    def live(self, owner, resource):
        held = self.accounts[owner].cancelled_holds_slot
        return [r for r in self.runs if r.owner == owner and r.resource == resource and
                (r.live or (held and r.state == CANCEL_ACKNOWLEDGED and not r.deleted))]

    # ---- hours ----
    def week_begins(self):
        return (self.clock.now() - SATURDAY) // WEEK * WEEK + SATURDAY

    def use(self, owner, resource, seconds):
        """Hours that this account used elsewhere this week."""
        self.accounts[owner].before[resource] = (self.week_begins(), seconds)

    def used(self, owner, resource):
        begins = self.week_begins()
        week, elsewhere = self.accounts[owner].before[resource]
        ours = sum(r.seconds(begins) for r in self.runs if r.owner == owner and r.resource == resource)
        return ours + (elsewhere if week == begins else 0)

    def reserved(self, owner, resource):
        return sum(max(0.0, r.timeout - r.seconds()) for r in self.runs
                   if r.owner == owner and r.resource == resource and r.live and r.started_at is not None)

    # ---- changes ----
    def tick(self):
        with self.lock:
            now = self.clock.now()
            for run in self.runs:
                if run.live:
                    run.tick(now)

    def save(self, account, fields):
        """SaveKernel; returns the answer."""
        owner, _, slug = fields.get("slug", "").partition("/")
        kernel = next((k for k in self.kernels.values() if k.id == int(fields["id"])), None) if "id" in fields else None
        if kernel is None and "slug" not in fields:
            raise Refusal(400, "Either id or slug is needed")
        if kernel is None and (not slug or "/" in slug):
            raise Refusal(400, "slug must be owner/kernel-slug")
        if (kernel.owner if kernel else owner) != account.username:
            raise Refusal(403, "Permission 'kernels.update' was denied")
        kernel = kernel or self.kernels.get((owner, slug))
        self.check_source(fields, kernel)
        title = fields.get("newTitle", kernel.title if kernel else "")
        made = slug_of(title)
        if max(len(slug), len(made)) > SLUG_MOST:
            raise Refusal(400, "The kernel slug is longer than %d characters" % SLUG_MOST)
        if kernel and made != kernel.slug:
            raise Refusal(409, "The title does not resolve to the kernel's id")
        if not kernel:
            if len(title) < 5:
                raise Refusal(400, "newTitle must be at least five characters in length")
            if not made or made[0].isdigit() or (made != slug and self.mismatch_refused):
                return self.refused("Notebook not found")
            if made != slug and (owner, made) in self.kernels:
                raise Refusal(409, "The title is in use by another kernel")
        resource, shape = self.resource(account, fields)
        timeout = fields.get("sessionTimeoutSeconds", SESSION_SECONDS[resource])
        if not 0 < timeout <= SESSION_SECONDS[resource]:
            raise Refusal(400, "sessionTimeoutSeconds is not below the maximum")
        starts = fields.get("kernelExecutionType", "SAVE_AND_RUN_ALL") != "QUICK_SAVE"
        if starts:
            no = self.no_room(account, resource, fields)
            if no:
                return self.refused(no)
        if not kernel:
            kernel = self.kernels[(owner, made)] = Kernel(next(self.kernel_ids), owner, made, self.lag)
        return self.saved(kernel, title, fields, starts and (resource, shape, timeout))

    @staticmethod
    def check_source(fields, kernel):
        text = fields.get("text", "")
        if not text:
            raise Refusal(400, "text is empty")
        if len(text.encode()) > TEXT_MOST:
            raise Refusal(400, "The source is too large")
        if kernel and fields.get("kernelType", "") != kernel.versions[-1].fields["kernelType"]:
            raise Refusal(400, "kernelType cannot be changed")
        if "kernelType" not in fields or "language" not in fields:
            raise Refusal(400, "kernelType and language are needed")
        if fields["kernelType"] == "notebook":
            try:
                cells = json.loads(text)["cells"]
                sources = [cell["source"] for cell in cells]
            except (ValueError, KeyError, TypeError):
                raise Refusal(400, "text is not a notebook") from None
            if not all(isinstance(source, str) for source in sources):
                raise Refusal(500, "Internal error")

    def resource(self, account, fields):
        shape = fields.get("machineShape", "")
        if not shape:
            shape = "TpuV5E8" if fields.get("enableTpu") else "NvidiaTeslaT4" if fields.get("enableGpu") else ""
        shape = RETIRED.get(shape, shape)
        if shape and shape not in SHAPES:
            raise Refusal(400, "Unknown machineShape")
        return SHAPES[shape][0] if shape else "cpu", shape

    def no_room(self, account, resource, fields):
        """The words of a refusal, or None."""
        if account.phone == "refused" and (resource != "cpu" or fields.get("enableInternet")):
            return "You must verify your phone number to use accelerators or internet."
        if fields.get("machineShape") in self.denied_shapes:
            return "The accelerator %s is not available to you." % fields["machineShape"]
        if len(self.live(account.username, resource)) >= account.together[resource]:
            return "Maximum batch %s session count of %d reached." % (resource.upper(), account.together[resource])
        if resource in account.week and self.used(account.username, resource) >= account.week[resource]:
            return "Maximum weekly %s quota of %.2f hours reached." % (resource.upper(), account.week[resource] / 3600)
        return None

    @staticmethod
    def refused(text):
        return {"ref": "", "url": "", "versionNumber": 0, "hasVersionNumber": False, "error": text, "hasError": True, "kernelId": 0}

    def saved(self, kernel, title, fields, run):
        kernel.title = title
        if kernel.versions and any(v.run and v.run.live for v in kernel.versions) and run:
            self.overlaps.append((kernel.owner, kernel.slug, len(kernel.versions) + 1))
        version = Version(len(kernel.versions) + 1, fields["text"], {k: v for k, v in fields.items() if k != "text"})
        kernel.versions.append(version)
        invalid = {}
        for key, (kind, told) in SOURCES.items():
            names = fields.get(key, [])
            invalid[told] = [n for n in names if n not in self.sources[kind]]
            version.inputs += [n for n in names if n in self.sources[kind] and kind != "tags"]
        answer = {"ref": "/code/%s/%s" % (kernel.owner, kernel.slug), "versionNumber": version.number, "kernelId": kernel.id,
                  "url": "https://www.kaggle.com/code/%s/%s" % (kernel.owner, kernel.slug), **invalid}
        if run:
            version.run = Run(self, kernel, version, *run)
            self.runs.append(version.run)
            if self.tells_session:
                answer["kernelSessionId"] = version.run.sid
        return answer

    def delete(self, kernel):
        for version in kernel.versions:
            if version.run:
                version.run.forget()
        del self.kernels[(kernel.owner, kernel.slug)]
        self.deleted.append((kernel.owner, kernel.slug))

    # ---- what tests ask ----
    def started_with(self, line):
        """How often a source with this line was started: more than once is a fault of whoever pushed."""
        return sum(1 for r in self.runs if line in r.version.text.split("\n", 4)[:4])

    def twice(self):
        """First lines of sources, of those that name an intent there, that were started more than once."""
        count = collections.Counter(r.version.text.split("\n", 1)[0] for r in self.runs)
        return [line for line, n in count.items() if n > 1 and "intent" in line]
