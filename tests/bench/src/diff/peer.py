# Text to report with deepdiff-rs: python3 peer.py deepdiff-rs LEGACY NEW RUNS
# Each file holds one JSON text per line; a run compares every line with its counterpart.
import json
import statistics
import sys
import time

from deepdiff_rs import diff_json

_, _, legacy_file, new_file, runs = sys.argv


def lines(file):
    with open(file, encoding="utf-8") as text:
        return [line for line in text.read().split("\n") if line]


pairs = list(zip(lines(legacy_file), lines(new_file)))


def once():
    return [diff_json(a, b) for a, b in pairs]


reports = once()
times = []
for _ in range(int(runs)):
    started = time.perf_counter()
    reports = once()
    times.append((time.perf_counter() - started) * 1000)
reported = sum(len(found) for report in reports for found in json.loads(report).values())
print(json.dumps({"median_ms": statistics.median(times), "reported": reported}))
