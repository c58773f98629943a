"""A client with nothing hidden, for tests of the stand-in, and what makes good tokens and bad ones."""
import base64
import http.client
import json
import time
import urllib.parse

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
CLOUD = "https://www.googleapis.com/auth/cloud-platform"


def until(what, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        found = what()
        if found:
            return found
        time.sleep(0.02)
    raise AssertionError("did not come true")


def call(google, method, url, body=None, token=None, form=None, timeout=10, **headers):
    """(status, headers, document or bytes)."""
    send = {"User-Agent": "test", **{k.replace("_", "-"): v for k, v in headers.items()}}
    if token:
        send["Authorization"] = "Bearer " + token
    if form is not None:
        body = urllib.parse.urlencode(form)
        send.setdefault("Content-Type", "application/x-www-form-urlencoded")
    elif isinstance(body, dict):
        body = json.dumps(body)
        send.setdefault("Content-Type", "application/json")
    conn = http.client.HTTPConnection("127.0.0.1", google.port, timeout=timeout)
    try:
        conn.request(method, url, body, send)
        answer = conn.getresponse()
        raw = answer.read()
        head = {k.lower(): v for k, v in answer.getheaders()}
    finally:
        conn.close()
    return answer.status, head, json.loads(raw) if head.get("content-type", "").startswith("application/json") and raw else raw


def base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def assertion(account, aud, claims=None, header=None, private=None):
    now = int(time.time())
    head = {"alg": "RS256", "typ": "JWT", "kid": account.key_id, **(header or {})}
    body = {"iss": account.email, "scope": CLOUD, "aud": aud, "iat": now, "exp": now + 3600, **(claims or {})}
    text = base64url(json.dumps(head).encode()) + "." + base64url(json.dumps(body).encode())
    signature = (private or account.private).sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())
    return text + "." + base64url(signature)


def token_of(google, account, **more):
    status, _, answer = call(google, "POST", "/oauth/token",
                             form={"grant_type": JWT_BEARER, "assertion": assertion(account, google.url("oauth") + "/token", **more)})
    return answer["access_token"] if status == 200 else (status, answer)
