#!/bin/sh
# Installs what the tests need and is missing, then runs all of them. Safe to run again and again.
#
# Debian and Ubuntu: missing packages are installed by apt (with sudo when not root).
# macOS: says what to install with Homebrew.
#
# usage: tests/run.sh [ARGUMENTS FOR cargo test]
set -eu
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }

# python3 alone is not enough: Debian keeps venv in a package of its own.
have_venv() { have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null; }

packages=""
brews=""
need() { # program's check, Debian packages, Homebrew formula
    if ! "$1"; then
        packages="$packages $2"
        brews="$brews $3"
    fi
}
have_redis() { have redis-server; }
have_node() { have node; }
have_npm() { have npm; }
have_curl() { have curl; }
have_compiler() { have cc; }
have_openssl() { have openssl; }
need have_redis redis-server redis
need have_node nodejs node
need have_npm npm node
need have_venv "python3 python3-venv" python
need have_curl curl curl
need have_compiler build-essential ""
need have_openssl openssl openssl

if [ -n "$packages" ]; then
    case "$(uname -s)" in
    Darwin)
        echo "Missing. Install with: brew install$brews" >&2
        exit 1
        ;;
    esac
    if ! have apt-get; then
        echo "Missing. Install what your system calls:$packages" >&2
        exit 1
    fi
    sudo=""
    if [ "$(id -u)" -ne 0 ]; then
        sudo="sudo"
    fi
    echo "Installing:$packages"
    # Lists that are too old name versions that are gone: refresh them once and try again.
    # shellcheck disable=SC2086
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $packages ||
        { $sudo apt-get update &&
            DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y --no-install-recommends $packages; }
fi
if ! have cargo; then
    echo "Missing: Rust. See https://rustup.rs" >&2
    exit 1
fi

# Express 5 and oidc-provider 8 want it so.
if ! node -e 'process.exit(parseInt(process.versions.node) >= 18 ? 0 : 1)'; then
    echo "Node.js 18 or newer is needed; this is $(node --version)." >&2
    exit 1
fi

mkdir -p tests/.cache

# The unmodified upstreams, the OpenID provider, clients' libraries, the reference parser of
# metrics. A stamp of the lock file makes the second run quick.
same() { [ -f "$2" ] && cmp -s "$1" "$2"; }

node_app() { # name, folder
    if ! same "$2/package-lock.json" "tests/.cache/$1.lock" || [ ! -d "$2/node_modules" ]; then
        (cd "$2" && npm ci --ignore-scripts --no-audit --no-fund)
        cp "$2/package-lock.json" "tests/.cache/$1.lock"
    fi
}
node_app express tests/apps/express
node_app browser tests/browser
node_app oidc tests/providers/oidc
node_app assertions-node tests/apps/assertions
node_app oauth-node tests/clients/node
node_app axios tests/clients/axios

python_app() { # name, folder
    environment=tests/.cache/$1
    if ! same "$2/requirements.txt" "$environment.lock" || [ ! -x "$environment/bin/python" ]; then
        rm -rf "$environment"
        python3 -m venv "$environment"
        "$environment/bin/pip" install --quiet --disable-pip-version-check -r "$2/requirements.txt"
        cp "$2/requirements.txt" "$environment.lock"
    fi
}
python_app flask tests/apps/flask
python_app prometheus tests/prometheus
python_app assertions tests/apps/assertions
python_app oauth-python tests/clients/python
python_app requests tests/clients/requests

exec cargo test --locked "$@"
