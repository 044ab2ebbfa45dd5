#!/bin/sh
# The slow trials, against the release build: the whole suite again, ten thousand revocations over
# two gateways, a soak of five minutes, bodies of two GiB, the times of refused logins, accounts in
# PostgreSQL and MariaDB, Keycloak as the provider, and the foreign libraries' tokens made anew.
# Prints 'N passed, N failed' at the end.
#
# usage: tests/extended.sh          everything (about 20 minutes on two cores)
#        POSTERN_SOAK_SECONDS=60 tests/extended.sh    a shorter soak
set -u
cd "$(dirname "$0")/.."

passed=0
failed=0
trial() { # name, command...
    name=$1
    shift
    echo "== $name"
    if "$@"; then
        passed=$((passed + 1))
        echo "== $name: passed"
    else
        failed=$((failed + 1))
        echo "== $name: FAILED"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

install_tools() {
    packages=""
    have wrk || packages="$packages wrk"
    have openssl || packages="$packages openssl"
    have go || packages="$packages golang-go"
    ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || have postgres || packages="$packages postgresql"
    have mariadbd || packages="$packages mariadb-server"
    if ! have mvn || ! have javac; then
        packages="$packages maven default-jdk-headless"
    fi
    [ -z "$packages" ] && return 0
    if ! have apt-get; then
        echo "Missing. Install what your system calls:$packages" >&2
        return 1
    fi
    sudo=""
    [ "$(id -u)" -eq 0 ] || sudo="sudo"
    # shellcheck disable=SC2086
    $sudo apt-get install -y --no-install-recommends $packages ||
        { $sudo apt-get update && $sudo apt-get install -y --no-install-recommends $packages; }
}

release_build() {
    cargo build --release --locked
}

# The harness stays a debug build; the gateway is the release build.
against_release() {
    directory=${CARGO_TARGET_DIR:-target}
    POSTERN_TEST_BINARY="$(cd "$directory/release" && pwd)/postern" \
        cargo test --locked --test postern -- "$@"
}

# Keycloak from Maven Central, unpacked once.
keycloak_version=26.4.7
install_keycloak() {
    stamp=tests/.cache/keycloak.version
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$keycloak_version" ] && [ -d tests/.cache/keycloak ] &&
        return 0
    distribution=keycloak-quarkus-dist
    mvn -B -q org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy \
        -Dartifact="org.keycloak:$distribution:$keycloak_version:tar.gz" \
        -DoutputDirectory="$PWD/tests/.cache" || return 1
    rm -rf tests/.cache/keycloak
    mkdir -p tests/.cache/keycloak
    archive=tests/.cache/$distribution-$keycloak_version.tar.gz
    tar -xzf "$archive" -C tests/.cache/keycloak --strip-components=1 || return 1
    rm -f "$archive"
    echo "$keycloak_version" >"$stamp"
}

keycloak() {
    install_keycloak && against_release --ignored --nocapture keycloak::
}

# New tokens by the same programs must be accepted like the committed ones, which are put back.
foreign_tokens() {
    saved=$(mktemp -d)
    cp tests/foreign/fixtures/*.json "$saved/"
    tests/foreign/generate.sh && against_release foreign::
    result=$?
    cp "$saved"/*.json tests/foreign/fixtures/
    rm -rf "$saved"
    return "$result"
}

trial "tools" install_tools
trial "what the tests need" ./tests/run.sh --no-run
trial "release build" release_build
trial "the suite against the release build" against_release
trial "two GiB up and down" against_release --ignored --nocapture --test-threads 1 huge_bodies::
trial "ten thousand revocations over two gateways" against_release --ignored --nocapture two_gateways::
trial "soak" against_release --ignored --nocapture soak::
trial "times of refused logins" against_release --ignored --nocapture login_timing::
trial "accounts in PostgreSQL and MariaDB" against_release --ignored --nocapture sql_accounts::
trial "Keycloak: tokens, rotation, outages, restarts" keycloak
trial "foreign tokens made anew" foreign_tokens

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
