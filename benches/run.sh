#!/bin/bash
# Compares repot with its peers on this machine and prints a Markdown table of medians and ratios.
#
#   benches/run.sh [TREE]      TREE: a rootfs with systemd; default: the test kit's bookworm-systemd
#
# Run as root. Installs hyperfine, bubblewrap, crun, systemd-container, lxc and python3 with apt-get if they are missing.
# A peer that cannot be installed or does not work here is left out of the table and named on standard error.
# RUNS (default 30): runs per command; BOOTS (default 7): boots per system; REPOT: the binary to measure.
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS=${RUNS:-30} BOOTS=${BOOTS:-7}
note() { echo "benches: $*" >&2; }

install_if_missing() { # PROGRAM PACKAGE
    command -v "$1" >/dev/null && return
    DEBIAN_FRONTEND=noninteractive apt-get install -yqq --no-install-recommends -o DPkg::Lock::Timeout=300 "$2" \
        >/dev/null 2>&1 || note "$2 cannot be installed"
}
for pair in hyperfine:hyperfine bwrap:bubblewrap crun:crun systemd-nspawn:systemd-container lxc-start:lxc python3:python3; do
    install_if_missing "${pair%:*}" "${pair#*:}"
done

host=$(rustc -vV | sed -n 's/^host: //p')
if [ -z "${REPOT:-}" ]; then
    cargo build -q --release -p repot
    REPOT=${CARGO_TARGET_DIR:-target}/$host/release/repot
fi
REPOT=$(realpath "$REPOT")
tree=${1:-$(cargo run -q -p repot-e2e --bin repot-trees -- path bookworm-systemd)}

work=$(mktemp -d /var/tmp/repot-bench.XXXXXX)
export REPOT_DATA_DIR=$work/data REPOT_RUN_DIR=$work/run
cleanup() {
    "$REPOT" stop --all --timeout 5 >/dev/null 2>&1 || true
    lxc-stop -P "$work/lxc" -n bench -k >/dev/null 2>&1 || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

# ---- A command in a tree --------------------------------------------------------------------------------------------

mkdir -p "$work/bundle"
if command -v crun >/dev/null; then
    (cd "$work/bundle" && crun spec)
    python3 - "$work/bundle/config.json" "$tree" <<'PY'
import json, sys
path, tree = sys.argv[1:]
config = json.load(open(path))
config["root"] = {"path": tree, "readonly": True}
config["process"].update(args=["/bin/true"], terminal=False)
json.dump(config, open(path, "w"))
PY
fi
commands=(
    "chroot|chroot $tree /bin/true"
    "unshare (pid, mount, uts, ipc, net)|unshare --fork --pid --mount --uts --ipc --net --root=$tree /bin/true"
    "bwrap (all namespaces)|bwrap --unshare-all --ro-bind $tree / --proc /proc --dev /dev --tmpfs /tmp /bin/true"
    "crun|crun --cgroup-manager=disabled run -b $work/bundle bench-$$"
    "repot run|$REPOT run $tree /bin/true"
    "systemd-nspawn|systemd-nspawn -q --register=no --keep-unit --read-only -D $tree /bin/true"
)
names=() args=()
for entry in "${commands[@]}"; do
    name=${entry%%|*} command=${entry#*|}
    if $command >"$work/probe" 2>&1; then
        names+=("$name"); args+=(-n "$name" "$command")
    else
        note "$name does not work here: $(tail -1 "$work/probe")"
    fi
done
hyperfine -N --warmup 3 --runs "$RUNS" --export-json "$work/run.json" "${args[@]}" >/dev/null 2>"$work/hyperfine" \
    || { cat "$work/hyperfine" >&2; exit 1; }

# ---- Boot to the prompt ---------------------------------------------------------------------------------------------

cp -a --reflink=auto "$tree" "$work/copy"      # the peers write to their tree
mkdir -p "$work/lxc/bench"
cat >"$work/lxc/bench/config" <<CONF
lxc.include = /usr/share/lxc/config/common.conf
lxc.rootfs.path = dir:$work/copy
lxc.uts.name = bench
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
CONF
cat >"$work/boot.py" <<'PY'
"""Starts a command on a pty, waits for `login:`, measures the process that stays, ends it. JSON on standard output."""
import json, os, pty, select, subprocess, sys, time

def pss(pid):
    fields = {}
    for line in open(f"/proc/{pid}/smaps_rollup"):
        name, _, rest = line.partition(":")
        fields[name] = int(rest.split()[0]) if rest.strip().endswith("kB") else 0
    return {"pss_kib": fields["Pss"], "private_kib": fields["Private_Dirty"] + fields["Private_Clean"]}

def main(kind, end, argv):
    begin = time.monotonic()
    pid, master = pty.fork()
    if pid == 0:
        os.execvp(argv[0], argv)
    seen = b""
    while b"login: " not in seen:
        if not select.select([master], [], [], 60)[0]:
            sys.exit(f"no prompt within 60 s: {seen[-400:]!r}")
        try:
            seen += os.read(master, 4096)
        except OSError:
            sys.exit(f"ended before the prompt: {seen[-400:]!r}")
    result = {"ms": (time.monotonic() - begin) * 1000}
    keeper = pid
    if kind == "repot":   # what stays is the supervisor; the command on the terminal may detach
        run = os.environ["REPOT_RUN_DIR"]
        name = next(n for n in os.listdir(run) if not n.startswith("."))
        keeper = json.load(open(f"{run}/{name}/state.json"))["supervisor_pid"]
    result.update(pss(keeper))
    begin = time.monotonic()
    if end:
        subprocess.Popen(end, shell=True, stdin=subprocess.DEVNULL)
    else:                 # nspawn: its only child is PID 1 (or its helper); SIGRTMIN+4 through it
        os.kill(pid, 15)
    while True:           # drains the console until the end
        try:
            if select.select([master], [], [], 30)[0] and os.read(master, 4096):
                continue
        except OSError:
            pass
        break
    os.waitpid(pid, 0)
    result["stop_ms"] = (time.monotonic() - begin) * 1000
    print(json.dumps(result))

main(sys.argv[1], sys.argv[2], sys.argv[3:])
PY
boots() { # NAME KIND END COMMAND...
    local name=$1; shift
    for ((n = 0; n < BOOTS; n++)); do
        timeout 120 python3 "$work/boot.py" "$@" >>"$work/boots.$name" 2>"$work/probe" \
            || { note "$name: $(tail -1 "$work/probe")"; rm -f "$work/boots.$name"; return 0; }
    done
}
boots "repot" repot "$REPOT stop --all >/dev/null" "$REPOT" boot --ephemeral "$tree"
# SIGTERM makes nspawn ask PID 1 to power off (SIGRTMIN+3); PID 1 halts, which ends it.
boots "systemd-nspawn" other "" systemd-nspawn -q --register=no --keep-unit -b -D "$work/copy"
boots "lxc-start" other "lxc-stop -P $work/lxc -n bench >/dev/null 2>&1" lxc-start -P "$work/lxc" -n bench -F

# ---- Tables -----------------------------------------------------------------------------------------------------------

python3 - "$work" <<'PY'
import glob, json, os, statistics, sys
work = sys.argv[1]
results = json.load(open(f"{work}/run.json"))["results"]
own = next(r["median"] for r in results if r["command"] == "repot run")
print("| a command in a tree (`/bin/true`) | median ms | times repot |\n| --- | ---: | ---: |")
for r in sorted(results, key=lambda r: r["median"]):
    print(f"| {r['command']} | {r['median'] * 1000:.1f} | {r['median'] / own:.2f} |")
boots = {os.path.basename(f)[6:]: [json.loads(l) for l in open(f)] for f in glob.glob(f"{work}/boots.*")}
median = lambda name, key: statistics.median(b[key] for b in boots[name])
print("\n| boot to `login:` | median ms | times repot | stop, median ms | Pss of what stays, KiB | private, KiB |")
print("| --- | ---: | ---: | ---: | ---: | ---: |")
for name in sorted(boots, key=lambda name: median(name, "ms")):
    ratio = median(name, "ms") / median("repot", "ms") if "repot" in boots else float("nan")
    print(f"| {name} | {median(name, 'ms'):.0f} | {ratio:.2f} | {median(name, 'stop_ms'):.0f} "
          f"| {median(name, 'pss_kib'):.0f} | {median(name, 'private_kib'):.0f} |")
PY
