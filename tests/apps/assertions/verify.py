"""What docs/upstream-tokens.md shows, tried: prints the claims of the assertion on standard input,
or fails. Arguments: JWKS URL, issuer, audience, route."""

import json
import sys

import jwt

JWKS, ISSUER, AUDIENCE, ROUTE = sys.argv[1:]

keys = jwt.PyJWKClient(JWKS)


def caller(assertion):
    if jwt.get_unverified_header(assertion).get("typ") != "postern-assertion+jwt":
        raise jwt.InvalidTokenError("not an assertion")
    claims = jwt.decode(
        assertion,
        keys.get_signing_key_from_jwt(assertion).key,
        algorithms=["ES256"],
        issuer=ISSUER,
        audience=AUDIENCE,
        leeway=5,
        options={"require": ["sub", "exp", "iat", "iss", "aud", "route"]},
    )
    if claims["route"] != ROUTE:
        raise jwt.InvalidTokenError("made for another route")
    return claims


print(json.dumps(caller(sys.stdin.read().strip())))
