"""Persons who each have a project of Google Cloud at the stand-in, with a service account and a bucket."""
import itertools
import secrets

from stack import until

counter = itertools.count(1)


class Person:
    """A user of the installation (`client`) with a project (`project`), a service account (`robot`) and a bucket there."""

    def __init__(self, stack, google, region="europe-west4", **switches):
        self.stack, self.google, self.region = stack, google, region
        self.name = f"cloud{next(counter)}x{secrets.token_hex(2)}"
        self.project_id = self.bucket = "project-" + self.name
        self.client = stack.user(name=self.name)
        self.robot = google.oauth.service_account(f"robot@{self.project_id}.iam.gserviceaccount.com", self.project_id)
        self.project = google.vertex.project(self.project_id, **switches)
        self.project.members.add(self.robot.email)
        google.gcs.bucket(self.bucket)
        google.gcs.allow(self.bucket, self.robot.email)

    @property
    def credentials(self):
        return {"serviceAccount": self.robot.key_file, "project": self.project_id, "region": self.region, "bucket": self.bucket}

    def ask(self, accelerator="cpu", title=None, **fields):
        body = {"provider": "colab-enterprise", "accelerator": accelerator, **({"title": title} if title else {}), **fields}
        if "credentials" not in body and "accountId" not in body and not self.accounts():
            body["credentials"] = self.credentials
        return self.client.call("POST", "/api/gpu/workers/notebooks", body)

    def add(self, accelerator="cpu", title=None, **fields):
        reply = self.ask(accelerator, title, **fields)
        assert reply.status == 202, reply
        return reply.json["id"]

    def accounts(self):
        return self.client.get("/api/gpu/accounts")["accounts"]

    def account_row(self):
        return next(a for a in self.accounts() if a["provider"] == "colab-enterprise")

    def notebook(self, id):
        return self.client.notebook(id)

    def healthy(self, id, seconds=40):
        return self.becomes(id, "healthy", seconds)

    def becomes(self, id, state, seconds=40, code=None):
        def there():
            n = self.notebook(id)
            seen.append((n["state"], n["reason"]))
            return n["state"] == state and (code is None or (n["reason"] or {}).get("code") == code) and n
        seen = []
        try:
            return until(there, seconds)
        except AssertionError:
            path = [s for i, s in enumerate(seen) if i == 0 or s != seen[i - 1]]
            raise AssertionError(f"notebook {id} of {self.name} is not {state} {code or ''}: {path}\ncalls: {self.calls()[-30:]}\n"
                                 f"jobs: {[(j.id, j.state, j.status) for j in self.jobs()]}") from None

    def stop(self, id):
        self.client.post(f"/api/gpu/workers/notebooks/{id}/stop")

    def start(self, id):
        self.client.post(f"/api/gpu/workers/notebooks/{id}/start")

    def delete(self, id):
        reply = self.client.call("DELETE", f"/api/gpu/workers/notebooks/{id}")
        assert reply.status == 202, reply

    def deleted(self, id, seconds=60):
        def gone():
            reply = self.client.call("GET", f"/api/gpu/workers/notebooks/{id}")
            return reply.status == 404 or reply.json["state"] == "deleted"
        until(gone, seconds)

    # ---- at Google ----
    def jobs(self, live=None):
        return self.google.vertex.of(self.project, live)

    def calls(self, operation=None):
        return [(c.operation, c.status) for c in self.google.calls if self.project_id in c.path and operation in (None, c.operation)]

    def fault(self, operation, kind, **more):
        return self.google.fault(operation, kind, where=self.project_id, **more)

    def one_job(self):
        """Exactly one was ever made, and it is still there."""
        jobs = self.jobs()
        assert len(jobs) == 1 and jobs[0].live, [(j.id, j.state) for j in jobs]
        return jobs[0]

    def nothing_left(self):
        assert not [j for j in self.jobs() if not j.deleted], [(j.id, j.state) for j in self.jobs()]
