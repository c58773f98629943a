"""Google Drive, as far as one program puts notebooks there: with drive.file a client sees what it made itself, and nothing else."""
import json
import re
import secrets
import threading

from google_standin import Answer, Refusal
from runs import check

SCOPE = "https://www.googleapis.com/auth/drive.file"
COLAB = "application/vnd.google.colaboratory"
MOST = 5 << 20
PROPERTY = re.compile(r"appProperties has \{ key='([A-Za-z0-9]{1,60})' and value='([A-Za-z0-9-]{1,60})' \}")


def refusal(status, reason, message):
    return Refusal(status, body={"error": {"code": status, "message": message, "errors": [{"domain": "global", "reason": reason, "message": message}]}})


class File:
    def __init__(self, owner, client, metadata, content):
        self.id = "1" + secrets.token_urlsafe(24)
        self.owner, self.client, self.content = owner, client, content
        self.name, self.properties = metadata["name"], metadata.get("appProperties", {})
        self.trashed = False


class Drive:
    name = "drive"
    settings = ("GPUPOOL_DRIVE_URL",)

    def __init__(self, google):
        self.google, self.files, self.lock = google, {}, threading.RLock()
        self.full = set()               # people without space

    # ---- for tests ----
    def of(self, owner):
        with self.lock:
            return [f for f in self.files.values() if f.owner == owner]

    def read(self, id):
        """What its owner opens in Colab."""
        with self.lock:
            return json.loads(self.files[id].content)

    # ---- routes ----
    def operation(self, request):
        if request.path.startswith("/upload/"):
            return "drive.upload"
        return "drive." + {"GET": "list" if request.path == "/drive/v3/files" else "get", "DELETE": "delete"}.get(request.method, "other")

    def handle(self, request):
        # Strict before anything else: what is wrong with it is a fault of the client's, whoever asks.
        token = self.google.authorize(request, SCOPE)
        routes = {("POST", "/upload/drive/v3/files"): self.upload, ("GET", "/drive/v3/files"): self.list}
        route = routes.get((request.method, request.path))
        with self.lock:
            if route:
                return route(request, token)
            if request.path.startswith("/drive/v3/files/") and request.method in ("GET", "DELETE"):
                file = self.files.get(request.path[len("/drive/v3/files/"):])
                if file is None or file.owner != token.principal or file.client != token.client:
                    raise refusal(404, "notFound", "File not found: %s." % request.path.rsplit("/", 1)[1])
                return self.delete(request, file) if request.method == "DELETE" else self.get(request, file)
        raise Refusal(404, "Not Found")

    def parts(self, request):
        """The two parts of multipart/related; anything else is refused, form-data above all."""
        kind = request.headers.get("Content-Type", "")
        match = re.fullmatch(r"multipart/related; ?boundary=([A-Za-z0-9'()+_,./:=?-]{1,70})", kind)
        if not match:
            raise refusal(400, "badContent", "Unsupported content with type: " + kind.split(";")[0])
        mark = b"--" + match.group(1).encode()
        if not request.body.startswith(mark + b"\r\n") or not request.body.rstrip(b"\r\n").endswith(mark + b"--"):
            raise refusal(400, "badRequest", "Malformed multipart body.")
        pieces = request.body.split(b"\r\n" + mark)
        pieces[0] = pieces[0][len(mark):]
        if len(pieces) != 3 or pieces[2].rstrip(b"\r\n") != b"--":
            raise refusal(400, "badRequest", "Malformed multipart body: %d parts" % (len(pieces) - 1))
        found = []
        for piece in pieces[:2]:
            head, blank, body = piece.partition(b"\r\n\r\n")
            headers = dict(line.split(b": ", 1) for line in head.strip(b"\r\n").split(b"\r\n"))
            if not blank or {k.lower() for k in headers} != {b"content-type"}:
                raise refusal(400, "badRequest", "Malformed part.")
            found.append((next(iter(headers.values())).decode(), body))
        return found

    def upload(self, request, token):
        request.only("uploadType", "fields")
        if request.query.get("uploadType") != "multipart":
            raise refusal(400, "badRequest", "The stand-in takes uploads of type multipart.")
        (kind, metadata), (media, content) = self.parts(request)
        if kind.replace(" ", "").lower() != "application/json;charset=utf-8" or media != "application/json":
            raise refusal(400, "badRequest", "The parts are %s and %s" % (kind, media))
        if len(content) > MOST:
            raise refusal(413, "uploadTooLarge", "Too large")
        metadata = json.loads(metadata.decode())
        if set(metadata) - {"name", "mimeType", "appProperties"} or metadata.get("mimeType") != COLAB:
            raise refusal(400, "invalid", "Unknown members of the metadata: %s" % sorted(metadata))
        for key, value in metadata.get("appProperties", {}).items():
            if not isinstance(value, str) or len(key.encode() + value.encode()) > 124:
                raise refusal(400, "invalid", "An appProperty is too long, or no text.")
        check(json.loads(content.decode()))
        if token.principal in self.full:
            raise refusal(403, "storageQuotaExceeded", "The user's Drive storage quota has been exceeded.")
        file = File(token.principal, token.client, metadata, content)
        self.files[file.id] = file
        return {"id": file.id}

    def list(self, request, token):
        request.only("q", "fields", "spaces", "pageSize", "pageToken")
        wanted, rest = [], request.query.get("q", "")
        left = rest
        for match in PROPERTY.finditer(rest):
            wanted.append(match.groups())
            left = left.replace(match.group(0), "")
        if re.sub(r"\s+", " ", left).strip() not in ("and " * len(wanted) + "trashed = false", "trashed = false"):
            raise refusal(400, "invalid", "Invalid Value: q")
        found = [f for f in self.files.values() if f.owner == token.principal and f.client == token.client and not f.trashed
                 and all(f.properties.get(k) == v for k, v in wanted)]
        at, size = int(request.query.get("pageToken", "0")), int(request.query.get("pageSize", "100"))
        page = {"files": [{"id": f.id, "appProperties": f.properties} for f in found[at:at + size]]}
        if at + size < len(found):
            page["nextPageToken"] = str(at + size)
        return page

    def get(self, request, file):
        request.only("alt", "fields")
        return Answer(file.content, type="application/json") if request.query.get("alt") == "media" else {"id": file.id, "name": file.name}

    def delete(self, request, file):
        del self.files[file.id]
        return Answer(b"", 204)
