#!/usr/bin/env bash
# Stages: do the stages of a write, as the server counts them, sum to what clients wait for?
#   scripts/stages.sh [--seconds S] [--rounds N] [RATE...]     10 s, three times, at 1000 4000 16000 writes a second
# Starts a server on fresh data, loads it at each rate, and takes the stages' sums from its metrics before and after. What clients wait for
# beyond them is the network and their own turn: a read at the same rate, which has no stage but that, is measured beside it. Tells the mean of each
# stage, their sum, the clients' mean for writes and for reads, and the sum's share. SERVER names the program (target/release/ringkeeper),
# MORE further lines of the configuration, PORT (24950) its ports. Ends with 1 where a share is below 95 % or above 105 % of the clients' mean less
# that of a read.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=10 rounds=3 rates=()
while [ $# -gt 0 ]; do
  case $1 in
    --seconds) seconds=$2; shift ;;
    --rounds) rounds=$2; shift ;;
    [0-9]*) rates+=("$1") ;;
    *) sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
  esac
  shift
done
[ ${#rates[@]} -gt 0 ] || rates=(1000 4000 16000)
server=$(realpath "${SERVER:-target/release/ringkeeper}")
port=${PORT:-24950}
work=$(mktemp -d -p "${TMPDIR:-/var/tmp}")
pid=''
trap 'kill "$pid" 2> /dev/null || true; rm -rf "$work"' EXIT
printf '%s\n' "clientPort=$port" clientPortAddress=127.0.0.1 "dataDir=$work/data" maxClientCnxns=0 '4lw.commands.whitelist=*' \
  metricsProvider.className=org.apache.zookeeper.metrics.prometheus.PrometheusMetricsProvider metricsProvider.httpHost=127.0.0.1 \
  "metricsProvider.httpPort=$((port + 1))" ${MORE:-} > "$work/zoo.cfg"
"$server" serve "$work/zoo.cfg" > "$work/log" 2>&1 &
pid=$!
until grep -q '^ready' "$work/log"; do sleep 0.1; kill -0 "$pid"; done
python3 - "$server" "$port" "$work" "$seconds" "$rounds" "${rates[@]}" <<'PYTHON'
import base64, json, re, struct, subprocess, sys, time, urllib.request, zlib

server, port, work, seconds, rounds = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], int(sys.argv[5])
STAGES = ["queue", "batch", "flush", "replicate", "deliver", "respond"]


def stages():
    text = urllib.request.urlopen(f"http://127.0.0.1:{port + 1}/metrics").read().decode()
    found = {}
    for kind, stage, value in re.findall(r'^ringkeeper_stage_seconds_(sum|count){stage="(\w+)"} (\S+)$', text, re.M):
        found[stage, kind] = float(value)
    return found


def mean_us(workload, rate):
    """The clients' mean, and the stages from well after the bench has made its znodes until well before it removes them."""
    out = f"{work}/run.json"
    words = ["--workload", workload, "--rate", rate, "--seconds", str(int(seconds) + 4), "--warmup", "0", "--connections", "16", "--in-flight", "256"]
    bench = subprocess.Popen([server, "bench", "run", "--quiet", "--servers", f"127.0.0.1:{port}", "--json", out, *words], stdout=subprocess.DEVNULL)
    time.sleep(2.5)
    before = stages()
    time.sleep(int(seconds))
    after = stages()
    if bench.wait() != 0:
        sys.exit("the bench failed")
    return mean(json.load(open(out))["operations"][workload]["latency"]), before, after


def mean(text):
    """Of a HdrHistogram, V2 and deflated: counts in zigzag LEB128, runs of zeros negative."""
    data = zlib.decompress(base64.b64decode(text)[8:])
    length, _, digits, lowest, _, _ = struct.unpack(">iiiqqd", data[4:40])
    sub_bits = (2 * 10**digits - 1).bit_length()
    half, total, count, index, at = 1 << (sub_bits - 1), 0, 0, 0, 40
    while at < 40 + length:
        value = shift = 0
        while True:
            byte = data[at]
            at += 1
            if shift == 56:
                value |= byte << shift
                break
            value |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        value = (value >> 1) ^ -(value & 1)
        if value < 0:
            index -= value
            continue
        bucket = max(0, (index >> (sub_bits - 1)) - 1)
        sub = index if index < 2 * half else (index & (half - 1)) + half
        low, width = sub << bucket, 1 << bucket
        total += value * (low + (width - 1) / 2)
        count += value
        index += 1
    return total / max(count, 1)


bad = False
print(f"{'rate/s':>8}" + "".join(f"{stage:>11}" for stage in STAGES) + f"{'sum':>9}{'clients':>9}{'reads':>8}{'share':>9}{'less reads':>12}")
for rate in sys.argv[6:]:
    rows = []
    for _ in range(rounds):
        writes, before, after = mean_us("set", rate)
        reads, _, _ = mean_us("read", rate)
        counts = [after[stage, "count"] - before.get((stage, "count"), 0) for stage in STAGES]
        sums = [after[stage, "sum"] - before.get((stage, "sum"), 0) for stage in STAGES]
        each = [1e6 * s / c if c else 0.0 for s, c in zip(sums, counts)]
        rows.append((each, sum(each), writes, reads))
    rows.sort(key=lambda row: row[1] / row[2])
    each, whole, writes, reads = rows[len(rows) // 2]
    share, less = whole / writes, whole / max(writes - reads, 1e-9)
    bad |= not 0.95 <= less <= 1.05
    print(f"{rate:>8}" + "".join(f"{us:>11.1f}" for us in each) + f"{whole:>9.1f}{writes:>9.1f}{reads:>8.1f}{share:>9.3f}{less:>12.3f}")
sys.exit(bad)
PYTHON
