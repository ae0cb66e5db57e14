//! What consoles say when a boot or a login fails, and why they do.
//!
//! After a boot that reached no prompt, the log is all that is left. Each entry is a text that an init, a login program or the
//! kernel prints for one known reason; where a rule is about the same reason, the entry names it. Pure: the caller reads the log.

/// A text that tells a reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Symptom {
    /// Part of a line, as it is printed; letters are compared without regard to case.
    pub text: &'static str,
    /// What it comes from.
    pub cause: &'static str,
    /// What mends it: a command, or what to look at.
    pub remedy: &'static str,
    /// The rule about the same reason, by ID.
    pub rule: Option<&'static str>,
    /// Whether nothing goes on after it: such a cause comes before others that were only seen on the way.
    pub is_fatal: bool,
}

/// A symptom that was seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Line of the log, from 1.
    pub line: usize,
    /// That line, without control characters.
    pub text: String,
    /// What is known of it.
    pub symptom: &'static Symptom,
}

const fn fatal(
    text: &'static str,
    cause: &'static str,
    remedy: &'static str,
    rule: Option<&'static str>,
) -> Symptom {
    Symptom {
        text,
        cause,
        remedy,
        rule,
        is_fatal: true,
    }
}

const fn passing(
    text: &'static str,
    cause: &'static str,
    remedy: &'static str,
    rule: Option<&'static str>,
) -> Symptom {
    Symptom {
        is_fatal: false,
        ..fatal(text, cause, remedy, rule)
    }
}

/// All known symptoms. Of two that match one line, the first counts.
///
/// # Source
/// systemd `src/core/main.c`, `src/shared/mount-setup.c`, `src/core/cgroup.c`; sysvinit `src/init.c`; busybox `init/init.c`;
/// util-linux `login-utils/login.c`, `term-utils/agetty.c`; shadow `src/login.c`; Linux-PAM; the issues that docs/rules names.
pub static SYMPTOMS: &[Symptom] = &[
    fatal(
        "unsupported legacy cgroup hierarchy",
        "systemd from 258 on works with cgroup v2 only, and was shown v1",
        "boot it natively or in an engine that can show cgroup v2",
        Some("cgroup-version"),
    ),
    fatal(
        "Failed to mount cgroup at /sys/fs/cgroup/systemd",
        "systemd before 230 wants the v1 hierarchy name=systemd, and may not mount it",
        "boot it natively or in an engine that can show cgroup v1",
        Some("cgroup-version"),
    ),
    fatal(
        "init.scope control group",
        "systemd may not write to the cgroup tree that it was shown",
        "give it a writable cgroup tree in a cgroup namespace of its own",
        Some("cgroup-version"),
    ),
    fatal(
        "Cannot determine cgroup we are running in",
        "the cgroup tree that systemd sees is not the one that it runs in",
        "give it a cgroup namespace of its own",
        Some("cgroup-version"),
    ),
    fatal(
        "Failed to allocate manager object",
        "systemd could not set itself up: usually the cgroup tree is missing or read-only",
        "the lines before this one tell more",
        Some("cgroup-version"),
    ),
    fatal(
        "Failed to mount API filesystems",
        "systemd may not mount /proc, /sys, /dev or /run, and they are not mounted already",
        "give it CAP_SYS_ADMIN, or mount them before",
        None,
    ),
    fatal(
        "Failed to mount early API filesystems",
        "systemd may not mount /proc, /sys, /dev or /run, and they are not mounted already",
        "give it CAP_SYS_ADMIN, or mount them before",
        None,
    ),
    fatal(
        "Failed to allocate directory watch: Too many open files",
        "all inotify instances of this user are in use",
        "on the host: sysctl fs.inotify.max_user_instances=8192",
        None,
    ),
    fatal(
        "inotify_init1() failed",
        "all inotify instances of this user are in use",
        "on the host: sysctl fs.inotify.max_user_instances=8192",
        None,
    ),
    fatal(
        "Running in chroot, ignoring",
        "an init was asked to act, but is not PID 1",
        "boot the tree instead of entering it by chroot",
        None,
    ),
    fatal(
        "can only run as pid 1",
        "a stub or wrapper took PID 1, which this init has to be itself",
        "boot without --as-pid2 and without an engine's own init",
        None,
    ),
    fatal(
        "Unable to mount tmpfs on /run",
        "openrc-init mounts /run unless that is a mount already, and may not",
        "mount a tmpfs on /run before it starts",
        None,
    ),
    fatal(
        "Can't continue",
        "openrc-init could not set up /run",
        "mount a tmpfs on /run before it starts",
        None,
    ),
    fatal(
        "No init found",
        "none of the usual places has an init",
        "install an init, or name one with --init",
        Some("no-init"),
    ),
    fatal(
        "Enter runlevel:",
        "sysvinit has no initdefault line in /etc/inittab, or no inittab",
        "add id:2:initdefault: to /etc/inittab",
        None,
    ),
    fatal(
        "Give root password for maintenance",
        "the init fell back to a maintenance shell, which asks for root's password",
        "`repot login NAME` gets in; the lines before tell what failed",
        None,
    ),
    fatal(
        "Cannot open access to console, the root account is locked",
        "the init fell back to a maintenance shell, and root has no password",
        "`repot login NAME` gets in; the lines before tell what failed",
        Some("root-password"),
    ),
    fatal(
        "You are in emergency mode",
        "systemd could not reach its target: often a mount of /etc/fstab that cannot be made here",
        "`repot shell NAME systemctl --failed` names the unit",
        Some("fstab-devices"),
    ),
    fatal(
        "You are in rescue mode",
        "the default target is rescue.target, or the boot fell back to it",
        "systemctl set-default multi-user.target in the tree",
        Some("default-target"),
    ),
    fatal(
        "Press any key to proceed",
        "systemd-firstboot asks on the console for what the tree does not have (locale, time zone, root's password)",
        "mask systemd-firstboot.service, or give it credentials",
        Some("first-boot"),
    ),
    fatal(
        "Exec format error",
        "a program is for another architecture, or is damaged",
        "`repot inspect` tells for which",
        Some("no-init"),
    ),
    fatal(
        "FATAL: kernel too old",
        "the tree's C library wants a newer kernel than this host has",
        "a newer kernel, or an older release of the distribution",
        None,
    ),
    fatal(
        "FATAL: bad tty",
        "login's terminal has no name inside the machine",
        "give the session a terminal of the machine's own devpts (`repot login`)",
        None,
    ),
    fatal(
        "can't reopen tty",
        "login's terminal has no name inside the machine",
        "give the session a terminal of the machine's own devpts (`repot login`)",
        None,
    ),
    passing(
        "is not secure",
        "/etc/securetty does not list the terminal, so root is refused on it",
        "add its name to /etc/securetty, or log in where it is listed",
        Some("securetty"),
    ),
    passing(
        "Cannot make/remove an entry for the specified session",
        "pam_loginuid or another session module may not do its work here",
        "make the module optional in /etc/pam.d",
        Some("pam-loginuid"),
    ),
    passing(
        "Error writing /proc/self/loginuid",
        "pam_loginuid may not set the login UID here",
        "comment out pam_loginuid in /etc/pam.d",
        Some("pam-loginuid"),
    ),
    passing(
        "cannot open shared object file",
        "a program or PAM module lacks a library",
        "install the package that has it",
        None,
    ),
    passing(
        "unable to dlopen",
        "a PAM module that the configuration names is not installed",
        "install it, or remove its line from /etc/pam.d",
        Some("pam-module"),
    ),
    passing(
        "Module is unknown",
        "a PAM module that the configuration names is not installed",
        "install it, or remove its line from /etc/pam.d",
        Some("pam-module"),
    ),
    passing(
        "Unprivileged users are not permitted to log in yet",
        "/run/nologin is there: systemd-user-sessions.service has not run",
        "unmask systemd-user-sessions.service; root may log in all the same",
        Some("nologin-file"),
    ),
    passing(
        "System is booting up",
        "/run/nologin is there: systemd-user-sessions.service has not run",
        "unmask systemd-user-sessions.service; root may log in all the same",
        Some("nologin-file"),
    ),
    passing(
        "This account is currently not available",
        "the account's shell is nologin(8)",
        "give it a shell: `repot exec NAME usermod -s /bin/sh USER`",
        Some("root-shell"),
    ),
    passing(
        "Session setup problem, abort",
        "a PAM session module failed, often pam_selinux or pam_namespace",
        "the tree's log tells which; make it optional in /etc/pam.d",
        Some("pam-session"),
    ),
    passing(
        "Your account has expired",
        "root's account or password has expired (chage)",
        "`repot fix TREE --root-password -`",
        Some("root-password"),
    ),
    passing(
        "Login incorrect",
        "the password is wrong, or root is locked or refused on this terminal",
        "`repot login NAME` gets in without one; `repot fix TREE --root-password -` sets one",
        Some("root-password"),
    ),
    passing(
        "cannot set groups",
        "the group IDs of the account do not exist in the machine's ID mapping",
        "map 65536 IDs",
        None,
    ),
    passing(
        "respawning too fast",
        "a getty of /etc/inittab ends at once, usually since its terminal does not exist",
        "remove its line, or give the machine that terminal",
        Some("missing-terminals"),
    ),
    passing(
        "can't open /dev/tty",
        "a getty wants a terminal that does not exist",
        "remove its line, or give the machine that terminal",
        Some("missing-terminals"),
    ),
    passing(
        "can't run '",
        "/etc/inittab names a program that is not installed",
        "install it, or remove the line",
        None,
    ),
    passing(
        "226/NAMESPACE",
        "a service with a sandbox of its own may not mount inside the machine",
        "allow nested mounts (AppArmor, CAP_SYS_ADMIN)",
        None,
    ),
    passing(
        "243/CREDENTIALS",
        "a service's credentials may not be mounted inside the machine",
        "allow nested mounts (AppArmor, CAP_SYS_ADMIN)",
        None,
    ),
    passing(
        "Timed out waiting for device",
        "/etc/fstab or a unit waits for a device, and there are none in a container",
        "remove the entry, or add nofail to it",
        Some("fstab-devices"),
    ),
    passing(
        "A start job is running for",
        "a unit takes long: often it waits for a device or for the network",
        "the line names the unit; mask it if it has no use in a container",
        None,
    ),
    passing(
        "No space left on device",
        "a file system is full, or inotify watches are used up",
        "df in the machine; on the host: sysctl fs.inotify.max_user_watches=1048576",
        None,
    ),
    passing(
        "Cannot allocate memory",
        "memory or a limit of processes is used up",
        "`repot status NAME` shows limits and use",
        None,
    ),
    passing(
        "Resource temporarily unavailable",
        "a limit of processes is reached",
        "`repot status NAME` shows limits and use; --pids gives more",
        None,
    ),
];

/// The most lines of a log that are looked at, from its end: what failed stands there.
const MAX_LINES: usize = 20_000;

/// The probable causes in a console log, the most probable first: what stops a boot before what was only met on the way, later
/// lines before earlier ones. Each symptom once.
pub fn probable_causes(log: &[u8]) -> Vec<Seen> {
    let text = String::from_utf8_lossy(log);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(MAX_LINES);
    let mut seen: Vec<Seen> = Vec::new();
    for (number, line) in lines.iter().enumerate().skip(first).rev() {
        let plain = plain(line);
        let lower = plain.to_ascii_lowercase();
        let Some(symptom) = SYMPTOMS
            .iter()
            .find(|symptom| lower.contains(&symptom.text.to_ascii_lowercase()))
        else {
            continue;
        };
        if seen
            .iter()
            .any(|known| known.symptom.cause == symptom.cause)
        {
            continue;
        }
        seen.push(Seen {
            line: number + 1,
            text: plain,
            symptom,
        });
    }
    seen.sort_by_key(|seen| !seen.symptom.is_fatal);
    seen
}

/// A line without escape sequences (ECMA-48: `ESC [ ... letter`) and control characters, cut to a screen's width or two.
fn plain(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            if chars.clone().next() == Some('[') {
                chars.next();
                for c in chars.by_ref() {
                    if ('@'..='~').contains(&c) {
                        break;
                    }
                }
            }
        } else if !c.is_control() {
            out.push(c);
        }
        if out.len() > 160 {
            break;
        }
    }
    out.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fatal_one_comes_first_and_each_once() {
        let log = b"Welcome\r\ncan't open /dev/tty3: No such file\r\ncan't open /dev/tty4: No such file\r\n\
            \x1b[1;31mDetected unsupported legacy cgroup hierarchy, refusing execution.\x1b[0m\r\nFreezing\r\n\
            INIT: Id \"3\" respawning too fast: disabled for 5 minutes\r\n";
        let seen = probable_causes(log);
        let rules: Vec<_> = seen.iter().map(|seen| seen.symptom.rule).collect();
        assert_eq!(rules[0], Some("cgroup-version"));
        assert_eq!(seen[0].line, 4);
        assert_eq!(
            seen[0].text,
            "Detected unsupported legacy cgroup hierarchy, refusing execution."
        );
        assert_eq!(seen.len(), 3);
    }

    #[test]
    fn the_rules_that_are_named_exist() {
        for symptom in SYMPTOMS {
            let known = symptom
                .rule
                .is_none_or(|id| crate::rules::rule(id).is_some());
            assert!(
                known,
                "{:?} names the rule {:?}",
                symptom.text, symptom.rule
            );
        }
    }

    #[test]
    fn rubbish_is_no_cause() {
        assert!(probable_causes(b"\xff\xfe\x1b[\x1b]").is_empty());
        assert!(probable_causes(b"").is_empty());
        let long = vec![b'x'; 1 << 20];
        assert!(probable_causes(&long).is_empty());
    }
}
