//! s6-svscan as PID 1, as s6's own documentation describes it (s6-svscan-1.html): a script
//! prepares the machine and execs s6-svscan over a scan directory. No Debian package makes
//! such an `/sbin/init` (s6-linux-init is not packaged), so the recipe writes it.
//!
//! Signals are those of s6-linux-init: USR1 and PWR power off, USR2 halts, INT reboots. TERM
//! has no handler: s6-svscan then stops its services by itself, and the `finish` script,
//! which nobody told anything, powers off.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

/// busybox is there for its `poweroff -f`: s6 itself holds no program that calls reboot(2).
const PACKAGES: &[&str] = &[
    "s6",
    "busybox-static",
    "login",
    "util-linux",
    "mount",
    "procps",
    "iproute2",
];

const SCAN: &str = r#"
mkdir -p etc/s6/scan/.s6-svscan etc/s6/scan/getty-tty1
cat > sbin/init <<'SCRIPT'
#!/bin/sh
# Stage 1. What is mounted already (by a container system, say) is left alone.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mountpoint -q /proc || mount -t proc proc /proc
mountpoint -q /sys || mount -t sysfs sysfs /sys
mountpoint -q /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mountpoint -q /dev/pts || mount -t devpts devpts /dev/pts
mountpoint -q /run || mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lock
: > /run/utmp
hostname -F /etc/hostname
# Stage 2.
exec s6-svscan /etc/s6/scan
SCRIPT
cat > etc/s6/scan/getty-tty1/run <<'SCRIPT'
#!/bin/sh
exec agetty --noclear tty1 38400 linux
SCRIPT
cat > etc/s6/scan/.s6-svscan/finish <<'SCRIPT'
#!/bin/sh
# Stage 3, still process 1: the services have stopped.
read -r action 2>/dev/null < /run/s6-stage3 || action=poweroff
killall5 -15
sleep 1
killall5 -9
sync
umount -a -r 2>/dev/null
exec busybox "$action" -f
SCRIPT
cat > etc/s6/scan/.s6-svscan/crash <<'SCRIPT'
#!/bin/sh
exec busybox reboot -f
SCRIPT
for pair in SIGUSR1:poweroff SIGPWR:poweroff SIGUSR2:halt SIGINT:reboot; do
    handler=etc/s6/scan/.s6-svscan/${pair%%:*}
    printf '#!/bin/sh\necho %s > /run/s6-stage3\nexec s6-svscanctl -t .\n' "${pair#*:}" > "$handler"
    chmod 755 "$handler"
done
for pair in poweroff:USR1 halt:USR2 reboot:INT; do
    printf '#!/bin/sh\nexec kill -%s 1\n' "${pair#*:}" > "sbin/${pair%%:*}"
    chmod 755 "sbin/${pair%%:*}"
done
chmod 755 sbin/init etc/s6/scan/getty-tty1/run etc/s6/scan/.s6-svscan/finish \
    etc/s6/scan/.s6-svscan/crash
"#;

pub const RECIPES: [Recipe; 1] = [Recipe {
    name: "bookworm-s6",
    about: "Debian 12, s6-svscan 2.11 as PID 1, getty on tty1",
    base: Base::Debian {
        suite: "bookworm",
        packages: PACKAGES,
    },
    edit: SCAN,
    unlock: UNLOCK_SHADOW,
    visibility: Visibility::Tree,
}];
