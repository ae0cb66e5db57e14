#!/bin/bash
# Measures repot beside its peers on this machine and prints the tables of docs/performance.md.
#
#   benches/run.sh [-w]      -w: puts the tables into docs/performance.md
#
# Run as root. Installs nothing: names what is missing, and leaves its row out. RUNS (default 50): runs of a command; BOOTS
# (default 7): boots of each tree by each system; UNPACKS (default 10): runs of each unpacking; REPOT, TREES: the repot to measure and the
# test kit's repot-trees, else they are built. All of a table is measured in turns on copies of the same tree (the test kit's bookworm-systemd and
# bookworm-sysvinit). Run-time state is in /dev/shm, as /run is a tmpfs elsewhere. A host whose cgroups are not plain cgroup2 is
# given that in a mount namespace of the script's own, since crun, LXC and podman are made for it.
set -euo pipefail
cd "$(dirname "$0")/.."
RUNS=${RUNS:-50} BOOTS=${BOOTS:-7} UNPACKS=${UNPACKS:-10}
note() { echo "benches: $*" >&2; }

packages=()
for pair in hyperfine:hyperfine python3:python3 unshare:util-linux bwrap:bubblewrap crun:crun runc:runc podman:podman \
    conmon:conmon systemd-nspawn:systemd-container lxc-start:lxc bsdtar:libarchive-tools zstd:zstd; do
    command -v "${pair%:*}" >/dev/null || packages+=("${pair#*:}")
done
[ ${#packages[@]} -eq 0 ] || note "missing; on Debian: apt-get install --no-install-recommends ${packages[*]}"
command -v hyperfine >/dev/null && command -v python3 >/dev/null || exit 2

if [ -z "${REPOT:-}" ]; then
    cargo build -q --release -p repot
    REPOT=${CARGO_TARGET_DIR:-target}/$(rustc -vV | sed -n 's/^host: //p')/release/repot
fi
REPOT=$(realpath "$REPOT")

work=$(mktemp -d /var/tmp/repot-bench.XXXXXX)
fast=$(mktemp -d /dev/shm/repot-bench.XXXXXX)
export REPOT_DATA_DIR=$work/data REPOT_RUN_DIR=$fast/run
cleanup() {
    "$REPOT" stop --all --timeout 5 >/dev/null 2>&1 || true
    lxc-stop -P "$work/lxc" -n boot -k >/dev/null 2>&1 || true
    umount -l "$work/podman/overlay" 2>/dev/null || true
    rm -rf --one-file-system "$work" "$fast"
}
trap cleanup EXIT

# ---- What is measured ---------------------------------------------------------------------------------------------------

# Runs a command where only cgroup2 is mounted.
only_v2() {
    if [ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ]; then "$@"; return; fi
    unshare --mount sh -c 'umount -R -l /sys/fs/cgroup; mount -t cgroup2 cgroup2 /sys/fs/cgroup; exec "$@"' sh "$@"
}

trees() { ${TREES:-cargo run -q -p repot-e2e --bin repot-trees --} path "$1"; }
for name in systemd sysvinit; do
    cp -a --reflink=auto "$(trees "bookworm-$name")" "$work/$name" # the peers write to their tree
done
tree=$work/systemd
# The one console that all four have is /dev/console; a systemd in a container serves it by itself.
sed -i -E 's/ tty1$/ console/; /tty[2-6]/d' "$work/sysvinit/etc/inittab"

podman=(podman --root "$work/podman" --runroot "$fast/podman" --cgroup-manager=cgroupfs --runtime runc)
podman_run=(run --network none --pids-limit 0 --ulimit nofile=1024:1024 --ulimit nproc=1024:1024)

# ---- A command in a tree ------------------------------------------------------------------------------------------------

bundle() { # PROGRAM: its default specification, with our tree, /bin/true, and no limits to set, which may take privileges
    command -v "$1" >/dev/null || return 0
    mkdir -p "$work/$1"
    (cd "$work/$1" && "$1" spec)
    python3 - "$work/$1/config.json" "$tree" <<'PY'
import json, sys
path, tree = sys.argv[1:]
config = json.load(open(path))
config["root"] = {"path": tree, "readonly": True}
config["process"].update(args=["/bin/true"], terminal=False, rlimits=[])
json.dump(config, open(path, "w"))
PY
}
bundle crun
bundle runc
lxc() { # NAME INIT TREE OPTIONS
    mkdir -p "$work/lxc/$1"
    printf '%s\n' "lxc.include = /usr/share/lxc/config/common.conf" "lxc.rootfs.path = dir:$3" "lxc.rootfs.options = $4" \
        "lxc.uts.name = $1" "lxc.net.0.type = empty" "lxc.apparmor.profile = unconfined" "lxc.init.cmd = $2" \
        >"$work/lxc/$1/config"
}
lxc true /bin/true "$tree" ro

commands=(
    "chroot|chroot $tree /bin/true"
    "unshare (pid, mount, uts, ipc, net)|unshare --fork --pid --mount --uts --ipc --net --root=$tree /bin/true"
    "bwrap (all namespaces)|bwrap --unshare-all --ro-bind $tree / --proc /proc --dev /dev --tmpfs /tmp /bin/true"
    "repot run|$REPOT run $tree /bin/true"
    "crun (no cgroup)|crun --root $fast/crun --cgroup-manager=disabled run -b $work/crun bench-$$"
    "runc|runc --root $fast/runc run -b $work/runc bench-$$"
    "lxc-start|lxc-start -P $work/lxc -n true -F"
    "systemd-nspawn|systemd-nspawn -q --register=no --keep-unit --read-only -D $tree /bin/true"
    "podman (runc)|${podman[*]} ${podman_run[*]} --rm --rootfs $tree /bin/true"
)
measure() { # FILE: all commands in turns, by the command that comes after
    local file=$1 entry name command args=()
    shift
    for entry in "${commands[@]}"; do
        name=${entry%%|*} command=${entry#*|}
        if timeout 60 "$@" $command >"$work/probe" 2>&1 </dev/null; then
            args+=(-n "$name" "$command")
        else
            note "$name does not work here: $(tail -1 "$work/probe")"
        fi
    done
    timeout 900 "$@" hyperfine -N --warmup 3 --runs "$RUNS" --export-json "$file" "${args[@]}" >/dev/null 2>"$work/hyperfine" \
        || { cat "$work/hyperfine" >&2; exit 1; }
}
export -f only_v2
v2=(bash -c 'only_v2 "$@"' bash)
measure "$work/run-v2.json" "${v2[@]}"
[ "$(stat -fc %T /sys/fs/cgroup)" = cgroup2fs ] || measure "$work/run-host.json" env

# ---- Boot to the prompt -------------------------------------------------------------------------------------------------

boot() { # TREE SYSTEM IDLE
    local tree=$work/$1 out=$work/boots.$1.$2 argv=() end="" keeper=""
    # A sysvinit of others has no way to be asked to power off that all of them know.
    local asked=yes
    [ "$1" = systemd ] || asked=no
    case $2 in
    repot)
        argv=("$REPOT" boot --ephemeral "$tree") end="$REPOT stop --all"
        keeper="sed -n 's/.*\"supervisor_pid\": *\([0-9]*\).*/\1/p' $REPOT_RUN_DIR/*/state.json" ;;
    systemd-nspawn) # SIGTERM makes it ask a systemd to power off
        [ $asked = yes ] || end=KILL
        argv=(systemd-nspawn -q --register=no --keep-unit -b -D "$tree") ;;
    lxc-start)
        argv=(lxc-start -P "$work/lxc" -n boot -F) end="lxc-stop -P $work/lxc -n boot"
        [ $asked = yes ] || end="KILL $end -k"
        lxc boot /sbin/init "$tree" rw ;;
    podman)
        argv=("${podman[@]}" "${podman_run[@]}" --rm -it --name boot --systemd "$([ $asked = yes ] && echo always || echo false)" --rootfs "$tree" /sbin/init)
        end="${podman[*]} stop -t 20 boot"
        [ $asked = yes ] || end="KILL ${podman[*]} kill boot"
        keeper="${podman[*]} inspect -f '{{.State.ConmonPid}}' boot" ;;
    esac
    command -v "${argv[0]}" >/dev/null || return 0
    [ ! -e "$out.failed" ] || return 0
    timeout 150 "${v2[@]}" python3 benches/boot.py "$3" "$end" "$keeper" "${argv[@]}" >>"$out" 2>"$work/probe" </dev/null \
        || { note "$2 does not boot $1 here: $(tail -1 "$work/probe")"; touch "$out.failed"; }
}
for name in systemd sysvinit; do
    boot $name systemd-nspawn 0 # settles what a first boot writes, such as the machine-id, for all
    rm -f "$work/boots.$name.systemd-nspawn" "$work/$name/run/initctl"
    for ((round = 0; round < BOOTS; round++)); do
        for system in repot systemd-nspawn lxc-start podman; do
            boot $name $system $((round < 2 ? 5 : 0))
        done
    done
done

# ---- Unpacking ----------------------------------------------------------------------------------------------------------

tar -C "$tree" --numeric-owner --xattrs --xattrs-include='*' -cf "$fast/t.tar" .
gzip -k "$fast/t.tar"
! command -v zstd >/dev/null || zstd -q -3 "$fast/t.tar"
(
    cd "$fast"
    export REPOT_DATA_DIR=$fast/state
    for archive in t.tar.zst t.tar.gz; do
        [ -e $archive ] || continue
        args=() commands=(
            "GNU tar|tar --numeric-owner -p -C out -xf $archive"
            "bsdtar|bsdtar --numeric-owner -p -C out -xf $archive"
            "repot import|$REPOT import $archive"
        )
        for entry in "${commands[@]}"; do
            command=${entry#*|}
            command -v "${command%% *}" >/dev/null || continue
            args+=(-n "${entry%%|*}" "$command")
            rm -rf out state
            mkdir out
            # The largest resident set of it and of what it starts.
            python3 -c 'import os, sys
pid = os.fork()
if pid == 0:
    os.dup2(2, 1)
    os.execvp(sys.argv[2], sys.argv[2:])
print(sys.argv[1], os.wait4(pid, 0)[2].ru_maxrss, sep="|")' "$archive|${entry%%|*}" $command 2>/dev/null >>memory
        done
        hyperfine -N --warmup 1 --runs "$UNPACKS" --prepare "sh -c 'rm -rf out state; mkdir out'" \
            --export-json "$work/unpack.$archive.json" "${args[@]}" >/dev/null 2>"$work/hyperfine" \
            || { cat "$work/hyperfine" >&2; exit 1; }
    done
    cp memory "$work/memory"
)

python3 benches/tables.py "$work" ${1:+docs/performance.md}
