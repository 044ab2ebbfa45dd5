"""What a program with Authlib does with an authorization server that it knows by its issuer alone.

Prints one line a step; anything unexpected ends it.
"""

import os
import time
from urllib.parse import urlsplit, urlunsplit

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.rfc7523 import PrivateKeyJWT
from authlib.oauth2.rfc8414 import AuthorizationServerMetadata, get_well_known_url
from joserfc import jwt
from joserfc.jwk import ECKey, KeySet

ISSUER, API = os.environ["ISSUER"], os.environ["API"]
SECRET, OTHER = os.environ["SECRET"], os.environ["OTHER_SECRET"]
with open(os.environ["KEY_FILE"], encoding="ascii") as file:
    KEY = ECKey.import_key(file.read())

found = requests.get(get_well_known_url(ISSUER, external=True), timeout=20)
found.raise_for_status()
metadata = AuthorizationServerMetadata(found.json())
# Authlib asks for an authorization endpoint of every server; there is none here (RFC 8414 §2).
for name in ("issuer", "token_endpoint", "jwks_uri", "revocation_endpoint", "introspection_endpoint"):
    getattr(metadata, f"validate_{name}")()
assert metadata["issuer"] == ISSUER
print("discovery", flush=True)

keys = KeySet.import_key_set(requests.get(metadata["jwks_uri"], timeout=20).json())


def call(token):
    return requests.get(API, headers={"Authorization": f"Bearer {token}"}, timeout=20).status_code


class ShortLived(PrivateKeyJWT):
    """Addressed to the issuer, and good for a minute: Authlib's own are for the endpoint."""

    def sign(self, auth, token_endpoint):
        self.claims = {"aud": ISSUER, "exp": int(time.time()) + 60}
        return super().sign(auth, token_endpoint)


def session(client, secret, method):
    made = OAuth2Session(client, secret, token_endpoint_auth_method=method,
                         revocation_endpoint_auth_method=method)
    if method == "private_key_jwt":
        made.register_client_auth_method(ShortLived(alg="ES256", headers={"kid": "reports-1"}))
    return made


gatekeeper = session("gatekeeper", OTHER, "client_secret_basic")


def introspect(token, hint=None):
    answer = gatekeeper.introspect_token(
        metadata["introspection_endpoint"], token=token, token_type_hint=hint)
    assert answer.status_code == 200, answer.text
    return answer.json()


for client, secret, method in (
    ("billing", SECRET, "client_secret_basic"),
    ("billing", SECRET, "client_secret_post"),
    ("reports", KEY, "private_key_jwt"),
):
    own = session(client, secret, method)
    token = own.fetch_token(metadata["token_endpoint"], grant_type="client_credentials")
    assert token["token_type"] == "Bearer" and "refresh_token" not in token
    claims = jwt.decode(token["access_token"], keys, algorithms=["ES256"]).claims
    assert claims["iss"] == ISSUER and claims["sub"] == f"client:{client}"
    assert call(token["access_token"]) == 200
    assert introspect(token["access_token"])["active"] is True
    ended = own.revoke_token(metadata["revocation_endpoint"], token=token["access_token"])
    assert ended.status_code == 200, ended.text
    assert introspect(token["access_token"]) == {"active": False}
    assert call(token["access_token"]) == 401
    print(method, flush=True)

for secret, scope, expected in ((OTHER, None, "invalid_client"), (SECRET, "admin", "invalid_scope")):
    try:
        session("billing", secret, "client_secret_basic").fetch_token(
            metadata["token_endpoint"], grant_type="client_credentials", scope=scope)
    except OAuthError as error:
        assert error.error == expected, error
    else:
        raise AssertionError(expected)
print("refusals", flush=True)

login = requests.post(
    urlunsplit(urlsplit(API)._replace(path="/_postern/login")), timeout=20,
    json={"username": os.environ["USERNAME"], "password": os.environ["PASSWORD"]})
login.raise_for_status()
public = OAuth2Session("postern", token_endpoint_auth_method="none", token=login.json(),
                       revocation_endpoint_auth_method="none")
first = login.json()["refresh_token"]
renewed = public.refresh_token(metadata["token_endpoint"], refresh_token=first)
assert renewed["refresh_token"] != first and call(renewed["access_token"]) == 200
assert introspect(renewed["refresh_token"], "refresh_token")["sub"] == os.environ["USERNAME"]
ended = public.revoke_token(metadata["revocation_endpoint"], token=renewed["refresh_token"])
assert ended.status_code == 200, ended.text
assert introspect(renewed["refresh_token"], "refresh_token") == {"active": False}
assert call(renewed["access_token"]) == 401
print("refresh", flush=True)
