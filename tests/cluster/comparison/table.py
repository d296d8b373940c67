#!/usr/bin/env python3
"""What the lines of ../load say of each way, side by side; and in OUT, as JSON, for whoever checks it.

table.py --pods COUNT --out OUT NAME=FOLDER...

A folder has a folder for each round: a file of calls from each node, and `busy`, the share of the
machine's processors that was used meanwhile. A figure is the median of the rounds."""

import argparse
import bisect
import collections
import json
import pathlib
import statistics

Call = collections.namedtuple("Call", "due late took code caller pod zone")

COLUMNS = {
    "requests of a pod, max/mean": lambda row: f"{row['most']:.2f}",
    "min/mean": lambda row: f"{row['least']:.2f}",
    "in flight, max/mean": lambda row: f"{row['in_flight']:.1f}",
    "p50": lambda row: milliseconds(row["p50"]),
    "p90": lambda row: milliseconds(row["p90"]),
    "p99": lambda row: milliseconds(row["p99"]) + between(row["p99s"]),
    "failed": lambda row: f"{row['failed']:,} of {row['calls']:,}",
    "to another zone": lambda row: f"{row['across']:.0%}",
    "begun late, p99": lambda row: milliseconds(row["late"]),
    "machine": lambda row: f"{row['busy']:.0%}",
}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--pods", type=int, required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("ways", nargs="+")
    arguments = parser.parse_args()
    rows = {}
    for way in arguments.ways:
        name, _, folder = way.partition("=")
        rows[name] = of_all([of_round(round, arguments.pods) for round in pathlib.Path(folder).iterdir()])
    pathlib.Path(arguments.out).write_text(json.dumps(rows))
    print("| |", " | ".join(COLUMNS), "|")
    print("|---" * (len(COLUMNS) + 1) + "|")
    for name, row in rows.items():
        print("|", name, "|", " | ".join(shown(row) for shown in COLUMNS.values()), "|")


def of_all(rounds):
    row = {figure: statistics.median(round[figure] for round in rounds) for figure in rounds[0]}
    # A failed call counts, whatever the round.
    for counted in "failed", "calls":
        row[counted] = sum(round[counted] for round in rounds)
    row["p99s"] = sorted(round["p99"] for round in rounds)
    return row


def of_round(folder, pods):
    calls = calls_of(folder)
    took = sorted(call.took / 1000 for call in calls)
    late = sorted(call.late / 1000 for call in calls)
    known = [call for call in calls if call.pod != "-"]
    requests = collections.Counter(call.pod for call in known)
    mean = len(known) / pods
    return {
        "calls": len(calls),
        "failed": sum(call.code != "OK" for call in calls),
        "p50": quantile(took, 0.5),
        "p90": quantile(took, 0.9),
        "p99": quantile(took, 0.99),
        "most": max(requests.values()) / mean,
        # Pods without any call count, too.
        "least": (min(requests.values()) if len(requests) == pods else 0) / mean,
        "in_flight": in_flight(known, pods),
        "across": sum(call.zone != call.caller for call in known) / len(known),
        "late": quantile(late, 0.99),
        "busy": float((folder / "busy").read_text()),
    }


def calls_of(folder):
    calls = []
    for file in folder.glob("load-*"):
        for line in file.read_text().splitlines():
            due, late, took, *words = line.split()
            calls.append(Call(int(due), int(late), int(took), *words))
    return calls


def in_flight(calls, pods):
    """The most of a pod over the mean of all: looked at a hundred times a second, and averaged."""
    begun, ended = collections.defaultdict(list), collections.defaultdict(list)
    for call in calls:
        begun[call.pod].append(call.due)
        ended[call.pod].append(call.due + call.took)
    for times in (*begun.values(), *ended.values()):
        times.sort()
    ratios = []
    for now in range(min(call.due for call in calls), max(call.due for call in calls), 10_000):
        counts = [bisect.bisect(begun[pod], now) - bisect.bisect(ended[pod], now) for pod in begun]
        if any(counts):
            ratios.append(max(counts) * pods / sum(counts))
    return statistics.mean(ratios)


def quantile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def milliseconds(value):
    return f"{value:,.0f} ms"


def between(values):
    return f" ({values[0]:,.0f} to {values[-1]:,.0f})" if len(values) > 1 else ""


main()
