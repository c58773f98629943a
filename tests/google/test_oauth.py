"""The stand-in's tokens: as strict as the tests that lean on them believe."""
import base64
import hashlib
import http.client
import socket
import time
import urllib.parse

import pytest

from caller import CLOUD, JWT_BEARER, assertion, call, token_of
from google_standin import GoogleStandIn, Refusal

# RFC 7636, appendix B
VERIFIER, CHALLENGE = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
BACK = "https://pool.example.org/oauth/google/callback"
DRIVE = "https://www.googleapis.com/auth/drive.file"


def test_the_pair_of_the_rfc():
    assert base64.urlsafe_b64encode(hashlib.sha256(VERIFIER.encode()).digest()).rstrip(b"=").decode() == CHALLENGE


# ---- service accounts ----------------------------------------------------------

def test_a_signed_statement_is_exchanged(google):
    account = google.oauth.service_account()
    token = token_of(google, account)
    assert token.startswith("ya29.")
    assert call(google, "GET", "/oauth/tokeninfo?access_token=" + token)[2]["scope"] == CLOUD
    assert google.count("oauth.token.jwt") == 1 and google.calls[0].principal == account.email


@pytest.mark.parametrize("change", [
    {"claims": {"aud": "https://oauth2.googleapis.com/token"}}, {"claims": {"exp": int(time.time()) + 7000}},
    {"claims": {"iat": int(time.time()) - 9000, "exp": int(time.time()) - 5400}}, {"claims": {"iat": int(time.time()) + 900, "exp": int(time.time()) + 1000}},
    {"claims": {"iss": "other@demo-project.iam.gserviceaccount.com"}}, {"claims": {"email": "x"}}, {"header": {"alg": "HS256"}},
    {"header": {"kid": "0" * 40}}, {"claims": {"exp": "soon"}},
], ids=lambda c: str(c)[:50])
def test_a_statement_that_is_not_right_is_refused(google, change):
    status, answer = token_of(google, google.oauth.service_account(), **change)
    assert status == 400 and answer["error"] == "invalid_grant", answer


def test_anothers_signature_is_refused(google):
    one, two = google.oauth.service_account(), google.oauth.service_account("two@demo-project.iam.gserviceaccount.com")
    assert token_of(google, one, private=two.private)[0] == 400
    one.disabled = True
    assert token_of(google, one)[1]["error"] == "invalid_grant"
    assert token_of(google, two, claims={"scope": "https://www.googleapis.com/auth/drive"})[1]["error"] == "invalid_scope"


def test_a_signature_that_was_touched_is_refused(google):
    account = google.oauth.service_account()
    good = assertion(account, google.url("oauth") + "/token")
    for bad in (good[:-8] + "AAAAAAAA", good + "=", good.replace(".", "", 1), "x.y.z"):
        status, _, answer = call(google, "POST", "/oauth/token", form={"grant_type": JWT_BEARER, "assertion": bad})
        assert status == 400 and answer["error"] == "invalid_grant", answer


def test_a_token_ends(google):
    class Asked:
        headers = {"Authorization": "Bearer " + token_of(google, google.oauth.service_account())}
    google.authorize(Asked, CLOUD)
    with pytest.raises(Refusal) as e:
        google.authorize(Asked, DRIVE)
    assert e.value.status == 403
    google.clock.advance(3600)
    with pytest.raises(Refusal) as e:
        google.authorize(Asked, CLOUD)
    assert e.value.status == 401


# ---- consents ------------------------------------------------------------------

def consent_url(client, **more):
    query = {"client_id": client.id, "redirect_uri": BACK, "response_type": "code", "scope": "openid email " + DRIVE, "access_type": "offline",
             "prompt": "consent", "state": "s1", "code_challenge": CHALLENGE, "code_challenge_method": "S256", **more}
    return "/oauth/o/oauth2/v2/auth?" + urllib.parse.urlencode({k: v for k, v in query.items() if v is not None})


def code_of(google, client, **more):
    google.oauth.consent = "allow"
    status, head, _ = call(google, "GET", consent_url(client, **more))
    assert status == 302 and head["location"].startswith(BACK + "?"), head
    return dict(urllib.parse.parse_qsl(head["location"].split("?", 1)[1]))


def exchange(google, client, code, **more):
    return call(google, "POST", "/oauth/token", form={"grant_type": "authorization_code", "code": code, "client_id": client.id, "client_secret": client.secret,
                                                       "redirect_uri": BACK, "code_verifier": VERIFIER, **more})


def test_code_to_tokens_and_their_end(google):
    client = google.oauth.client([BACK])
    back = code_of(google, client)
    assert back["state"] == "s1"
    status, _, tokens = exchange(google, client, back["code"])
    assert status == 200 and tokens["refresh_token"].startswith("1//") and tokens["expires_in"] == 3599
    assert exchange(google, client, back["code"])[2]["error"] == "invalid_grant", "a code is good once"
    refresh = {"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"], "client_id": client.id, "client_secret": client.secret}
    status, _, again = call(google, "POST", "/oauth/token", form=refresh)
    assert status == 200 and again["access_token"] != tokens["access_token"] and "refresh_token" not in again
    info = call(google, "GET", "/oauth/tokeninfo?access_token=" + again["access_token"])[2]
    assert info["email"] == "person@example.com" and DRIVE in info["scope"]
    assert call(google, "POST", "/oauth/revoke", form={"token": tokens["refresh_token"]})[0] == 200
    assert call(google, "GET", "/oauth/tokeninfo?access_token=" + again["access_token"])[0] == 400, "what was made of it is dead too"
    assert call(google, "POST", "/oauth/token", form=refresh)[2]["error"] == "invalid_grant"


def test_what_an_exchange_must_say(google):
    client, other = google.oauth.client([BACK]), google.oauth.client([BACK])
    for change, error in (({"code_verifier": VERIFIER[:-1] + "A"}, "invalid_grant"), ({"code_verifier": "short"}, "invalid_grant"),
                          ({"redirect_uri": BACK + "/"}, "redirect_uri_mismatch"), ({"client_secret": "no"}, "invalid_client"),
                          ({"client_id": other.id, "client_secret": other.secret}, "invalid_grant"), ({"more": "x"}, "invalid_request")):
        status, _, answer = exchange(google, client, code_of(google, client)["code"], **change)
        assert status in (400, 401) and answer["error"] == error, (change, answer)
    code = code_of(google, client)["code"]
    google.clock.advance(601)
    assert exchange(google, client, code)[2]["error"] == "invalid_grant"


def test_no_refresh_token_without_being_asked_for_offline(google):
    client = google.oauth.client([BACK])
    for more in ({"access_type": None}, {"prompt": None}):
        assert "refresh_token" not in exchange(google, client, code_of(google, client, **more)["code"])[2]


@pytest.mark.parametrize("more", [{"redirect_uri": BACK + "x"}, {"code_challenge_method": "plain"}, {"code_challenge": None}, {"state": None},
                                  {"response_type": "token"}, {"scope": "nonsense"}, {"client_id": "nobody"}, {"hint": "x"}], ids=str)
def test_a_bad_request_goes_nowhere(google, more):
    google.oauth.consent = "allow"
    status, head, _ = call(google, "GET", consent_url(google.oauth.client([BACK]), **more))
    assert status in (400, 401) and "location" not in head


def test_a_person_may_refuse_and_may_agree_to_less(google):
    client = google.oauth.client([BACK])
    google.oauth.consent = "deny"
    assert "error=access_denied" in call(google, "GET", consent_url(client))[1]["location"]
    google.oauth.grants = {"openid"}
    assert exchange(google, client, code_of(google, client)["code"])[2]["scope"] == "openid"
    google.oauth.consent = "page"
    status, head, page = call(google, "GET", consent_url(client))
    assert status == 200 and b"<form method=post>" in page
    status, head, _ = call(google, "POST", "/oauth/o/oauth2/v2/auth",
                           form={**dict(urllib.parse.parse_qsl(consent_url(client).split("?")[1])), "decision": "allow"})
    assert status == 302 and "code=" in head["location"]


def test_a_client_in_testing_loses_its_consents(google):
    client = google.oauth.client([BACK])
    google.oauth.testing = True
    tokens = exchange(google, client, code_of(google, client)["code"])[2]
    google.clock.advance(7 * 86400 + 1)
    answer = call(google, "POST", "/oauth/token", form={"grant_type": "refresh_token", "refresh_token": tokens["refresh_token"],
                                                         "client_id": client.id, "client_secret": client.secret})
    assert answer[2]["error"] == "invalid_grant"


# ---- the frame -------------------------------------------------------------------

def test_faults_come_as_told_and_are_logged(google):
    account = google.oauth.service_account()
    google.fault("oauth.token", 503, after=1)
    assert token_of(google, account).startswith("ya29.")
    assert token_of(google, account)[0] == 503 and token_of(google, account).startswith("ya29.")
    google.fault("oauth.token.jwt", 429, retry_after=7)
    status, head, answer = call(google, "POST", "/oauth/token", form={"grant_type": JWT_BEARER, "assertion": "x"})
    assert status == 429 and head["retry-after"] == "7" and answer["error"]["status"] == "RESOURCE_EXHAUSTED"
    google.fault("oauth", "html")
    assert call(google, "GET", "/oauth/tokeninfo?access_token=x")[2].startswith(b"<!DOCTYPE")
    google.fault("oauth", "shape", change=lambda d: {**d, "expires_in": "soon"})
    assert call(google, "POST", "/oauth/token", form={"grant_type": JWT_BEARER,
                "assertion": assertion(account, google.url("oauth") + "/token")})[2]["expires_in"] == "soon"
    google.fault("oauth", "truncated")
    with pytest.raises(ValueError):
        call(google, "GET", "/oauth/tokeninfo?access_token=x")
    google.fault("oauth", "reset_before")
    with pytest.raises(OSError):
        call(google, "GET", "/oauth/tokeninfo?access_token=x")
    google.fault("*", "hang", seconds=30)
    with pytest.raises(socket.timeout):
        call(google, "GET", "/oauth/tokeninfo?access_token=x", timeout=0.3)
    assert google.faults[-1].met == 1 and google.count("oauth") == len(google.calls)


def test_what_no_client_does_is_held_against_it(google):
    google.blameless()
    conn = http.client.HTTPConnection("127.0.0.1", google.port)
    conn.putrequest("GET", "/oauth/tokeninfo?client_secret=x")
    conn.endheaders()
    assert conn.getresponse().status == 400
    conn.close()
    with pytest.raises(AssertionError, match="User-Agent"):
        google.blameless()


def test_two_stand_ins_know_nothing_of_each_other(google):
    account = google.oauth.service_account()
    with GoogleStandIn() as other:
        assert token_of(other, account)[0] == 400
