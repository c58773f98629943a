"""Google's tokens: consents with PKCE, refresh tokens, and service accounts whose signatures are really verified.

Mounted at /oauth it is both accounts.google.com (the page that asks a person) and oauth2.googleapis.com.
"""
import base64
import hashlib
import html
import json
import re
import secrets
import threading
import urllib.parse

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from google_standin import Answer, Refusal

JWT_BEARER = "urn:ietf:params:oauth:grant-type:jwt-bearer"
LIFE = 3599
SCOPE = re.compile(r"(openid|email|profile|https://www\.googleapis\.com/auth/[a-z.\-_]+)")


def unbase64url(text):
    if not re.fullmatch("[A-Za-z0-9_-]+", text):
        raise ValueError("not base64url without padding")
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def oauth_error(status, error, description):
    return Refusal(status, body={"error": error, "error_description": description})


class Token:
    def __init__(self, principal, scopes, until, client=None, refresh=None):
        self.principal, self.scopes, self.until, self.client, self.refresh = principal, frozenset(scopes), until, client, refresh


class ServiceAccount:
    keys = threading.Lock()
    pool = []           # RSA keys take long to make: they are used again by other stand-ins of this process

    def __init__(self, email, project, token_uri, used):
        self.email, self.project, self.disabled = email, project, False
        self.key_id = secrets.token_hex(20)
        with ServiceAccount.keys:
            while len(ServiceAccount.pool) <= used:
                ServiceAccount.pool.append(rsa.generate_private_key(65537, 2048))
            self.private = ServiceAccount.pool[used]
        self.public = self.private.public_key()
        self.scopes = {"https://www.googleapis.com/auth/cloud-platform", "https://www.googleapis.com/auth/devstorage.read_write"}
        self.token_uri = token_uri

    @property
    def pem(self):
        return self.private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()).decode()

    @property
    def key_file(self):
        """What Google Cloud gives as a file."""
        return {"type": "service_account", "project_id": self.project, "private_key_id": self.key_id, "private_key": self.pem,
                "client_email": self.email, "client_id": "103456789012345678901", "auth_uri": "https://accounts.google.com/o/oauth2/auth",
                "token_uri": self.token_uri, "auth_provider_x509_cert_url": "https://www.googleapis.com/oauth2/v1/certs",
                "client_x509_cert_url": "https://www.googleapis.com/robot/v1/metadata/x509/" + urllib.parse.quote(self.email),
                "universe_domain": "googleapis.com"}


class Client:
    def __init__(self, id, secret, redirect_uris):
        self.id, self.secret, self.redirect_uris = id, secret, list(redirect_uris)


class OAuth:
    name = "oauth"
    settings = ("GPUPOOL_GOOGLE_OAUTH_URL", "GPUPOOL_GOOGLE_ACCOUNTS_URL")

    def __init__(self, google):
        self.google = google
        self.accounts, self.clients, self.codes, self.tokens, self.refresh = {}, {}, {}, {}, {}
        self.person = "person@example.com"      # who consents
        self.consent = "page"                   # or "allow", "deny": answered without a page
        self.grants = None                      # scopes that the person agrees to; None = all asked
        self.testing = False                    # consents end after seven days
        self.life = LIFE
        self.lock = threading.RLock()

    # ---- for tests ----
    def service_account(self, email="robot@demo-project.iam.gserviceaccount.com", project="demo-project"):
        with self.lock:
            account = ServiceAccount(email, project, "https://oauth2.googleapis.com/token", len(self.accounts))
            self.accounts[account.key_id] = account
        return account

    def client(self, redirect_uris, id=None, secret=None):
        id = id or "%d-%s.apps.googleusercontent.com" % (10**11 + secrets.randbelow(10**11), secrets.token_hex(16))
        self.clients[id] = Client(id, secret or "GOCSPX-" + secrets.token_urlsafe(21), redirect_uris)
        return self.clients[id]

    def mint(self, principal, *scopes, seconds=None):
        """A token as tests may need one."""
        token = "ya29." + secrets.token_urlsafe(96)
        with self.lock:
            self.tokens[token] = Token(principal, scopes, self.google.clock.now() + (self.life if seconds is None else seconds))
        return token

    def withdraw(self, principal=None):
        """A person takes back consents; the tokens made of them are dead at once."""
        with self.lock:
            for store in (self.refresh, self.tokens):
                for key in [k for k, t in store.items() if principal in (None, t.principal)]:
                    del store[key]

    def drop_access_tokens(self):
        with self.lock:
            self.tokens.clear()

    # ---- what the others ask ----
    def authorize(self, request, scopes):
        kind, _, value = request.headers.get("Authorization", "").partition(" ")
        with self.lock:
            token = self.tokens.get(value) if kind == "Bearer" else None
        if token is None or token.until <= self.google.clock.now():
            raise Refusal(401, "Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid "
                          "authentication credential.", reason="ACCESS_TOKEN_EXPIRED" if token else "CREDENTIALS_MISSING" if not value else "ACCESS_TOKEN_TYPE_UNSUPPORTED")
        request.principal = token.principal
        if scopes and not token.scopes & set(scopes):
            raise Refusal(403, "Request had insufficient authentication scopes.", reason="ACCESS_TOKEN_SCOPE_INSUFFICIENT")
        return token

    # ---- routes ----
    def operation(self, request):
        known = {"/token": "token", "/revoke": "revoke", "/tokeninfo": "tokeninfo", "/o/oauth2/v2/auth": "authorize"}
        name = known.get(request.path, "unknown")
        if name == "token":
            grant = dict(urllib.parse.parse_qsl(request.body.decode("utf-8", "replace"))).get("grant_type", "")
            return "oauth.token." + {"authorization_code": "code", "refresh_token": "refresh", JWT_BEARER: "jwt"}.get(grant, "other")
        return "oauth." + name

    def handle(self, request):
        routes = {("POST", "/token"): self.token, ("POST", "/revoke"): self.revoke, ("GET", "/tokeninfo"): self.tokeninfo,
                  ("GET", "/o/oauth2/v2/auth"): self.ask, ("POST", "/o/oauth2/v2/auth"): self.decide}
        route = routes.get((request.method, request.path))
        if route is None:
            raise Refusal(404, "Not found")
        with self.lock:
            return route(request)

    # ---- the page that asks ----
    def asked(self, query):
        allowed = {"client_id", "redirect_uri", "response_type", "scope", "access_type", "prompt", "include_granted_scopes", "state",
                   "code_challenge", "code_challenge_method", "login_hint"}
        client = self.clients.get(query.get("client_id"))
        # Nobody is sent to an address that the client did not name.
        if client is None:
            raise oauth_error(401, "invalid_client", "The OAuth client was not found.")
        if query.get("redirect_uri") not in client.redirect_uris:
            raise oauth_error(400, "redirect_uri_mismatch", "The redirect URI does not match those of the client.")
        for name in query:
            if name not in allowed:
                raise oauth_error(400, "invalid_request", "Parameter not allowed for this message type: " + name)
        if query.get("response_type") != "code" or not query.get("state"):
            raise oauth_error(400, "invalid_request", "response_type must be code, and state is wanted by us")
        if query.get("code_challenge_method") != "S256" or not re.fullmatch("[A-Za-z0-9_-]{43}", query.get("code_challenge", "")):
            raise oauth_error(400, "invalid_request", "code challenge must be S256")
        scopes = query.get("scope", "").split(" ")
        if not all(SCOPE.fullmatch(s) for s in scopes):
            raise oauth_error(400, "invalid_scope", "Some requested scopes were invalid.")
        return client, scopes

    def ask(self, request):
        self.asked(request.query)
        if self.consent in ("allow", "deny"):
            return self.redirect(request.query, self.consent == "allow")
        fields = "".join('<input type=hidden name="%s" value="%s">' % (html.escape(k), html.escape(v)) for k, v in request.query.items())
        page = ("<!DOCTYPE html><title>Sign in</title><h1>%s</h1><p>wants: %s<form method=post>%s<button name=decision value=allow>Continue</button>"
                "<button name=decision value=deny>Cancel</button></form>" % (html.escape(request.query["client_id"]), html.escape(request.query["scope"]), fields))
        return Answer(page.encode(), type="text/html; charset=utf-8")

    def decide(self, request):
        form = request.form()
        decision = form.pop("decision", "")
        self.asked(form)
        return self.redirect(form, decision == "allow")

    def redirect(self, query, allowed):
        back = {"state": query["state"]}
        if allowed:
            code = "4/0A" + secrets.token_urlsafe(48)
            _, scopes = self.asked(query)
            granted = scopes if self.grants is None else [s for s in scopes if s in self.grants]
            self.codes[code] = {**query, "granted": granted, "until": self.google.clock.now() + 600, "person": query.get("login_hint") or self.person}
            back.update(code=code, scope=" ".join(granted))
        else:
            back["error"] = "access_denied"
        where = query["redirect_uri"] + ("&" if "?" in query["redirect_uri"] else "?") + urllib.parse.urlencode(back)
        return Answer(b"", 302, "text/html", [("Location", where)])

    # ---- tokens ----
    def token(self, request):
        form = request.form()
        kinds = {"authorization_code": (self.by_code, {"code", "client_id", "client_secret", "redirect_uri", "code_verifier"}),
                 "refresh_token": (self.by_refresh, {"refresh_token", "client_id", "client_secret"}), JWT_BEARER: (self.by_signature, {"assertion"})}
        kind, wanted = kinds.get(form.pop("grant_type", None), (None, None))
        if kind is None:
            raise oauth_error(400, "unsupported_grant_type", "Invalid grant_type")
        if set(form) != wanted:
            raise oauth_error(400, "invalid_request", "parameters are %s, wanted are %s" % (sorted(form), sorted(wanted)))
        return kind(request, form)

    def give(self, token):
        text = "ya29." + secrets.token_urlsafe(96)
        token.until = self.google.clock.now() + self.life
        self.tokens[text] = token
        return {"access_token": text, "expires_in": self.life, "token_type": "Bearer"}

    def client_of(self, form):
        client = self.clients.get(form["client_id"])
        if client is None or not secrets.compare_digest(client.secret, form["client_secret"]):
            raise oauth_error(401, "invalid_client", "Unauthorized" if client else "The OAuth client was not found.")
        return client

    def by_code(self, request, form):
        client = self.client_of(form)
        code = self.codes.pop(form["code"], None)       # whatever comes of it: it is used
        if code is None or code["client_id"] != client.id or code["until"] < self.google.clock.now():
            raise oauth_error(400, "invalid_grant", "Malformed auth code.")
        if code["redirect_uri"] != form["redirect_uri"]:
            raise oauth_error(400, "redirect_uri_mismatch", "Bad Request")
        verifier = form["code_verifier"]
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        if not re.fullmatch("[A-Za-z0-9._~-]{43,128}", verifier) or challenge != code["code_challenge"]:
            raise oauth_error(400, "invalid_grant", "Invalid code verifier.")
        request.principal = code["person"]
        answer = self.give(Token(code["person"], code["granted"], 0, client.id))
        answer["scope"] = " ".join(code["granted"])
        if code.get("access_type") == "offline" and code.get("prompt") == "consent":
            refresh = "1//0" + secrets.token_urlsafe(64)
            self.refresh[refresh] = Token(code["person"], code["granted"], self.google.clock.now() + (7 * 86400 if self.testing else 1e12), client.id)
            answer["refresh_token"] = refresh
        return answer

    def by_refresh(self, request, form):
        client = self.client_of(form)
        token = self.refresh.get(form["refresh_token"])
        if token is None or token.client != client.id or token.until <= self.google.clock.now():
            raise oauth_error(400, "invalid_grant", "Token has been expired or revoked.")
        request.principal = token.principal
        return {**self.give(Token(token.principal, token.scopes, 0, client.id, form["refresh_token"])), "scope": " ".join(sorted(token.scopes))}

    def by_signature(self, request, form):
        try:
            head, claims, signature = form["assertion"].split(".")
            header, body = json.loads(unbase64url(head)), json.loads(unbase64url(claims))
            signed = unbase64url(signature)
        except ValueError as e:
            raise oauth_error(400, "invalid_grant", "Invalid JWT: %s" % e)
        account = self.accounts.get(header.get("kid"))
        if header.get("alg") != "RS256" or header.get("typ") != "JWT" or set(header) != {"alg", "typ", "kid"}:
            raise oauth_error(400, "invalid_grant", "Invalid JWT header")
        if account is None or account.disabled or body.get("iss") != account.email:
            raise oauth_error(400, "invalid_grant", "Invalid grant: account not found")
        try:
            account.public.verify(signed, (head + "." + claims).encode(), padding.PKCS1v15(), hashes.SHA256())
        except InvalidSignature:
            raise oauth_error(400, "invalid_grant", "Invalid JWT Signature.")
        if set(body) - {"iss", "scope", "aud", "iat", "exp", "sub"}:
            raise oauth_error(400, "invalid_grant", "Invalid JWT: claims")
        if body.get("aud") != self.google.url("oauth") + "/token":
            raise oauth_error(400, "invalid_grant", "Invalid JWT: Failed audience check.")
        now, iat, exp = self.google.clock.now(), body.get("iat"), body.get("exp")
        if not isinstance(iat, int) or not isinstance(exp, int) or not 0 < exp - iat <= 3600 or iat > now + 60 or exp <= now:
            raise oauth_error(400, "invalid_grant", "Invalid JWT: Token must be a short-lived token (60 minutes) and in a reasonable timeframe. "
                              "Check your iat and exp values in the JWT claim.")
        scopes = body.get("scope", "").split(" ")
        if not set(scopes) <= account.scopes:
            raise oauth_error(400, "invalid_scope", "Invalid OAuth scope or ID token audience provided.")
        request.principal = account.email
        return self.give(Token(account.email, scopes, 0))

    def revoke(self, request):
        form = request.form()
        text = form.get("token", "")
        token = self.refresh.pop(text, None) or self.tokens.pop(text, None)
        if set(form) != {"token"} or token is None:
            raise oauth_error(400, "invalid_token", "Token expired or revoked")
        for key in [k for k, t in self.tokens.items() if t.refresh == text or (token.refresh and t.refresh == token.refresh)]:
            del self.tokens[key]
        self.refresh.pop(token.refresh, None)
        return {}

    def tokeninfo(self, request):
        token = self.tokens.get(request.query.get("access_token"))
        if token is None or token.until <= self.google.clock.now():
            raise oauth_error(400, "invalid_token", "Invalid Value")
        answer = {"azp": token.client or "", "aud": token.client or "", "scope": " ".join(sorted(token.scopes)),
                  "exp": str(int(token.until)), "expires_in": str(int(token.until - self.google.clock.now())), "access_type": "offline"}
        if {"email", "https://www.googleapis.com/auth/userinfo.email"} & token.scopes:
            answer.update(email=token.principal, email_verified="true")
        return answer
