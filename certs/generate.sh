#!/bin/sh
# Fills this folder with what a first try needs, made on the spot with openssl:
#
#   api.pem  api-key.pem          a certificate for localhost, signed by itself, and its key
#   issuer.pem  issuer-key.pem    an ES256 key pair that stands for your identity provider's
#   jwks.json                     the public half of the pair as a JWKS document (kid "dev")
#   hmac.key                      an HMAC secret of 512 random bits
#
# usage: certs/generate.sh [NAME]...      more names for the certificate: api.example.test 10.0.0.5
#
# For development only. What is there already is kept; remove a file to have it made anew.
set -eu
cd "$(dirname "$0")"
umask 077

if ! command -v openssl >/dev/null 2>&1; then
    echo "Missing: openssl (Debian, Ubuntu: apt-get install openssl)" >&2
    exit 1
fi

names="DNS:localhost,IP:127.0.0.1,IP:::1"
for name in "$@"; do
    case $name in
    *[!0-9.]*) case $name in *:*) kind=IP ;; *) kind=DNS ;; esac ;;
    *) kind=IP ;;
    esac
    names="$names,$kind:$name"
done

# A P-256 private key; written to a draft first, so that a failure leaves no half file.
make_key() {
    openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.draft" 2>/dev/null
    mv "$1.draft" "$1"
}

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

# The point's coordinates are the last 64 bytes of the public key's DER form (RFC 5480 §2.2).
make_jwks() {
    x=$(openssl pkey -pubin -in issuer.pem -outform DER | tail -c 64 | head -c 32 | base64url)
    y=$(openssl pkey -pubin -in issuer.pem -outform DER | tail -c 32 | base64url)
    printf '{"keys":[{"kty":"EC","crv":"P-256","use":"sig","alg":"ES256","kid":"dev","x":"%s","y":"%s"}]}\n' \
        "$x" "$y"
}

if [ ! -f api-key.pem ] || [ ! -f api.pem ]; then
    make_key api-key.pem
    openssl req -x509 -new -key api-key.pem -sha256 -days 365 -subj "/CN=localhost" \
        -addext "subjectAltName=$names" -out api.pem
    echo "made api.pem and api-key.pem ($names)"
fi
if [ ! -f issuer-key.pem ] || [ ! -f issuer.pem ]; then
    make_key issuer-key.pem
    openssl pkey -in issuer-key.pem -pubout -out issuer.pem
    make_jwks >jwks.json
    echo "made issuer.pem, issuer-key.pem and jwks.json"
fi
if [ ! -f jwks.json ]; then
    make_jwks >jwks.json
    echo "made jwks.json"
fi
if [ ! -f hmac.key ]; then
    printf 'base64:%s\n' "$(openssl rand -base64 64 | tr -d '\n')" >hmac.key
    echo "made hmac.key"
fi
chmod 600 ./*.key ./*-key.pem
chmod 644 api.pem issuer.pem jwks.json
