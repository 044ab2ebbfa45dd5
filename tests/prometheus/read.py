"""Reads an OpenMetrics text on standard input with the reference parser; prints what it says.

One JSON object: families by name, with type, unit and samples (name, labels, value). Whatever the
parser refuses is an error, and so is a sample that is there twice.
"""

import json
import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families

families = {}
seen = set()
for family in text_string_to_metric_families(sys.stdin.read()):
    samples = []
    for sample in family.samples:
        key = (sample.name, tuple(sorted(sample.labels.items())))
        if key in seen:
            sys.exit(f"twice: {key}")
        seen.add(key)
        samples.append([sample.name, sample.labels, sample.value])
    families[family.name] = {"type": family.type, "unit": family.unit, "samples": samples}
json.dump(families, sys.stdout)
