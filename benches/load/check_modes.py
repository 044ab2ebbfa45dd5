#!/usr/bin/env python3
"""What `[revocation] check` costs: off, tracked, every-request over TCP and over a unix socket,
side by side in one run.

usage: benches/load/check_modes.py [--rounds 6] [--seconds 3] [--entries 1000] [--no-callgrind]

Two figures for each mode:
  CPU    microseconds of processor time per request of the gateway's process (user and system, from
         /proc/PID/stat) at 64 connections over TLS: the median and the best third of the rounds,
         the modes taking turns
  instr  instructions per request in user space (callgrind, 4 connections), and how much more than
         with check = "off"; two thirds of the runs must agree before a small difference means much

Needs nginx, wrk, h2load, valgrind, redis-server, openssl, taskset, and a release build
(`cargo build --release`; POSTERN names another binary). The gateway has one worker on core 1; the
rest shares core 0. Everything is started here, on ports of its own, and ended here.
"""

import argparse
import json
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[2]
TARGET = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
BINARY = os.environ.get("POSTERN", str(TARGET / "release" / "postern"))
TOOLS = ["nginx", "wrk", "h2load", "valgrind", "callgrind_control", "callgrind_annotate",
         "redis-server", "redis-cli", "openssl", "taskset"]
MODES = [("off", "off", "unix"), ("tracked", "tracked", "unix"),
         ("every-request, TCP", "every-request", "tcp"),
         ("every-request, unix", "every-request", "unix")]
TICK = os.sysconf("SC_CLK_TCK")

CONFIG = """
[listen]
https = "127.0.0.1:{https}"
workers = 1
[admin]
listen = "127.0.0.1:{admin}"
[tls]
certificates = [{{ cert = "{run}/cert.pem", key = "{run}/key.pem" }}]
[state]
dir = "{run}/{name}/state"
[store]
url = "{store}"
timeout = "10s"
[revocation]
check = "{check}"
max_staleness = "{staleness}"
[limits]
connections_per_client = 10000
[auth_failures]
rate = "off"
[log]
level = "warn"
access = "off"
[[issuers]]
name = "bench"
issuer = "https://issuer.example"
audiences = ["api.example"]
algorithms = ["HS256"]
max_lifetime = "off"
[[issuers.keys]]
kid = "k"
algorithm = "HS256"
secret_file = "{run}/hmac.key"
[upstreams.origin]
servers = ["http://127.0.0.1:{origin}"]
[[routes]]
name = "all"
path = "/*"
upstream = "origin"
"""

NGINX = """
daemon off; worker_processes 1; pid {run}/nginx.pid; error_log /dev/null;
events {{ worker_connections 1024; }}
http {{
  access_log off; keepalive_requests 1000000000; default_type application/json;
  client_body_temp_path {run}/n1; proxy_temp_path {run}/n2; fastcgi_temp_path {run}/n3;
  uwsgi_temp_path {run}/n4; scgi_temp_path {run}/n5;
  server {{ listen 127.0.0.1:{origin}; location / {{ return 200 '{body}'; }} }}
}}
"""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for(what, condition, seconds=60):
    end = time.time() + seconds
    while not condition():
        if time.time() > end:
            sys.exit(f"did not happen: {what}")
        time.sleep(0.05)


def listens(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Lab:
    """Redis, origin, keys and a token; everything that is ended at the end."""

    def __init__(self, run):
        self.run, self.processes = run, []
        self.origin, self.redis = free_port(), free_port()
        key = run / "hmac.key"
        key.write_text("hex:" + os.urandom(32).hex())
        key.chmod(0o600)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "7", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", run / "key.pem", "-out",
             run / "cert.pem"], check=True, capture_output=True)
        (run / "key.pem").chmod(0o600)
        (run / "nginx.conf").write_text(
            NGINX.format(run=run, origin=self.origin, body="x" * 1024))
        self.start(0, "nginx", "-c", run / "nginx.conf", "-p", run)
        self.start(0, "redis-server", "--port", self.redis, "--save", "", "--unixsocket",
                   run / "redis", "--dir", run)
        wait_for("redis and the origin listen", lambda: listens(self.redis) and listens(self.origin))
        mint = [BINARY, "token", "mint", "--key-file", key, "--alg", "HS256", "--kid", "k", "--iss",
                "https://issuer.example", "--aud", "api.example", "--sub", "user-1", "--sid", "s-1",
                "--ttl", "24h"]
        self.token = subprocess.run(mint, check=True, capture_output=True, text=True).stdout.strip()

    def start(self, core, *command):
        words = ["taskset", "-c", str(core), *map(str, command)]
        # In a folder of its own, so that nothing is written into the project.
        process = subprocess.Popen(words, cwd=self.run, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        self.processes.append(process)
        return process

    def end(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()

    def fill(self, entries):
        lines = "".join(
            f"SET postern:blocklist:jti:https%3A%2F%2Fissuer.example:other-{n} {{}}\n"
            for n in range(entries))
        subprocess.run(["redis-cli", "-p", str(self.redis)], input=lines, text=True, check=True,
                       stdout=subprocess.DEVNULL)

    def gateway(self, name, check, door, valgrind=None):
        folder = self.run / re.sub(r"\W+", "-", name)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        https, admin = free_port(), free_port()
        store = {"tcp": f"redis://127.0.0.1:{self.redis}",
                 "unix": f"redis+unix://{self.run}/redis"}[door]
        config = folder / "postern.toml"
        # Under valgrind everything is fifty times slower, the probes too.
        config.write_text(CONFIG.format(
            https=https, admin=admin, run=self.run, name=folder.name, store=store, check=check,
            staleness="30s" if valgrind else "2s", origin=self.origin))
        config.chmod(0o600)
        words = [BINARY, "run", "--config", config]
        if valgrind:
            words = ["valgrind", "--tool=callgrind", "--instr-atstart=no",
                     f"--callgrind-out-file={valgrind}", *words]
        process = self.start(1, *words)
        wait_for(f"{name} listens", lambda: listens(https), 120)
        if check == "tracked":
            secret = folder / "state" / "admin-secret"
            wait_for("the copy is used", lambda: tracked(admin, secret), 120)
        return process, https

    def load(self, https, seconds):
        environment = dict(os.environ, TOKEN=self.token)
        script = pathlib.Path(__file__).with_name("wrk.lua")
        out = subprocess.run(
            ["taskset", "-c", "0", "wrk", "-t1", "-c64", f"-d{seconds}s", "-s", script,
             f"https://127.0.0.1:{https}/"], env=environment, check=True, capture_output=True,
            text=True).stdout
        if "other than 2xx/3xx: 0, socket errors: 0" not in out:
            sys.exit(f"requests failed:\n{out}")
        return int(re.search(r"(\d+) requests in", out).group(1))

    def h2load(self, https, requests):
        out = subprocess.run(
            ["taskset", "-c", "0", "h2load", "--h1", "-c4", "-n", str(requests), "-H",
             f"Authorization: Bearer {self.token}", f"https://127.0.0.1:{https}/"],
            check=True, capture_output=True, text=True).stdout
        if f"{requests} 2xx" not in out:
            sys.exit(f"requests failed:\n{out}")


def tracked(admin, secret):
    if not secret.exists():
        return False
    request = urllib.request.Request(
        f"http://127.0.0.1:{admin}/status",
        headers={"Authorization": "Bearer " + secret.read_text().strip()})
    try:
        with urllib.request.urlopen(request) as answer:
            return json.load(answer)["store"]["tracked"]["used"]
    except OSError:
        return False


def cpu_seconds(process):
    fields = pathlib.Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cpu_per_request(lab, rounds, seconds):
    gateways = {name: lab.gateway(name, check, door) for name, check, door in MODES}
    results = {name: [] for name in gateways}
    for https in (https for _, https in gateways.values()):
        lab.load(https, 1)
    for _ in range(rounds):
        for name, (process, https) in gateways.items():
            before = cpu_seconds(process)
            requests = lab.load(https, seconds)
            results[name].append((cpu_seconds(process) - before) * 1e6 / requests)
    for process, _ in gateways.values():
        process.terminate()
        process.wait(40)
    return results


def instructions(lab, requests=2000):
    results = {}
    for name, check, door in MODES[:2]:
        figures = []
        for attempt in range(3):
            out = lab.run / f"callgrind-{check}-{attempt}"
            process, https = lab.gateway(f"callgrind {name}", check, door, valgrind=out)
            lab.h2load(https, 400)
            control = ["callgrind_control", str(process.pid)]
            subprocess.run([*control, "-i", "on"], check=True, capture_output=True)
            lab.h2load(https, requests)
            subprocess.run([*control, "-i", "off"], check=True, capture_output=True)
            subprocess.run([*control, "-d"], check=True, capture_output=True)
            process.terminate()
            process.wait(120)
            dump = next(path for path in [pathlib.Path(f"{out}.1"), out] if path.exists())
            text = subprocess.run(["callgrind_annotate", dump], capture_output=True,
                                  text=True).stdout
            total = re.search(r"([\d,]+) .*PROGRAM TOTALS", text).group(1)
            figures.append(int(total.replace(",", "")) / requests)
        results[name] = figures
    return results


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--entries", type=int, default=1000)
    parser.add_argument("--no-callgrind", action="store_true")
    options = parser.parse_args()
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        sys.exit(f"missing: {' '.join(missing)}")
    if not os.access(BINARY, os.X_OK):
        sys.exit(f"{BINARY} is not there: cargo build --release, or set POSTERN")
    with tempfile.TemporaryDirectory() as run:
        lab = Lab(pathlib.Path(run))
        try:
            lab.fill(options.entries)
            cpu = cpu_per_request(lab, options.rounds, options.seconds)
            instr = {} if options.no_callgrind else instructions(lab)
        finally:
            lab.end()
    best = {name: statistics.mean(sorted(rounds)[:max(1, len(rounds) // 3)])
            for name, rounds in cpu.items()}
    print(f"{'check':24}{'CPU us/req':>12}{'best third':>12}{'to off':>9}{'instr/req':>12}"
          f"{'to off':>9}")
    for name, rounds in cpu.items():
        line = f"{name:24}{statistics.median(rounds):12.1f}{best[name]:12.1f}"
        line += f"{best[name] / best['off'] - 1:+9.1%}"
        if name in instr:
            figure, base = statistics.median(instr[name]), statistics.median(instr["off"])
            line += f"{figure:12.0f}{figure / base - 1:+9.1%}"
        print(line)
    for name, figures in instr.items():
        print(f"instructions, {name}:", *(f"{figure:.0f}" for figure in sorted(figures)))


if __name__ == "__main__":
    main()
