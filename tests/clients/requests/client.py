"""What a script does with its tokens: `requests` with an authentication class that answers 401 with
one refresh and sends the request again.

Environment: BASE (https://…), ACCOUNT, PASSWORD, REQUESTS_CA_BUNDLE. Speaks lines with whoever
started it: says `token <jti>` and waits for a line before it goes on, so that the token can be
revoked meanwhile. The last line is `done` and a JSON object of what was seen.
"""

import base64
import json
import os
import sys

import requests
from requests.auth import AuthBase

BASE = os.environ["BASE"]
OWN = BASE + "/_postern"


def jti(token):
    payload = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["jti"]


class Tokens(AuthBase):
    """Puts the access token on requests; renews it once when it is refused."""

    def __init__(self, username, password):
        self.refreshes = 0
        # A form here, JSON from the browser's client: both are taken.
        self._take(requests.post(OWN + "/login", data={"username": username, "password": password}))

    def __call__(self, request):
        request.headers["Authorization"] = "Bearer " + self.access
        request.register_hook("response", self._again)
        return request

    def _take(self, answer):
        answer.raise_for_status()
        body = answer.json()
        self.access, self.refresh = body["access_token"], body["refresh_token"]

    def _again(self, answer, **options):
        if answer.status_code != 401 or getattr(answer.request, "is_retry", False):
            return answer
        answer.content  # so that the connection can be used again
        renewed = requests.post(OWN + "/refresh", json={"refresh_token": self.refresh})
        if renewed.status_code != 200:
            return answer
        self.refreshes += 1
        self._take(renewed)
        retry = answer.request.copy()
        retry.is_retry = True
        retry.headers["Authorization"] = "Bearer " + self.access
        return answer.connection.send(retry, **options)


def revoked(tokens):
    print("token", jti(tokens.access), flush=True)
    sys.stdin.readline()


def main():
    account, password = os.environ["ACCOUNT"], os.environ["PASSWORD"]
    wrong = requests.post(OWN + "/login", data={"username": account, "password": "wrong"})
    seen = {"wrong": wrong.status_code}
    tokens = Tokens(account, password)
    with requests.Session() as session:
        session.auth = tokens
        seen["first"] = session.get(BASE + "/api/items").status_code
        revoked(tokens)
        answer = session.post(BASE + "/api/items", json={"name": "seven"})
        seen["post"], seen["echoed"] = answer.status_code, answer.json()["name"]
        seen["refreshes"] = tokens.refreshes
        used_up = tokens.refresh
        seen["logout"] = session.post(OWN + "/logout").status_code
        seen["after"] = session.get(BASE + "/api/items").status_code
        body = {"refresh_token": used_up}
        seen["refresh_after"] = requests.post(OWN + "/refresh", json=body).status_code
    print("done", json.dumps(seen), flush=True)


main()
