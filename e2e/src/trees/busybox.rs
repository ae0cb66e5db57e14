//! busybox as everything: init, getty, login, shell, and nothing else in the tree.
//!
//! Three inittabs: a usual one, none at all (busybox then has a default of its own), and
//! Alpine's without OpenRC, as Alpine's minirootfs is shipped.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

/// The layout of a small embedded system: one static program and links to it.
const LAYOUT: &str = r#"
mkdir -p bin dev etc/init.d home lib mnt proc root run sbin sys tmp usr/bin usr/sbin var/log
chmod 1777 tmp
chmod 700 root
ln -s ../run var/run
cp "$FROM/bin/busybox" bin/busybox 2>/dev/null || cp "$FROM/usr/bin/busybox" bin/busybox
for applet in $(bin/busybox --list-full); do
    # Those of Debian's own package tools would only confuse what looks at the tree.
    case $applet in *bin/dpkg*|*bin/rpm*|*bin/busybox|linuxrc) continue;; esac
    test -e "$applet" || ln -s /bin/busybox "$applet"
done
test -L sbin/init && test -L bin/login && test -L sbin/getty && test -L bin/sh
echo "$NAME" > etc/hostname
printf '127.0.0.1 localhost\n' > etc/hosts
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/nonexistent:/bin/false\n' > etc/passwd
printf 'root:x:0:\ntty:x:5:\nnogroup:x:65534:\n' > etc/group
printf 'root:*:19000:0:99999:7:::\nnobody:*:19000:0:99999:7:::\n' > etc/shadow
chmod 600 etc/shadow
printf 'console\ntty1\ntty2\ntty3\ntty4\ntty5\ntty6\nttyS0\n' > etc/securetty
printf 'busybox %s \\n \\l\n' "$NAME" > etc/issue
printf 'export PATH=/sbin:/usr/sbin:/bin:/usr/bin\n' > etc/profile
cat > etc/init.d/rcS <<'RCS'
#!/bin/sh
# What is mounted already (by a container system, say) is left alone. Debian's busybox has
# no mountpoint, so the kernel's table has to tell.
mounted() { grep -q " $1 " /proc/mounts; }
test -e /proc/mounts || mount -t proc proc /proc
mounted /sys || mount -t sysfs sysfs /sys
mounted /dev || mount -t devtmpfs dev /dev
mkdir -p /dev/pts /dev/shm
mounted /dev/pts || mount -t devpts devpts /dev/pts
mounted /run || mount -t tmpfs tmpfs /run
hostname -F /etc/hostname
RCS
chmod 755 etc/init.d/rcS
cat > etc/inittab <<'INITTAB'
::sysinit:/etc/init.d/rcS
tty1::respawn:/sbin/getty 38400 tty1
tty2::respawn:/sbin/getty 38400 tty2
tty3::respawn:/sbin/getty 38400 tty3
tty4::respawn:/sbin/getty 38400 tty4
::ctrlaltdel:/sbin/reboot
::shutdown:/bin/umount -a -r
::shutdown:/sbin/swapoff -a
INITTAB
"#;

const NO_INITTAB: &str = r#"
echo "$NAME" > etc/hostname
rm etc/inittab
"#;

/// Alpine's file to the letter.
const ALPINE: &str = r#"
echo "$NAME" > etc/hostname
cat > etc/inittab <<'INITTAB'
# /etc/inittab

::sysinit:/sbin/openrc sysinit
::sysinit:/sbin/openrc boot
::wait:/sbin/openrc default

# Set up a couple of getty's
tty1::respawn:/sbin/getty 38400 tty1
tty2::respawn:/sbin/getty 38400 tty2
tty3::respawn:/sbin/getty 38400 tty3
tty4::respawn:/sbin/getty 38400 tty4
tty5::respawn:/sbin/getty 38400 tty5
tty6::respawn:/sbin/getty 38400 tty6

# Put a getty on the serial port
#ttyS0::respawn:/sbin/getty -L ttyS0 115200 vt100

# Stuff to do for the 3-finger salute
::ctrlaltdel:/sbin/reboot

# Stuff to do before rebooting
::shutdown:/sbin/openrc shutdown

INITTAB
"#;

const fn variant(name: &'static str, about: &'static str, edit: &'static str) -> Recipe {
    Recipe {
        name,
        about,
        base: Base::Copy {
            of: "bookworm-busybox",
        },
        edit,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    }
}

pub const RECIPES: [Recipe; 4] = [
    Recipe {
        name: "bookworm-busybox",
        about: "busybox 1.35 alone, gettys on tty1..tty4",
        base: Base::Assemble {
            from: "bookworm-busybox-parts",
        },
        edit: LAYOUT,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Tree,
    },
    variant(
        "busybox-noinittab",
        "busybox without /etc/inittab",
        NO_INITTAB,
    ),
    variant(
        "busybox-alpine",
        "busybox with Alpine's inittab, but no openrc",
        ALPINE,
    ),
    Recipe {
        name: "bookworm-busybox-parts",
        about: "the busybox package, unpacked",
        base: Base::Extract {
            suite: "bookworm",
            packages: &["busybox-static"],
        },
        edit: "",
        unlock: "",
        visibility: Visibility::Part,
    },
];
