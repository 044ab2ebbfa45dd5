#!/bin/sh
# Fetches the Wycheproof vectors of this folder anew, from the Go module that publishes them.
# Usage: tests/vectors/wycheproof/fetch.sh [version]; the counts in the tests name the version below.
set -eu
cd "$(dirname "$0")"

version=${1:-v0.0.0-20260902155932-3fa63dd0344a}
# Outside any module, so that the surroundings decide nothing.
module=$(cd / && GOFLAGS=-mod=mod go mod download -json "github.com/c2sp/wycheproof@$version" |
    sed -n 's/^[[:space:]]*"Dir": "\(.*\)",$/\1/p')

for name in json_web_crypto json_web_key json_web_signature; do
    install -m 644 "$module/testvectors_v1/${name}_test.json" .
done
install -m 644 "$module/LICENSE" .
