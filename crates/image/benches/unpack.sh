#!/bin/sh
# How long it takes to unpack a tarball into a tmpfs: repot's import against GNU tar and bsdtar.
#
#   crates/image/benches/unpack.sh [DIRECTORY...]
#
# Packs the directories (default: /usr/lib and /usr/bin of this host), compresses the archive with gzip and zstd,
# and unpacks each with all three by hyperfine. Needs root (owners, devices), 4 GiB in /dev/shm, libarchive-tools,
# zstd, hyperfine; for memory, time. repot's figure includes what the others do not do: SHA-256 of the archive, the record, syncfs.
# WORK=DIR keeps the archives between runs; RUNS is the number of runs of each.
set -eu

work=${WORK:-/dev/shm/repot-bench}
runs=${RUNS:-10}
here=$(cd "$(dirname "$0")/../../.." && pwd)
[ $# -gt 0 ] || set -- /usr/lib /usr/bin

mkdir -p "$work"
trap 'rm -rf "$work/out" "$work/state"; [ -n "${WORK:-}" ] || rm -rf "$work"' EXIT

cd "$here"
cargo build --quiet --release -p repot-image --example import
import=$(cargo build --release -p repot-image --example import --message-format=json 2>/dev/null |
	sed -n 's/.*"executable":"\([^"]*import\)".*/\1/p' | tail -n 1)

cd "$work"
if [ ! -e t.tar ]; then
	tar --numeric-owner --xattrs --xattrs-include='*' --transform='s,^,usr/,' -cf t.tar "$@" 2>/dev/null
	gzip -k t.tar
	zstd -q -3 t.tar
fi
ls -l t.tar*

for archive in t.tar.zst t.tar.gz t.tar; do
	hyperfine --style=basic --warmup 1 --runs "$runs" --export-csv "$archive.csv" \
		--prepare "rm -rf out state; mkdir out" \
		-n "GNU tar $archive" "tar --numeric-owner -p -C out -xf $archive" \
		-n "bsdtar $archive" "bsdtar --numeric-owner -p -C out -xf $archive" \
		-n "repot $archive" "$import state $archive"
	rm -rf out state
	# Memory: the largest resident set of one run; for GNU tar that of the decompressor or tar itself.
	if [ -x /usr/bin/time ]; then
		for command in "tar -C out -xf $archive" "bsdtar -C out -xf $archive" "$import state $archive"; do
			rm -rf out state
			mkdir out
			/usr/bin/time -f "%M KiB: $command" $command >/dev/null
		done
	fi
done
