//! Trees with a fault that takes other packages, or a compiler, to have: each is for the test of one rule.

use super::recipe::{Base, Recipe, UNLOCK_SHADOW, Visibility};

const WITH_CLOUD_INIT: &[&str] = &[
    "systemd-sysv",
    "dbus",
    "udev",
    "login",
    "util-linux",
    "procps",
    "iproute2",
    "cloud-init",
];

/// An image for one cloud, as `dpkg-reconfigure cloud-init` leaves it, and less patient than the two minutes that it has by default.
const ONE_CLOUD: &str = r#"
rm -rf usr/share/doc usr/share/man usr/share/locale
printf 'datasource_list: [ Ec2, None ]\n' > etc/cloud/cloud.cfg.d/90_dpkg.cfg
cat > etc/cloud/cloud.cfg.d/91_patience.cfg <<'CFG'
datasource:
  Ec2:
    max_wait: 4
    timeout: 2
CFG
"#;

/// pam_limits as Linux-PAM has it, and with it Fedora, Arch Linux and Alpine: Debian's, whose place it takes, goes on where the kernel
/// refuses a limit. The source is Debian's `orig.tar`, without the patches, and signed for by the archive like a package.
const PAM_LIMITS: &str = r#"
echo "$NAME" > etc/hostname
module=$(ls "$PWD"/usr/lib/*/security/pam_limits.so "$PWD"/lib/*/security/pam_limits.so 2>/dev/null | head -n1)
libpam=$(dirname "$(dirname "$module")")/libpam.so.0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir -p lists/partial cache/archives/partial
echo "deb-src [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $MIRROR bookworm main" > sources.list
of_bookworm() {
    apt-get -q -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache" \
        -o Acquire::Check-Valid-Until=false -o APT::Sandbox::User=root "$@"
}
of_bookworm update
of_bookworm source --download-only pam
tar -xf pam_*.orig.tar.xz --strip-components=1
printf '#define UNUSED __attribute__((unused))\n#define _(text) (text)\n' > config.h
cc -shared -fPIC -O2 -Wl,-z,defs -D_GNU_SOURCE -I. -Ilibpam/include \
    '-DLIMITS_FILE_DIR="/etc/security/limits.d/*.conf"' '-DLIMITS_FILE="/etc/security/limits.conf"' \
    -o "$module" modules/pam_limits/pam_limits.c "$libpam"
chmod 644 "$module"
# A newer compiler may want a newer libc.
said=$(LD_BIND_NOW=1 LD_PRELOAD="${module#"$ROOT"}" chroot "$ROOT" /bin/true 2>&1)
test -z "$said" || { echo "$said" >&2; exit 1; }
echo 'root hard nproc unlimited' >> "$ROOT/etc/security/limits.conf"
"#;

pub const RECIPES: [Recipe; 2] = [
    Recipe {
        name: "bookworm-cloud",
        about: "Debian 12 with cloud-init, which asks Amazon's cloud",
        base: Base::Debian {
            suite: "bookworm",
            packages: WITH_CLOUD_INIT,
        },
        edit: ONE_CLOUD,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Broken,
    },
    Recipe {
        name: "bookworm-limits",
        about: "sysvinit with Linux-PAM's own pam_limits, and a limit for root",
        base: Base::Copy {
            of: "bookworm-sysvinit",
        },
        edit: PAM_LIMITS,
        unlock: UNLOCK_SHADOW,
        visibility: Visibility::Broken,
    },
];
