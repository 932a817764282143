"""The table of a comparison: medians, spread and ratios of the JSON files that scripts/compare.sh has written."""

import json
import pathlib
import statistics
import sys

FIGURES = [
    ("ops/s", lambda r: r["ops_per_s"]),
    ("p50 us", lambda r: r["all_us"]["p50"]),
    ("p99 us", lambda r: r["all_us"]["p99"]),
    ("p99.9 us", lambda r: r["all_us"]["p99.9"]),
    ("max us", lambda r: r["all_us"]["max"]),
    ("errors", lambda r: sum(r["errors"].values())),
    ("delayed", lambda r: r["delayed"]),
    ("dropped", lambda r: r["dropped"]),
]


def main() -> None:
    runs: dict[str, dict[str, list[dict]]] = {}
    files = sorted(pathlib.Path(sys.argv[1]).glob("*.json"), key=lambda file: file.stat().st_mtime_ns)
    for file in files:
        case, server, _run = file.stem.rsplit(".", 2)
        runs.setdefault(case, {}).setdefault(server, []).append(json.loads(file.read_text()))
    print("Median (least..most) of the runs; the ratio is Ringkeeper's median over ZooKeeper's.")
    print()
    print("| Case | Figure | ZooKeeper | Ringkeeper | Ratio |")
    print("|---|---|---:|---:|---:|")
    for case, servers in runs.items():
        for name, figure in FIGURES:
            values = {server: [figure(run) for run in of] for server, of in servers.items()}
            if name in ("errors", "delayed", "dropped") and not any(any(v) for v in values.values()):
                continue
            cells = {
                server: f"{statistics.median(v):,.0f} ({min(v):,.0f}..{max(v):,.0f})" for server, v in values.items()
            }
            medians = {server: statistics.median(v) for server, v in values.items()}
            below = medians.get("zookeeper", 0)
            ratio = f"{medians['ringkeeper'] / below:.2f}" if below and "ringkeeper" in medians else "-"
            print(f"| {case} | {name} | {cells.get('zookeeper', '-')} | {cells.get('ringkeeper', '-')} | {ratio} |")


main()
