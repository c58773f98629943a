"""Cloud Storage, as far as executed notebooks are read from it."""
import threading
import urllib.parse

from google_standin import Answer, Refusal

CLOUD, STORAGE = "https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_write"
PERMISSIONS = {"storage.objects.create", "storage.objects.get", "storage.objects.list", "storage.objects.delete", "storage.buckets.get"}


class Bucket:
    def __init__(self, name):
        self.name, self.objects = name, {}
        self.members = {}           # principal: permissions; others have none


class Storage:
    name = "gcs"
    settings = ("GPUPOOL_GCS_URL",)

    def __init__(self, google):
        self.google, self.buckets, self.lock = google, {}, threading.RLock()

    # ---- for tests ----
    def bucket(self, name, **members):
        """A bucket; members: principals with what they may, all of it where that is None."""
        bucket = self.buckets[name] = Bucket(name)
        return bucket

    def allow(self, bucket, principal, permissions=PERMISSIONS):
        self.buckets[bucket].members[principal] = set(permissions)

    def may(self, bucket, principal, permission):
        return bucket in self.buckets and permission in self.buckets[bucket].members.get(principal, ())

    def write(self, bucket, name, content):
        with self.lock:
            self.buckets[bucket].objects[name] = content

    # ---- routes ----
    def operation(self, request):
        if request.path.endswith("/iam/testPermissions"):
            return "gcs.permissions"
        if request.path.endswith("/o"):
            return "gcs.list"
        return "gcs.media" if request.query.get("alt") == "media" else "gcs.get"

    def handle(self, request):
        parts = request.path.split("/")
        if request.method != "GET" or parts[:4] != ["", "storage", "v1", "b"] or len(parts) < 6:
            raise Refusal(404, "Not Found", body={"error": {"code": 404, "message": "Not Found", "errors": [{"reason": "notFound"}]}})
        self.google.authorize(request, CLOUD, STORAGE)
        with self.lock:
            bucket = self.buckets.get(parts[4])
            if bucket is None:
                raise Refusal(404, body={"error": {"code": 404, "message": "The specified bucket does not exist.", "errors": [{"reason": "notFound"}]}})
            if parts[5:] == ["iam", "testPermissions"]:
                return self.permissions(request, bucket)
            if parts[5:] == ["o"]:
                return self.list(request, bucket)
            if len(parts) == 7 and parts[5] == "o":
                return self.get(request, bucket, urllib.parse.unquote(parts[6], errors="strict"))
        raise Refusal(404, "Not Found")

    def must(self, request, bucket, permission):
        if permission not in bucket.members.get(request.principal, ()):
            text = "%s does not have %s access to the Google Cloud Storage bucket. Permission '%s' denied on resource (or it may not exist)." % (
                request.principal, permission, permission)
            raise Refusal(403, body={"error": {"code": 403, "message": text, "errors": [{"reason": "forbidden", "message": text, "domain": "global"}]}})

    def permissions(self, request, bucket):
        asked = [v for k, v in request.pairs if k == "permissions"]
        if not asked or any(k != "permissions" for k, _ in request.pairs) or not set(asked) <= PERMISSIONS:
            raise Refusal(400, "Invalid argument.")
        held = [p for p in asked if p in bucket.members.get(request.principal, ())]
        return {"kind": "storage#testIamPermissionsResponse", **({"permissions": held} if held else {})}

    def resource(self, bucket, name):
        return {"kind": "storage#object", "id": "%s/%s/1" % (bucket.name, name), "name": name, "bucket": bucket.name, "generation": "1",
                "contentType": "application/octet-stream", "size": str(len(bucket.objects[name]))}

    def list(self, request, bucket):
        request.only("prefix", "maxResults", "pageToken", "fields")
        self.must(request, bucket, "storage.objects.list")
        names = sorted(n for n in bucket.objects if n.startswith(request.query.get("prefix", "")))
        after, most = request.query.get("pageToken", ""), min(1000, int(request.query.get("maxResults", "1000")))
        names = [n for n in names if n > after]
        answer = {"kind": "storage#objects"}
        if names:
            answer["items"] = [self.resource(bucket, n) for n in names[:most]]
        if len(names) > most:
            answer["nextPageToken"] = names[most - 1]
        return answer

    def get(self, request, bucket, name):
        request.only("alt")
        self.must(request, bucket, "storage.objects.get")
        if name not in bucket.objects:
            raise Refusal(404, body={"error": {"code": 404, "message": "No such object: %s/%s" % (bucket.name, name), "errors": [{"reason": "notFound"}]}})
        if request.query.get("alt") == "media":
            return Answer(bucket.objects[name])
        return self.resource(bucket, name)
