#!/bin/sh
# The slow trials, against the release build: the whole suite again, ten thousand revocations over
# two gateways, ten thousand live streams, a soak of five minutes, bodies of two GiB, the times of
# refused logins, accounts in PostgreSQL and MariaDB, Keycloak as the provider, and the foreign
# libraries' tokens made anew. Prints 'N passed, N failed' at the end.
#
# usage: tests/extended.sh          everything (about 30 minutes on two cores)
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
    [ -x "${CHROMIUM:-/usr/bin/chromium}" ] || packages="$packages chromium"
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

# Valkey: the installed one, or Debian's from bookworm-backports, unpacked and not installed.
valkey_binary() {
    if have valkey-server; then
        command -v valkey-server
        return 0
    fi
    cache="$PWD/tests/.cache/valkey"
    binary="$cache/root/usr/bin/valkey-server"
    if [ ! -x "$binary" ]; then
        have apt-get || { echo "Missing: valkey-server" >&2; return 1; }
        mkdir -p "$cache/lists/partial" "$cache/archives/partial" "$cache/root"
        mirror=$(apt-get indextargets --format '$(CODENAME) $(REPO_URI)' |
            sed -n 's/^bookworm //p' | head -n 1)
        [ -n "$mirror" ] || { echo "Missing: valkey-server" >&2; return 1; }
        echo "deb $mirror bookworm-backports main" >"$cache/sources.list"
        apt_valkey() {
            apt-get -q -o Dir::Etc::SourceList="$cache/sources.list" \
                -o Dir::Etc::SourceParts=/dev/null -o Dir::State::Lists="$cache/lists" \
                -o Dir::Cache="$cache" "$@" >&2
        }
        apt_valkey update || return 1
        (cd "$cache" && apt_valkey download valkey-server valkey-tools) || return 1
        for package in "$cache"/*.deb; do
            dpkg-deb -x "$package" "$cache/root" || return 1
        done
    fi
    echo "$binary"
}

# Everything that talks to a store, with Valkey in Redis' place: alone, behind sentinels, a cluster.
valkey() {
    POSTERN_TEST_REDIS=$(valkey_binary) || return 1
    export POSTERN_TEST_REDIS
    "$POSTERN_TEST_REDIS" --version &&
        against_release --ignored --nocapture valkey:: &&
        against_release blocklist:: revocations:: two_gateways:: shared_limits:: sentinel:: \
            cluster::
    result=$?
    unset POSTERN_TEST_REDIS
    return "$result"
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
trial "the local copy: propagation under load, a million entries" \
    against_release --ignored --nocapture --test-threads 1 tracked_trials::
trial "ten thousand live streams" against_release --ignored --nocapture many_streams::
trial "failovers behind sentinels" against_release --ignored --nocapture --test-threads 1 sentinel::
trial "a cluster's slots move, its masters die" \
    against_release --ignored --nocapture --test-threads 1 cluster::
trial "Valkey" valkey
trial "soak" against_release --ignored --nocapture soak::
trial "rotations: a thousand at once, kill -9 of gateway and Redis" \
    against_release --ignored --nocapture --test-threads 1 rotation_trials::
trial "times of refused logins" against_release --ignored --nocapture login_timing::
trial "a real browser: login, renewal, attacks, logout" \
    against_release --ignored --nocapture real_browser::
trial "accounts in PostgreSQL and MariaDB" against_release --ignored --nocapture sql_accounts::
trial "Keycloak: tokens, rotation, outages, restarts" keycloak
trial "foreign tokens made anew" foreign_tokens

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
