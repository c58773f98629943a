"""Vertex AI's execution jobs, each of which really runs its notebook.

A project has regions, an interface that may be off, permissions that may lack, and a quota of GPUs.  A job goes from
QUEUED over PENDING to RUNNING by the clock, and ends when its cells have, when its time is over, or when it is deleted;
then the executed notebook is in the bucket.
"""
import base64
import binascii
import itertools
import json
import re
import threading

from google_standin import Refusal, checked
from runs import NotebookRun, check

CLOUD = "https://www.googleapis.com/auth/cloud-platform"
ENDED = {"JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED", "JOB_STATE_CANCELLED", "JOB_STATE_EXPIRED"}
GPUS = {"NVIDIA_TESLA_T4": ("n1-", "Tesla T4", 15360), "NVIDIA_L4": ("g2-", "NVIDIA L4", 23034), "NVIDIA_TESLA_V100": ("n1-", "Tesla V100-SXM2-16GB", 16384),
        "NVIDIA_TESLA_P100": ("n1-", "Tesla P100-PCIE-16GB", 16384), "NVIDIA_TESLA_A100": ("a2-highgpu-", "NVIDIA A100-SXM4-40GB", 40960),
        "NVIDIA_A100_80GB": ("a2-ultragpu-", "NVIDIA A100-SXM4-80GB", 81920), "NVIDIA_H100_80GB": ("a3-", "NVIDIA H100 80GB HBM3", 81559)}
GROUPS = (("source", {"directNotebookSource", "gcsNotebookSource", "dataformRepositorySource"}),
          ("environment_spec", {"notebookRuntimeTemplateResourceName", "customEnvironmentSpec", "workbenchRuntime"}),
          ("execution_sink", {"gcsOutputUri"}), ("execution_identity", {"serviceAccount", "executionUser"}))
PERMISSION = "aiplatform.notebookExecutionJobs."


def text(value):
    return isinstance(value, str)


def labels(value):
    return isinstance(value, dict) and len(value) <= 64 and all(
        re.fullmatch(r"[a-z][a-z0-9_-]{0,62}", k) and isinstance(v, str) and re.fullmatch(r"[a-z0-9_-]{0,63}", v) for k, v in value.items())


FIELDS = {
    "displayName": lambda v: text(v) and 0 < len(v) <= 128, "executionTimeout": lambda v: text(v) and re.fullmatch(r"[1-9][0-9]{0,7}s", v),
    "labels": labels, "kernelName": text, "gcsOutputUri": lambda v: text(v) and re.fullmatch(r"gs://[a-z0-9._-]{3,222}(/.*)?", v),
    "serviceAccount": text, "executionUser": text, "notebookRuntimeTemplateResourceName": text, "workbenchRuntime": {},
    "directNotebookSource": {"content": text}, "gcsNotebookSource": {"uri": text, "generation": text},
    "dataformRepositorySource": {"dataformRepositoryResourceName": text, "commitSha": text},
    "customEnvironmentSpec": {
        "machineSpec": {"machineType": text, "acceleratorType": text, "acceleratorCount": lambda v: isinstance(v, int) and not isinstance(v, bool)},
        "persistentDiskSpec": {"diskType": text, "diskSizeGb": lambda v: text(v) and v.isdigit()},
        "networkSpec": {"enableInternetAccess": lambda v: isinstance(v, bool), "network": text, "subnetwork": text}},
    "encryptionSpec": {"kmsKeyName": text},
}


class Project:
    def __init__(self, id, regions):
        self.id, self.regions = id, list(regions)
        self.enabled = self.billing = True
        self.members = set()        # principals that may do everything but what is in `lacks`
        self.lacks = set()          # permissions that nobody has
        self.gpus = {}              # accelerator: how many at once; absent = 8
        self.stockout = set()       # accelerators that are not to be had: the job fails
        self.queue_seconds, self.pending_seconds, self.end_seconds = 0.1, 0.1, 0.1
        self.create_lag = 0.0       # seconds until a new job shows
        self.stuck = False          # jobs stay queued
        self.timeout_state = "JOB_STATE_EXPIRED"
        self.internet = True
        self.environment = {}       # of its machines


class Job:
    def __init__(self, project, region, id, body, now):
        self.project, self.region, self.id, self.body = project, region, id, body
        self.state, self.status, self.run, self.deleted, self.executed = "JOB_STATE_QUEUED", None, None, False, None
        self.created = self.changed = now
        self.began = self.ended = None

    @property
    def name(self):
        return "projects/%s/locations/%s/notebookExecutionJobs/%s" % (self.project.id, self.region, self.id)

    @property
    def live(self):
        return not self.deleted and self.state not in ENDED

    @property
    def labels(self):
        return self.body.get("labels", {})

    def accelerator(self):
        machine = self.body["customEnvironmentSpec"]["machineSpec"]
        return machine.get("acceleratorType"), machine.get("acceleratorCount", 0)


class Vertex:
    name = "vertex"
    settings = ("GPUPOOL_VERTEX_URL",)

    def __init__(self, google):
        self.google, self.projects, self.jobs, self.operations = google, {}, [], {}
        self.lock, self.numbers, self.overlaps = threading.RLock(), itertools.count(7000000000000000001), []

    # ---- for tests ----
    def project(self, id="demo-project", regions=("europe-west4", "us-central1"), **switches):
        project = self.projects[id] = Project(id, regions)
        for name, value in switches.items():
            if not hasattr(project, name):
                raise AttributeError(name)
            setattr(project, name, value)
        return project

    def of(self, project, live=None):
        with self.lock:
            return [j for j in self.jobs if j.project is project and live in (None, j.live)]

    def blames(self):
        with self.lock:
            seen, wrong = set(), ["two jobs of one worker at once: %s" % (o,) for o in self.overlaps]
            for job in self.jobs:
                intent = job.labels.get("gpupool_intent")
                if intent and intent in seen:
                    wrong.append("started twice: " + intent)
                seen.add(intent)
                if not job.body["customEnvironmentSpec"].get("networkSpec", {}).get("enableInternetAccess"):
                    wrong.append("without internet: " + job.id)
        return wrong

    # ---- time ----
    def tick(self, now):
        with self.lock:
            for job in self.jobs:
                if job.live or (job.state == "JOB_STATE_CANCELLING" and not job.deleted):
                    self.advance(job, now)

    def advance(self, job, now):
        p, since = job.project, now - job.changed
        if job.state == "JOB_STATE_QUEUED" and since >= p.queue_seconds and not p.stuck:
            self.become(job, "JOB_STATE_PENDING", now)
        elif job.state == "JOB_STATE_PENDING" and since >= p.pending_seconds:
            self.begin(job, now)
        elif job.state == "JOB_STATE_RUNNING" and now - job.began >= int(job.body.get("executionTimeout", "86400s")[:-1]):
            job.run.halt()
            self.finish(job, p.timeout_state, now, {"code": 4, "message": "The execution exceeded its timeout."})
        elif job.state == "JOB_STATE_RUNNING" and job.run.poll() is not None:
            failed = {"code": 3, "message": "Notebook execution failed: a cell raised an exception."} if job.run.exit_code else None
            self.finish(job, "JOB_STATE_FAILED" if failed else "JOB_STATE_SUCCEEDED", now, failed)
        elif job.state == "JOB_STATE_CANCELLING" and since >= p.end_seconds:
            self.finish(job, "JOB_STATE_CANCELLED", now, None)
            job.deleted = True

    def become(self, job, state, now):
        job.state, job.changed = state, now

    def begin(self, job, now):
        kind, count = job.accelerator()
        if kind in job.project.stockout:
            return self.finish(job, "JOB_STATE_FAILED", now, {"code": 8, "message": "The zone does not have enough resources available to fulfill the "
                               "request (stockout): ZONE_RESOURCE_POOL_EXHAUSTED."})
        bucket = job.body["gcsOutputUri"][5:].split("/")[0]
        if not self.google.gcs.may(bucket, job.body["serviceAccount"], "storage.objects.create"):
            return self.finish(job, "JOB_STATE_FAILED", now, {"code": 7, "message": "Permission 'storage.objects.create' denied on bucket %s." % bucket})
        gpus = [GPUS[kind][1:]] * count if kind else []
        internet = job.project.internet and job.body["customEnvironmentSpec"].get("networkSpec", {}).get("enableInternetAccess", False)
        job.run = NotebookRun(job.document, gpus=gpus, environment=job.project.environment, internet=internet)
        job.began = now
        self.become(job, "JOB_STATE_RUNNING", now)

    def finish(self, job, state, now, status):
        self.become(job, state, now)
        job.ended, job.status = now, status
        if job.run:
            job.run.halt()
            job.executed = job.run.executed()
            bucket, _, prefix = job.body["gcsOutputUri"][5:].partition("/")
            content = json.dumps(job.executed, indent=1).encode()
            if bucket in self.google.gcs.buckets:
                self.google.gcs.write(bucket, (prefix.rstrip("/") + "/" if prefix else "") + job.id + "/content.ipynb", content)
            job.run.sweep()

    def close(self):
        with self.lock:
            for job in self.jobs:
                if job.run:
                    job.run.sweep()

    # ---- routes ----
    PATH = re.compile(r"/v1/projects/([^/]+)/locations/([^/]+)/(notebookExecutionJobs|operations)(?:/([^/:]+))?")

    def operation(self, request):
        found = self.PATH.fullmatch(request.path)
        if not found:
            return "vertex.unknown"
        if found.group(3) == "operations":
            return "vertex.operation"
        return "vertex." + {"POST": "create", "DELETE": "delete"}.get(request.method, "get" if found.group(4) else "list")

    def handle(self, request):
        found = self.PATH.fullmatch(request.path)
        if not found:
            raise Refusal(404, "Not found")
        name, region, kind, id = found.groups()
        self.google.authorize(request, CLOUD)
        with self.lock:
            project = self.projects.get(name)
            if project is None or request.principal not in project.members:
                raise Refusal(403, "Permission denied on resource project %s." % name, reason="CONSUMER_INVALID",
                              metadata={"consumer": "projects/" + name, "service": "aiplatform.googleapis.com"})
            if not project.enabled:
                raise Refusal(403, "Vertex AI API has not been used in project %s before or it is disabled. Enable it by visiting "
                              "https://console.developers.google.com/apis/api/aiplatform.googleapis.com/overview?project=%s then retry." % (name, name),
                              reason="SERVICE_DISABLED", metadata={"consumer": "projects/" + name, "service": "aiplatform.googleapis.com"})
            if not project.billing:
                raise Refusal(403, "This API method requires billing to be enabled.", reason="BILLING_DISABLED")
            if region not in project.regions:
                raise Refusal(404, "The requested location %s was not found." % region)
            if kind == "operations":
                return self.get_operation(request, project, id)
            route = {("POST", False): self.create, ("GET", False): self.list, ("GET", True): self.get, ("DELETE", True): self.delete}.get((request.method, bool(id)))
            if route is None:
                raise Refusal(404, "Not found")
            return route(request, project, region, id)

    def must(self, project, permission, resource):
        if permission in project.lacks:
            raise Refusal(403, "Permission '%s' denied on resource '//aiplatform.googleapis.com/%s' (or it may not exist)." % (permission, resource),
                          reason="IAM_PERMISSION_DENIED", metadata={"permission": permission, "resource": resource})

    def find(self, project, region, id):
        now = self.google.clock.now()
        job = next((j for j in self.jobs if j.project is project and j.region == region and j.id == id and not j.deleted), None)
        if job is None or now - job.created < project.create_lag:
            raise Refusal(404, "NotebookExecutionJob projects/%s/locations/%s/notebookExecutionJobs/%s is not found." % (project.id, region, id))
        return job

    def shown(self, job, view):
        answer = {"name": job.name, **job.body, "jobState": job.state, "createTime": self.google.clock.iso(job.created),
                  "updateTime": self.google.clock.iso(job.changed)}
        if view != "NOTEBOOK_EXECUTION_JOB_VIEW_FULL":
            answer.pop("directNotebookSource", None)
        if job.status:
            answer["status"] = job.status
        return answer

    def lro(self, project, region, kind, job, after):
        id = str(next(self.numbers))
        name = "projects/%s/locations/%s/operations/%s" % (project.id, region, id)
        self.operations[name] = (kind, job, self.google.clock.now() + after)
        return self.operation_of(name)

    def operation_of(self, name):
        kind, job, when = self.operations[name]
        answer = {"name": name, "metadata": {"@type": "type.googleapis.com/google.cloud.aiplatform.v1.%sOperationMetadata" % kind,
                                             "genericMetadata": {"createTime": self.google.clock.iso(job.created)}}}
        done = self.google.clock.now() >= when and (kind != "DeleteNotebookExecutionJob" or job.deleted)
        if done:
            response = {"@type": "type.googleapis.com/google.protobuf.Empty"} if kind.startswith("Delete") else self.shown(job, "")
            answer.update(done=True, response=response)
        return answer

    def get_operation(self, request, project, id):
        request.only()
        name = request.path[len("/v1/"):]
        if request.method != "GET" or name not in self.operations:
            raise Refusal(404, "Operation not found.")
        return self.operation_of(name)

    # ---- jobs ----
    def create(self, request, project, region, _):
        request.only("notebookExecutionJobId")
        body, now = checked(request.json(), FIELDS), self.google.clock.now()
        resource = "projects/%s/locations/%s" % (project.id, region)
        self.must(project, PERMISSION + "create", resource)
        for group, members in GROUPS:
            if len(members & set(body)) != 1:
                raise Refusal(400, "List of found errors:\t1.Field: notebook_execution_job.%s; Message: Exactly one of %s must be set.\t" % (group, sorted(members)))
        if "displayName" not in body:
            raise Refusal(400, "List of found errors:\t1.Field: notebook_execution_job.display_name; Message: Required field is not set.\t")
        if "directNotebookSource" not in body or "customEnvironmentSpec" not in body or "serviceAccount" not in body:
            raise Refusal(400, "The stand-in runs notebooks that are in the request, on machines that are described in it, as a service account.")
        id = request.query.get("notebookExecutionJobId") or str(next(self.numbers))
        if not re.fullmatch("[a-z0-9][a-z0-9-]{0,61}[a-z0-9]", id):
            raise Refusal(400, "Invalid resource ID %r" % id)
        self.machine(project, body["customEnvironmentSpec"].get("machineSpec", {}))
        if body["serviceAccount"] not in {a.email for a in self.google.oauth.accounts.values()}:
            raise Refusal(400, "Service account %s does not exist." % body["serviceAccount"])
        self.must(project, "iam.serviceAccounts.actAs", "projects/-/serviceAccounts/" + body["serviceAccount"])
        job = Job(project, region, id, body, now)
        try:
            job.document = check(json.loads(base64.b64decode(body["directNotebookSource"]["content"], validate=True)))
        except (ValueError, binascii.Error) as e:
            raise Refusal(400, "The notebook cannot be read: %s" % e)
        if any(j.project is project and j.region == region and j.id == id and not j.deleted for j in self.jobs):
            raise Refusal(409, "Requested entity already exists")
        worker = body.get("labels", {}).get("gpupool_worker")
        if worker and any(j.live and j.labels.get("gpupool_worker") == worker and j.project is project for j in self.jobs):
            self.overlaps.append((worker, id))
        self.jobs.append(job)
        return self.lro(project, region, "CreateNotebookExecutionJob", job, project.create_lag)

    def machine(self, project, machine):
        kind, count = machine.get("acceleratorType"), machine.get("acceleratorCount", 0)
        if not re.fullmatch(r"[a-z][a-z0-9]*-[a-z]+-?[0-9a-z]+", machine.get("machineType", "")):
            raise Refusal(400, "Machine type %r is not supported." % machine.get("machineType"))
        if (kind is None) != (count == 0) or (kind and kind not in GPUS):
            raise Refusal(400, "Accelerator type %r is not supported." % kind)
        if kind and not machine["machineType"].startswith(GPUS[kind][0]):
            raise Refusal(400, "Machine type %r is not supported with accelerator %s." % (machine["machineType"], kind))
        most = project.gpus.get(kind, 8)
        used = sum(j.accelerator()[1] for j in self.jobs if j.live and j.project is project and j.accelerator()[0] == kind)
        if kind and used + count > most:
            raise Refusal(429, "The following quota metrics exceed quota limits: aiplatform.googleapis.com/custom_model_training_%s_gpus" % kind.lower(),
                          reason="QUOTA_EXCEEDED", metadata={"quota_limit_value": str(most), "service": "aiplatform.googleapis.com"})

    def get(self, request, project, region, id):
        request.only("view")
        self.must(project, PERMISSION + "get", request.path[4:])
        view = request.query.get("view", "")
        if view not in ("", "NOTEBOOK_EXECUTION_JOB_VIEW_BASIC", "NOTEBOOK_EXECUTION_JOB_VIEW_FULL"):
            raise Refusal(400, "Invalid value at 'view'")
        return self.shown(self.find(project, region, id), view)

    def list(self, request, project, region, _):
        request.only("view", "filter", "pageSize", "pageToken", "orderBy")
        self.must(project, PERMISSION + "list", request.path[4:])
        wanted = {}
        for part in request.query.get("filter", "").split(" AND ") if request.query.get("filter") else []:
            found = re.fullmatch(r'labels\.([a-z][a-z0-9_-]*)="([a-z0-9_-]*)"', part)
            if not found:
                raise Refusal(400, "Invalid filter: " + part)
            wanted[found.group(1)] = found.group(2)
        size = int(request.query.get("pageSize") or 100)
        jobs = [j for j in self.jobs if j.project is project and j.region == region and not j.deleted and
                all(j.labels.get(k) == v for k, v in wanted.items())]
        at = int(request.query.get("pageToken") or 0)
        answer = {}
        if jobs[at:at + size]:
            answer["notebookExecutionJobs"] = [self.shown(j, request.query.get("view", "")) for j in jobs[at:at + size]]
        if len(jobs) > at + size:
            answer["nextPageToken"] = str(at + size)
        return answer

    def delete(self, request, project, region, id):
        request.only()
        self.must(project, PERMISSION + "delete", request.path[4:])
        job, now = self.find(project, region, id), self.google.clock.now()
        if job.state == "JOB_STATE_CANCELLING":
            raise Refusal(409, "The job is being deleted.", code="ABORTED")
        if job.state in ENDED:
            job.deleted = True
        else:
            if job.run:
                job.run.halt()
            self.become(job, "JOB_STATE_CANCELLING", now)
        return self.lro(project, region, "DeleteNotebookExecutionJob", job, 0)
