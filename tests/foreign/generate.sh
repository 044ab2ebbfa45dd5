#!/bin/sh
# Regenerates the fixtures: tokens made by other people's libraries, with throw-away keys.
#
# Needs openssl, python3 with venv, node with npm, go, and java with mvn. The private keys live in
# a temporary directory and die with it; what stays is fixtures/*.json.
#
# usage: tests/foreign/generate.sh [OUTPUT-DIRECTORY]   (default: fixtures beside this script)
set -eu
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "${1:-$here/fixtures}"
out=$(cd "${1:-$here/fixtures}" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
KEYS="$work/keys"
export KEYS
mkdir -m 700 "$KEYS"

for algorithm in RS256 RS384 RS512 PS256 PS384 PS512; do
    openssl genpkey -quiet -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
        -out "$KEYS/$algorithm.pem" 2>/dev/null ||
        openssl genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:2048 \
            -out "$KEYS/$algorithm.pem" 2>/dev/null
done
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$KEYS/ES256.pem" 2>/dev/null
openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-384 -out "$KEYS/ES384.pem" 2>/dev/null
openssl genpkey -algorithm ed25519 -out "$KEYS/EdDSA.pem"
for key in "$KEYS"/*.pem; do
    openssl pkey -in "$key" -pubout -out "${key%.pem}.pub"
done
# Raw secrets of at least the hash's size (RFC 7518 section 3.2).
openssl rand 32 >"$KEYS/HS256.secret"
openssl rand 48 >"$KEYS/HS384.secret"
openssl rand 64 >"$KEYS/HS512.secret"

cp -R "$here/python" "$here/node" "$here/go" "$here/java" "$work/"

echo "node: jsonwebtoken, jose, and the key sets"
(cd "$work/node" && npm ci --ignore-scripts --no-audit --no-fund --silent)
(cd "$work/node" && node jwks.mjs public) >"$out/jwks.json"
(cd "$work/node" && node jwks.mjs secret) >"$out/hmac-jwks.json"
(cd "$work/node" && node jsonwebtoken.mjs) >"$out/jsonwebtoken.json"
(cd "$work/node" && node jose.mjs) >"$out/jose.json"

echo "python: PyJWT"
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check -r "$work/python/requirements.txt"
"$work/venv/bin/python" "$work/python/make.py" >"$out/pyjwt.json"

echo "go: golang-jwt"
(cd "$work/go" && go run .) >"$out/golang-jwt.json"

echo "java: jjwt"
# Maven writes control sequences to standard output, so this one writes its file itself.
(cd "$work/java" && OUTPUT="$out/jjwt.json" mvn --batch-mode --quiet compile exec:java) >&2

for file in pyjwt jsonwebtoken jose golang-jwt jjwt; do
    echo "$file: $(grep -c '"token"' "$out/$file.json") tokens"
done
