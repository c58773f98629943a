"""Persons who each have a project of Google Cloud at the stand-in, with a service account and a bucket."""
import itertools
import secrets

from people import Owner

counter = itertools.count(1)


class Person(Owner):
    """A user of the installation (`client`) with a project (`project`), a service account (`robot`) and a bucket there."""

    provider = "colab-enterprise"

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

    # ---- at Google ----
    def jobs(self, live=None):
        return self.google.vertex.of(self.project, live)

    def calls(self, operation=None):
        return [(c.operation, c.status) for c in self.google.calls if self.project_id in c.path and operation in (None, c.operation)]

    def fault(self, operation, kind, **more):
        return self.google.fault(operation, kind, where=self.project_id, **more)

    def there(self):
        return f"calls: {self.calls()[-30:]}\njobs: {[(j.id, j.state, j.status) for j in self.jobs()]}"

    def one_job(self):
        """Exactly one was ever made, and it is still there."""
        jobs = self.jobs()
        assert len(jobs) == 1 and jobs[0].live, [(j.id, j.state) for j in jobs]
        return jobs[0]

    def nothing_left(self):
        assert not [j for j in self.jobs() if not j.deleted], [(j.id, j.state) for j in self.jobs()]
