#!/usr/bin/env python3
"""Do times or answers of a login endpoint tell which accounts exist?

Asks for known and for unknown accounts with wrong passwords, in random order, on one kept
connection, and compares: the answers (which must be alike but for request ids), and the times, by
the Mann-Whitney test and by the difference of medians with a bootstrap interval. Unknown accounts
are compared with each other, too: what that shows is the measurement's own noise.

Exit code 0: nothing can be told. 1: something can. 2: it could not be measured.

The gateway under test must not limit these logins (`login_limits = []`).

usage: tests/timing/login_timing.py URL --known alice [--known bob] [--runs 300]
"""

import argparse
import http.client
import json
import math
import random
import ssl
import statistics
import sys
import time
import urllib.parse

# What differs from answer to answer by its nature.
VARIABLE_FIELDS = {"date", "x-request-id"}
# Groups are told apart when chance alone makes such a difference this seldom ...
SIGNIFICANT = 0.001
# ... and the difference of medians is at least this part of the median.
RELEVANT = 0.01


class Endpoint:
    """One kept connection to the endpoint."""

    def __init__(self, url, field, insecure):
        self.url = urllib.parse.urlsplit(url)
        self.field = field
        self.context = ssl._create_unverified_context() if insecure else ssl.create_default_context()
        self.connection = None

    def open(self):
        host, port = self.url.hostname, self.url.port
        if self.url.scheme == "https":
            self.connection = http.client.HTTPSConnection(host, port, timeout=60, context=self.context)
        else:
            self.connection = http.client.HTTPConnection(host, port, timeout=60)
        self.connection.connect()

    def ask(self, name):
        """Seconds until the whole answer was there, and what it was."""
        if self.connection is None or self.connection.sock is None:
            self.open()
        document = json.dumps({self.field: name, "password": "wrong %016x" % random.getrandbits(64)})
        fields = {"Content-Type": "application/json"}
        begun = time.perf_counter()
        self.connection.request("POST", self.url.path or "/", document, fields)
        response = self.connection.getresponse()
        body = response.read()
        taken = time.perf_counter() - begun
        return taken, (response.status, names(response), shape(body))


def names(response):
    fields = [(name.lower(), value) for name, value in response.getheaders()]
    return tuple(sorted(field for field in fields if field[0] not in VARIABLE_FIELDS))


def shape(body):
    """The body without its request id."""
    try:
        document = json.loads(body)
    except ValueError:
        return body
    if isinstance(document, dict):
        document.pop("request_id", None)
    return json.dumps(document, sort_keys=True)


def mann_whitney(one, other):
    """How likely chance alone makes such a difference (two-sided, normal approximation)."""
    ranked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    ranks, ties, place = 0.0, 0.0, 0
    while place < len(ranked):
        end = place
        while end < len(ranked) and ranked[end][0] == ranked[place][0]:
            end += 1
        rank = (place + 1 + end) / 2
        ranks += rank * sum(1 for _, group in ranked[place:end] if group == 0)
        ties += (end - place) ** 3 - (end - place)
        place = end
    n, m = len(one), len(other)
    total = n + m
    u = ranks - n * (n + 1) / 2
    spread = n * m / 12 * ((total + 1) - ties / (total * (total - 1)))
    if spread <= 0:
        return 1.0
    z = (abs(u - n * m / 2) - 0.5) / math.sqrt(spread)
    return math.erfc(max(z, 0.0) / math.sqrt(2))


def median_difference(one, other, rounds=2000):
    """Difference of medians, and the interval that holds 95 % of its bootstrap."""
    chance = random.Random(1)
    found = sorted(
        statistics.median(chance.choices(one, k=len(one)))
        - statistics.median(chance.choices(other, k=len(other)))
        for _ in range(rounds)
    )
    middle = statistics.median(one) - statistics.median(other)
    return middle, found[int(rounds * 0.025)], found[int(rounds * 0.975)]


def compare(label, one, other):
    """Prints one comparison; whether the two can be told apart."""
    likely = mann_whitney(one, other)
    middle, low, high = median_difference(one, other)
    median = statistics.median(other)
    told = likely < SIGNIFICANT and abs(middle) > RELEVANT * median
    verdict = "CAN BE TOLD APART" if told else "alike"
    print(
        f"{label:<34} medians {statistics.median(one) * 1e3:8.2f} ms and {median * 1e3:8.2f} ms, "
        f"difference {middle * 1e3:+.3f} ms [{low * 1e3:+.3f}, {high * 1e3:+.3f}], "
        f"p = {likely:.3f}: {verdict}"
    )
    return told


def measure(endpoint, known, runs):
    """Times and answers by group, the groups in random order within each round."""
    groups = {f"known {name}": [] for name in known}
    groups["unknown"] = []
    groups["unknown again"] = []
    answers = {}
    for run in range(runs + 5):
        order = list(groups)
        random.shuffle(order)
        for group in order:
            name = group.removeprefix("known ")
            if group.startswith("unknown"):
                name = "%s-%08x" % (random.choice(known), random.getrandbits(32))
            taken, answer = endpoint.ask(name)
            answers.setdefault(answer, set()).add(group.removesuffix(" again"))
            # The first few warm caches up.
            if run >= 5:
                groups[group].append(taken)
    return groups, answers


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("url")
    parser.add_argument("--known", action="append", required=True, help="an account that exists")
    parser.add_argument("--runs", type=int, default=300, help="logins of each group")
    parser.add_argument("--field", default="username")
    parser.add_argument("--insecure", action="store_true", help="take any certificate")
    arguments = parser.parse_args()
    endpoint = Endpoint(arguments.url, arguments.field, arguments.insecure)
    try:
        groups, answers = measure(endpoint, arguments.known, arguments.runs)
    except (OSError, http.client.HTTPException) as error:
        print(f"cannot be measured: {error}", file=sys.stderr)
        return 2
    statuses = {status for status, _, _ in answers}
    if statuses - {401}:
        print(f"cannot be measured: answers with status {sorted(statuses)}, wanted 401 alone "
              "(is a login limit on?)", file=sys.stderr)
        return 2
    told = False
    if len(answers) > 1:
        told = True
        print("ANSWERS DIFFER:")
        for answer, by in answers.items():
            print(f"  {sorted(by)}: {answer}")
    else:
        print("answers: one and the same for every cause")
    compare("noise: unknown and unknown again", groups["unknown"], groups["unknown again"])
    unknown = groups["unknown"] + groups["unknown again"]
    for group, times in groups.items():
        if group.startswith("known "):
            told |= compare(f"{group} and unknown", times, unknown)
    return 1 if told else 0


if __name__ == "__main__":
    sys.exit(main())
