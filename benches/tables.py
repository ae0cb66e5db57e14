"""Turns what benches/run.sh measured into Markdown: tables.py DIRECTORY [DOCUMENT]

With a document, the tables replace what stands between its two markers.
"""

import glob
import json
import os
import platform
import statistics
import sys
import time

work = sys.argv[1]
lines = []


def table(*rows):
    head, *body = rows
    lines.append("| " + " | ".join(head) + " |")
    lines.append("| --- |" + " ---: |" * (len(head) - 1))
    lines.extend("| " + " | ".join(row) + " |" for row in body)
    lines.append("")


def cpu(result):
    return (result["user"] + result["system"]) * 1000


def commands():
    layouts = [("run-v2.json", "cgroup2"), ("run-host.json", "this host's cgroups")]
    found = {title: json.load(open(f"{work}/{name}"))["results"] for name, title in layouts if os.path.exists(f"{work}/{name}")}
    by_name = {title: {r["command"]: r for r in results} for title, results in found.items()}
    first = next(iter(by_name.values()))
    head = ["`/bin/true` in a tree"]
    for title in by_name:
        head += [f"{title}: median ms", "least ms", "CPU ms", "times bwrap"]
    rows = []
    for name in sorted(first, key=lambda name: first[name]["median"]):
        row = [name]
        for results in by_name.values():
            if name not in results:
                row += ["does not run"] + ["-"] * 3
                continue
            ms = results[name]["median"] * 1000
            of = results["bwrap (all namespaces)"]["median"] * 1000 if "bwrap (all namespaces)" in results else float("nan")
            row += [f"{ms:.1f}", f"{results[name]['min'] * 1000:.1f}", f"{cpu(results[name]):.1f}", f"{ms / of:.2f}"]
        rows.append(row)
    table(head, *rows)


def boots():
    for tree in ("systemd", "sysvinit"):
        paths = [path for path in glob.glob(f"{work}/boots.{tree}.*") if not path.endswith(".failed") and os.path.getsize(path)]
        runs = {path.rsplit(".", 1)[1]: [json.loads(line) for line in open(path)] for path in paths}
        if "repot" not in runs:
            continue
        middle = lambda name, key: statistics.median([run[key] for run in runs[name] if key in run] or [float("nan")])
        rows = []
        for name in sorted(runs, key=lambda name: middle(name, "ms")):
            stays = {"repot": "supervisor", "podman": "conmon"}.get(name, name)
            rows.append([
                name,
                str(len(runs[name])),
                f"{middle(name, 'ms'):.0f}",
                f"{min(run['ms'] for run in runs[name]):.0f}",
                f"{middle('repot', 'ms') / middle(name, 'ms'):.2f}",
                f"{middle(name, 'stop_ms'):.0f}".replace("nan", "-"),
                stays,
                f"{middle(name, 'pss_kib'):.0f}",
                f"{middle(name, 'private_kib'):.0f}",
                f"{middle(name, 'wakes_per_min'):.0f}",
            ])
        head = [f"Debian 12, {tree}: boot to `login:`", "boots", "median ms", "least ms", "repot / this", "stop, ms", "what stays", "Pss KiB",
                "private dirty KiB", "wake-ups per minute, idle"]
        table(head, *rows)


def unpacking():
    memory = {}
    for line in open(f"{work}/memory"):
        archive, name, kib = line.strip().split("|")
        memory[archive, name] = int(kib)
    rows = []
    for archive in ("t.tar.zst", "t.tar.gz"):
        path = f"{work}/unpack.{archive}.json"
        if not os.path.exists(path):
            continue
        results = json.load(open(path))["results"]
        own = next(r["median"] for r in results if r["command"] == "repot import")
        for r in sorted(results, key=lambda r: r["median"]):
            kib = memory.get((archive, r["command"]))
            rows.append([f"{archive[6:]}: {r['command']}", f"{r['median'] * 1000:.0f}", f"{r['min'] * 1000:.0f}", f"{cpu(r):.0f}",
                         f"{r['median'] / own:.2f}", f"{kib / 1024:.1f}"])
    table(["the systemd tree into a tmpfs", "median ms", "least ms", "CPU ms", "times repot", "most memory, MiB"], *rows)


commands()
boots()
unpacking()
load = " ".join(f"{value:.1f}" for value in os.getloadavg())
lines.append(f"Measured {time.strftime('%Y-%m-%d %H:%M', time.gmtime())} UTC, Linux {platform.release()}, {os.cpu_count()} processors, load "
             f"at the end {load} (1, 5, 15 minutes).")
text = "\n".join(lines)
if len(sys.argv) > 2:
    begin, end = "<!-- benches/run.sh -->\n", "\n<!-- end -->"
    before, rest = open(sys.argv[2]).read().split(begin)
    open(sys.argv[2], "w").write(before + begin + text + end + rest.split(end)[1])
else:
    print(text)
