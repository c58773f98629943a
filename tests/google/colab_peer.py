"""The stand-in of Google with one person who has consented to Colab, for tests in C.

Prints one JSON line: settings and credentials.  Then each line of its input is Python: an expression, whose value is
printed as JSON, or a statement, which prints null.  Known there: google, api, jupyter, tunnel, person.  Ends with its input.
"""
import json
import os
import sys

import google_standin
from colab_api import COLABORATORY

sys.modules.setdefault("google_standin", google_standin)


def main():
    with google_standin.GoogleStandIn() as google:
        client = google.oauth.client(["http://127.0.0.1/callback"])
        refresh = "1//0test-refresh"
        google.oauth.refresh[refresh] = __import__("oauth").Token("ada@example.com", [COLABORATORY], 1e12, client.id)
        known = {"google": google, "api": google.colab_api, "jupyter": google.jupyter, "tunnel": google.tunnel, "person": google.colab_api.person("ada@example.com")}
        print(json.dumps({"settings": google.settings(),
                          "credentials": {"clientId": client.id, "clientSecret": client.secret, "refreshToken": refresh}}), flush=True)
        for line in sys.stdin:
            try:
                value = eval(compile(line.strip(), "<test>", "eval"), known)
            except SyntaxError:
                exec(compile(line.strip(), "<test>", "exec"), known)
                value = None
            print(json.dumps(value), flush=True)
        google.colab_api.close()
    os._exit(0)


if __name__ == "__main__":
    main()
