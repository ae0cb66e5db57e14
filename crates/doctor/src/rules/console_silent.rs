//! Nobody listens on the terminal that the engine's user looks at.
//!
//! Symptom: the boot goes through, and no prompt ever comes. Distributions put their gettys on the virtual terminals of a PC, or
//! on a serial line; images made for application containers mask those that they have.

use super::{Case, Rule, RuleMeta, absent};
use crate::Result;
use crate::init::{self, Setup};
use repot_model::{Certainty, Finding, Getty, Offers, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct ConsoleSilent;

static META: RuleMeta = RuleMeta {
    id: "console-silent",
    severity: Severity::NoBoot,
    summary: "nothing asks for a name on the engine's console",
    explain: "A container system shows one terminal, the console. An init shows a login there only if it is told to: most \
distributions put their gettys on `tty1` to `tty6`, which a container does not have, and images made for application containers \
mask systemd's `console-getty.service`, `getty.target` or both. The boot then ends in silence.\n\nnatively, repot starts the \
tree's getty on a console on which nobody else does. In other engines, and with `repot fix`, one is added to the init's own \
configuration, so that it is there whoever starts the machine: a line of inittab(5), a service of runit, s6, OpenRC or dinit, a `tty` line of finit, a unit \
unmasked. systemd from 258 on also looks for the console of the host's kernel where `/sys` can be written to, as in LXD and Incus \
without a setting of repot's (`Failed to set up standard input`): there its getty is made to open `/dev/console` itself. By hand, with sysvinit: `co:2345:respawn:/sbin/agetty --noclear --keep-baud console 115200,38400,9600 vt220`.",
    sources: &[
        "inittab(5), agetty(8), systemd-getty-generator(8)",
        "systemd/systemd#27304, #39036, canonical/lxd#16860, AlmaLinux/docker-images#32, lxc/lxc#4393",
    ],
};

impl Rule for ConsoleSilent {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let offers = case.offers;
        let Some(init) = &case.facts.init else {
            return Ok(Vec::new());
        };
        if !offers.is_pid1 || offers.console.device.is_empty() {
            return Ok(Vec::new());
        }
        let setup = Setup {
            tree: case.tree,
            facts: case.facts,
            init,
        };
        if let Some(getty) = init.gettys.iter().find(|getty| is_seen(offers, &getty.tty)) {
            return lost(offers, &setup, getty);
        }
        let console = &offers.console.device;
        let mut finding = META.finding(
            format!("nobody listens on the terminal {console}"),
            "(no message: the boot ends, and no prompt comes)",
        );
        finding.cause = match init.gettys.first() {
            Some(getty) => format!(
                "{}'s logins are on {}, which nobody sees there",
                init.name,
                list(
                    init.gettys.iter().map(|getty| getty.tty.as_str()),
                    &getty.tty
                )
            ),
            None if init.broken_gettys.is_empty() => {
                format!("nothing in the tree makes {} start a login", init.name)
            }
            None => format!("what {} would start there is missing or masked", init.name),
        };
        finding.evidence = init.broken_gettys.clone();
        finding
            .evidence
            .extend(init.gettys.iter().map(|getty| getty.evidence.clone()));
        if finding.evidence.is_empty() {
            finding.evidence = init.evidence.clone();
            // Of an init that repot does not know, it is not known either what it starts.
            if init.id.0 == "generic" {
                finding.certainty = Certainty::Possible;
            }
        }
        // Where the terminals are the tree's own, no file is touched for one more.
        if offers.serves_silent_console && offers.tty1_is_console {
            finding.remedy = Remedy::Environment;
            return Ok(vec![finding]);
        }
        // Elsewhere the init's own login is worth more than one of repot's: it is there whoever starts the machine.
        finding.edits = init::system(init).listen(&setup, console)?;
        if !finding.edits.is_empty() && !offers.sys.is_read_only() {
            finding
                .edits
                .extend(init::system(init).find_console(&setup)?);
        }
        if finding.edits.is_empty() && offers.serves_silent_console {
            finding.remedy = Remedy::Environment;
            return Ok(vec![finding]);
        }
        if finding.edits.is_empty() {
            let login = &case.facts.login;
            finding.hint = Some(match (login.gettys.first(), &login.login) {
                (None, _) => {
                    finding.evidence.push(absent("/sbin/agetty"));
                    "install a getty (agetty of util-linux, or busybox) and try again".to_owned()
                }
                (Some(_), None) => "install a login program and try again".to_owned(),
                (Some(_), Some(_)) => format!(
                    "{} is not set up by a file that could be edited: `repot boot` serves the console by itself",
                    init.name
                ),
            });
        } else {
            finding.remedy = Remedy::Automatic;
        }
        Ok(vec![finding])
    }
}

/// A getty is there, but would not find the console.
fn lost(offers: &Offers, setup: &Setup<'_>, getty: &Getty) -> Result<Vec<Finding>> {
    if offers.sys.is_read_only() {
        return Ok(Vec::new());
    }
    let edits = init::system(setup.init).find_console(setup)?;
    if edits.is_empty() {
        return Ok(Vec::new());
    }
    let mut finding = META.finding(
        format!("{}'s getty looks for the host's console", setup.init.name),
        "Failed to set up standard input: No such file or directory",
    );
    finding.cause = "/sys can be written to there, from which systemd concludes that the kernel's console is its own".into();
    finding.evidence = vec![getty.evidence.clone()];
    finding.remedy = Remedy::Automatic;
    finding.edits = edits;
    Ok(vec![finding])
}

/// Whether the user of an engine sees what is on a terminal of that name.
pub(crate) fn is_seen(offers: &Offers, tty: &str) -> bool {
    is_console(offers, tty)
        || offers.tty1_is_console
            && (offers.makes_missing_terminals || offers.terminals.iter().any(|name| name == tty))
}

/// Whether a getty's terminal is the engine's console, by whatever name.
pub(crate) fn is_console(offers: &Offers, tty: &str) -> bool {
    // `-`: standard input, which is the console.
    let console = &offers.console;
    tty == "-" || tty == "console" || tty == console.device || tty == console.login_name
}

/// `tty1 to tty6`, short.
fn list<'a>(names: impl Iterator<Item = &'a str>, first: &str) -> String {
    match names.last() {
        Some(last) if last != first => format!("{first} to {last}"),
        Some(_) | None => first.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};
    use repot_model::{Remedy, Severity, Sys};

    const RULE: &str = "console-silent";

    fn sysvinit() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version: %s\0version 3.06 %s")
            .elf("/sbin/agetty", "")
            .elf("/bin/login", "")
            .file(
                "/etc/inittab",
                "# gettys\r\nid:2:initdefault:\r\n1:2345:respawn:/sbin/agetty 38400 tty1\r\n#co:2:x:y\r\n\
                 co:2:respawn:/sbin/mingetty console\r\nend:2:wait:/bin/true",
            )
    }

    #[test]
    fn silent_where_somebody_listens() {
        assert!(diagnose_for(&sysvinit(), &offers(), RULE).is_empty());
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/agetty", "")
            .file("/etc/inittab", "c:2:respawn:/sbin/agetty console\n");
        assert!(diagnose_for(&tree, &bare_offers(), RULE).is_empty());
        let mut no_console = bare_offers();
        no_console.console.device.clear();
        assert!(diagnose_for(&sysvinit(), &no_console, RULE).is_empty());
    }

    #[test]
    fn the_supervisor_serves_it() {
        let bare = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/sbin/agetty", "")
            .elf("/bin/login", "")
            .file("/etc/inittab", "id:2:initdefault:\n");
        let found = diagnose_for(&bare, &offers(), RULE);
        assert_eq!(found[0].remedy, Remedy::Environment);
        assert!(found[0].edits.is_empty());
        // Elsewhere only what no file of the tree can start.
        let mut served = bare_offers();
        served.serves_silent_console = true;
        let found = diagnose_for(&sysvinit(), &served, RULE);
        assert_eq!(found[0].remedy, Remedy::Automatic);
        let unknown = Tree::new().elf("/sbin/init", "");
        let found = diagnose_for(&unknown, &served, RULE);
        assert_eq!(found[0].remedy, Remedy::Environment);
    }

    #[test]
    fn sysvinit_gets_a_line() {
        let tree = sysvinit();
        let found = mended(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].severity, Severity::NoBoot);
        assert_eq!(
            tree.read("/etc/inittab"),
            "# gettys\r\nid:2:initdefault:\r\n1:2345:respawn:/sbin/agetty 38400 tty1\r\n#co:2:x:y\r\n\
             #co:2:respawn:/sbin/mingetty console\r\n\
             co0:2345:respawn:/sbin/agetty --noclear --keep-baud console 115200,38400,9600 vt220\r\nend:2:wait:/bin/true"
        );
    }

    #[test]
    fn busybox_and_procd_get_a_line() {
        let tree = Tree::new()
            .elf("/bin/busybox", "BusyBox v1.36.1\0/etc/inittab")
            .link("/sbin/init", "/bin/busybox")
            .link("/sbin/getty", "/bin/busybox")
            .link("/bin/login", "/bin/busybox")
            .file(
                "/etc/inittab",
                "tty1::respawn:/sbin/getty 38400 tty1\n::shutdown:/bin/umount -a -r\n",
            );
        mended(&tree, &bare_offers(), RULE);
        assert_eq!(
            tree.read("/etc/inittab"),
            "tty1::respawn:/sbin/getty 38400 tty1\n::respawn:/sbin/getty -L 0 console vt220\n::shutdown:/bin/umount -a -r\n"
        );
        let tree = Tree::new()
            .elf("/sbin/init", "/sbin/procd\0/etc/inittab")
            .elf("/sbin/procd", "")
            .script("/usr/libexec/login.sh", "#!/bin/sh\n")
            .file("/etc/inittab", "::sysinit:/etc/init.d/rcS S boot\n");
        mended(&tree, &bare_offers(), RULE);
        assert!(
            tree.read("/etc/inittab")
                .ends_with("\nconsole::askfirst:/usr/libexec/login.sh\n")
        );
    }

    fn with_agetty(tree: Tree) -> Tree {
        tree.elf("/bin/sh", "")
            .elf("/sbin/agetty", "")
            .elf("/bin/login", "")
    }

    #[test]
    fn runit_gets_a_service() {
        let tree = with_agetty(Tree::new())
            .elf("/lib/runit/runit-init", "/run/runit.stopit\0/sbin/runit")
            .link("/sbin/init", "/lib/runit/runit-init")
            .elf("/usr/bin/chpst", "")
            .script("/etc/sv/getty-tty1/run", "#!/bin/sh\nexec agetty tty1\n")
            .link(
                "/etc/sv/getty-tty1/supervise",
                "/run/runit/supervise/getty-tty1",
            )
            .link(
                "/etc/runit/runsvdir/default/getty-tty1",
                "/etc/sv/getty-tty1",
            );
        mended(&tree, &bare_offers(), RULE);
        assert_eq!(
            tree.read("/etc/sv/getty-console/run"),
            "#!/bin/sh\nexec chpst -P /sbin/agetty --noclear --keep-baud console 115200,38400,9600 vt220\n"
        );
        let view = tree.root();
        assert_eq!(
            view.read_link("/etc/sv/getty-console/supervise").unwrap(),
            "/run/runit/supervise/getty-console"
        );
        // Void has the service and does not enable it.
        let run = "#!/bin/sh\ntty=${PWD##*-}\nGETTY=agetty\nexec setsid ${GETTY} \"${tty}\"\n";
        let tree = with_agetty(Tree::new())
            .elf("/usr/bin/runit-init", "/etc/runit/stopit\0/sbin/runit")
            .link("/sbin/init", "/usr/bin/runit-init")
            .script("/etc/sv/agetty-console/run", run)
            .script("/etc/sv/agetty-tty1/run", run)
            .link(
                "/etc/runit/runsvdir/default/agetty-tty1",
                "/etc/sv/agetty-tty1",
            );
        let found = mended(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].edits.len(), 1);
        assert_eq!(
            found[0].edits[0].path,
            "/etc/runit/runsvdir/default/agetty-console"
        );
    }

    #[test]
    fn openrc_init_gets_links() {
        let tree = with_agetty(Tree::new())
            .elf("/sbin/init", "openrc\0/run/openrc/init.ctl")
            .script("/etc/init.d/agetty", "#!/sbin/openrc-run\n")
            .dir("/etc/runlevels/default");
        mended(&tree, &bare_offers(), RULE);
        assert!(
            tree.read("/etc/conf.d/agetty.console")
                .contains("--keep-baud")
        );
    }

    #[test]
    fn finit_gets_a_line() {
        let tree = with_agetty(Tree::new())
            .elf("/sbin/init", "Finit v4.2\0")
            .file(
                "/etc/finit.d/getty.conf",
                "tty [12345] /dev/tty1 linux\n# end\n",
            );
        mended(&tree, &bare_offers(), RULE);
        assert_eq!(
            tree.read("/etc/finit.d/getty.conf"),
            "tty [12345] /dev/tty1 linux\ntty [12345] console noclear nowait\n# end\n"
        );
    }

    #[test]
    fn dinit_s6_and_upstart_get_services() {
        let dinit = with_agetty(Tree::new())
            .elf("/sbin/dinit", "")
            .link("/sbin/init", "dinit")
            .file("/lib/dinit.d/boot", "type = internal\n");
        mended(&dinit, &bare_offers(), RULE);
        let s6 = with_agetty(Tree::new())
            .script("/sbin/init", "#!/bin/sh\nexec s6-svscan /etc/s6/scan\n")
            .script(
                "/etc/s6/scan/getty-tty1/run",
                "#!/bin/sh\nexec agetty tty1\n",
            );
        mended(&s6, &bare_offers(), RULE);
        assert!(
            s6.read("/etc/s6/scan/getty-console/run")
                .contains("\nexec /sbin/agetty ")
        );
        let made = with_agetty(Tree::new())
            .script(
                "/sbin/init",
                "#!/bin/sh\ns6-linux-init -c /etc/s6-linux-init/current\n",
            )
            .dir("/etc/s6-linux-init/current/run-image/service");
        mended(&made, &bare_offers(), RULE);
        let volatile = with_agetty(Tree::new())
            .script("/sbin/init", "#!/bin/sh\nexec s6-svscan /run/service\n");
        assert_eq!(
            diagnose_for(&volatile, &bare_offers(), RULE)[0].remedy,
            Remedy::Manual
        );
        let upstart = with_agetty(Tree::new())
            .elf("/sbin/init", "com.ubuntu.Upstart0_6\0")
            .file(
                "/etc/init/tty1.conf",
                "start on x\nexec /sbin/agetty tty1\n",
            );
        mended(&upstart, &bare_offers(), RULE);
        assert!(upstart.read("/etc/init/console.conf").contains("respawn\n"));
    }

    fn systemd() -> Tree {
        let units = "/usr/lib/systemd/system";
        with_agetty(Tree::new())
            .elf(
                "/usr/lib/systemd/systemd",
                "systemd 252 running in %ssystem mode",
            )
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .file(&format!("{units}/getty.target"), "[Unit]\n")
            .file(&format!("{units}/multi-user.target"), "[Unit]\n")
            .link(
                &format!("{units}/multi-user.target.wants/getty.target"),
                "../getty.target",
            )
            .file(
                &format!("{units}/console-getty.service"),
                "[Service]\nExecStart=-/sbin/agetty - $TERM\n",
            )
            .script(
                "/usr/lib/systemd/system-generators/systemd-getty-generator",
                "x",
            )
    }

    #[test]
    fn systemd_is_unmasked() {
        assert!(diagnose_for(&systemd(), &bare_offers(), RULE).is_empty());
        let masked = systemd()
            .link("/etc/systemd/system/console-getty.service", "/dev/null")
            .link("/etc/systemd/system/getty.target", "/dev/null");
        let found = mended(&masked, &bare_offers(), RULE);
        assert_eq!(found[0].evidence.len(), 2);
        assert_eq!(found[0].edits.len(), 2);
        // Not even shipped, and the generator is gone as well.
        let bare_tree = with_agetty(Tree::new())
            .elf(
                "/usr/lib/systemd/systemd",
                "systemd 252 running in %ssystem mode",
            )
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .file("/usr/lib/systemd/system/multi-user.target", "[Unit]\n");
        mended(&bare_tree, &bare_offers(), RULE);
        let text = bare_tree.read("/etc/systemd/system/console-getty.service");
        assert!(
            text.contains(
                "ExecStart=-/sbin/agetty --noclear --keep-baud - 115200,38400,9600 vt220\n"
            )
        );
    }

    #[test]
    fn systemd_that_looks_for_the_hosts_console() {
        let mut writable = bare_offers();
        writable.sys = Sys::Writable;
        assert!(diagnose_for(&systemd(), &writable, RULE).is_empty());
        let new = systemd().elf(
            "/usr/lib/systemd/systemd",
            "systemd 258 running in %ssystem mode",
        );
        assert!(diagnose_for(&new, &bare_offers(), RULE).is_empty());
        mended(&new, &writable, RULE);
        let text = new.read("/etc/systemd/system/console-getty.service.d/by-name.conf");
        assert!(
            text.contains("\nExecStart=\nExecStart=-/sbin/agetty --noclear --keep-baud console ")
        );
        // Both at once.
        let masked = systemd()
            .elf(
                "/usr/lib/systemd/systemd",
                "systemd 258 running in %ssystem mode",
            )
            .link("/etc/systemd/system/console-getty.service", "/dev/null");
        let found = mended(&masked, &writable, RULE);
        assert_eq!(found[0].edits.len(), 2);
    }

    #[test]
    fn systemd_that_wants_no_gettys() {
        let tree = with_agetty(Tree::new())
            .elf(
                "/usr/lib/systemd/systemd",
                "systemd 252 running in %ssystem mode",
            )
            .link("/sbin/init", "/usr/lib/systemd/systemd")
            .file("/lib/systemd/system/getty.target", "[Unit]\n")
            .file(
                "/lib/systemd/system/multi-user.target",
                "[Unit]\nWants=other.target\n",
            )
            .file(
                "/lib/systemd/system/console-getty.service",
                "[Service]\nExecStart=/sbin/agetty -\n",
            )
            .script(
                "/lib/systemd/system-generators/systemd-getty-generator",
                "x",
            );
        let found = mended(&tree, &bare_offers(), RULE);
        assert!(
            found[0].evidence[0]
                .seen
                .contains("nothing wants getty.target")
        );
        let edit = &found[0].edits[0];
        assert_eq!(
            edit.path,
            "/etc/systemd/system/multi-user.target.wants/getty.target"
        );
    }

    #[test]
    fn what_no_file_decides_is_told() {
        let tree = with_agetty(Tree::new()).script("/sbin/init", "#!/bin/sh\nexec shepherd\n");
        let found = diagnose_for(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].remedy, Remedy::Manual);
    }

    #[test]
    fn a_tree_without_a_getty_is_told_what_to_do() {
        let tree = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "")
            .file("/etc/inittab", "1:2:respawn:/sbin/getty tty1\n");
        let found = diagnose_for(&tree, &bare_offers(), RULE);
        assert_eq!(found[0].remedy, Remedy::Manual);
        assert!(found[0].hint.as_ref().unwrap().contains("agetty"));
        assert_eq!(found[0].evidence[0].line, Some(1));
    }
}
