"""Joins outputs of `secateur bench --json` to one array for a baseline: a run a line, totals only.

    join.py RUN.json... > BASELINE.json
"""
import json
import sys

KEPT = ["model", "target", "core", "language", "optimize"]

runs = []
for path in sys.argv[1:]:
    with open(path) as file:
        run = json.load(file)
    runs.append({key: run[key] for key in KEPT} | {"total": run["total"]})
runs.sort(key=lambda r: [r[key] for key in KEPT])
print("[\n" + ",\n".join(json.dumps(run) for run in runs) + "\n]")
