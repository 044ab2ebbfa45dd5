"""Tokens made by PyJWT, one for each algorithm that it and Postern share."""

import json
import os
import pathlib
import time

import jwt

KEYS = pathlib.Path(os.environ["KEYS"])
YEAR_2100 = 4102444800


def key(algorithm):
    if algorithm.startswith("HS"):
        return (KEYS / f"{algorithm}.secret").read_bytes()
    return (KEYS / f"{algorithm}.pem").read_text()


def token(algorithm):
    claims = {
        "iss": "https://foreign.example",
        "aud": "https://api.example",
        "sub": "alice",
        "roles": ["admin", "reader"],
        "jti": f"pyjwt-{algorithm}",
        "iat": int(time.time()),
        "exp": YEAR_2100,
    }
    kid = f"foreign-{algorithm}"
    text = jwt.encode(claims, key(algorithm), algorithm=algorithm, headers={"kid": kid})
    return {"algorithm": algorithm, "kid": kid, "token": text}


SHARED = "HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA".split()
print(json.dumps([token(algorithm) for algorithm in SHARED], indent=2))
