//! The signal by which the engine asks a machine to end is not one that its init takes for that.
//!
//! Symptom: `docker stop` takes ten seconds and kills; `lxc-stop` hangs; a signal that means power off to one init makes another
//! reboot, or nothing.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::init::{self, Hearing, Setup};
use repot_model::{Finding, Remedy, Severity, Signal, StopAction, StopOffer};

#[derive(Debug)]
pub(crate) struct StopSignal;

static META: RuleMeta = RuleMeta {
    id: "stop-signal",
    severity: Severity::Degraded,
    summary: "the engine's stop signal does not power the init off",
    explain: "No signal means \"power off\" to all inits. SIGTERM makes busybox, finit and the Shepherd reboot, systemd execute itself \
anew, and sysvinit and runit do nothing; SIGRTMIN+3 halts systemd and means nothing to the others; SIGPWR works only where it is \
configured. An engine that sends another one waits for its time limit and then kills everything, services unstopped and data \
unwritten.\n\nrepot asks each init in its own way, and gives the right signal to an engine that takes any (`--stop-signal`, \
`--kill-signal`, `lxc.signal.halt`). Inits that power off on no signal at all (sysvinit, runit, upstart) get a line or a script that \
makes them: `pf::powerwait:/sbin/init 0` in `/etc/inittab`, `/etc/runit/ctrlaltdel`, a job. A `powerwait` line that names a script \
which does not exist, as Debian's does, is replaced.",
    sources: &[
        "inittab(5), systemd(1), runit(8), finit doc/signals.md, busybox init/init.c",
        "moby/moby#32310, lxc/lxc-ci#395, void-linux/runit#39, canonical/lxd#5592",
    ],
};

impl Rule for StopSignal {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(init) = case.facts.init.as_ref().filter(|_| case.offers.is_pid1) else {
            return Ok(Vec::new());
        };
        let wanted = match &case.offers.stop {
            StopOffer::Asks => return Ok(Vec::new()),
            StopOffer::AnySignal => None,
            StopOffer::Signal { signal } => Some(*signal),
        };
        let setup = Setup {
            tree: case.tree,
            facts: case.facts,
            init,
        };
        let summary = match wanted {
            Some(signal) => format!("{} does not power off on {signal}", init.name),
            None => format!(
                "{} powers off on no signal that the engine could send",
                init.name
            ),
        };
        let mut finding = META.finding(
            summary,
            "(the machine is killed when the engine's time limit is over)",
        );
        finding.evidence = init.evidence.clone();
        finding.cause = case
            .needs
            .map(|needs| needs.power_off.source.clone())
            .unwrap_or_default();
        match init::system(init).hear(&setup, wanted)? {
            Hearing::Hears(signal) => {
                if wanted.is_some() {
                    return Ok(Vec::new());
                }
                finding.summary = format!("{} powers off on {signal} only", init.name);
                finding.symptom =
                    "(another signal reboots it, or does nothing until it is killed)".into();
                finding.remedy = Remedy::Environment;
            }
            Hearing::Once(signal, edits) => {
                finding.summary = format!("{} is not set up to power off on {signal}", init.name);
                finding.remedy = Remedy::Automatic;
                finding.edits = edits;
            }
            Hearing::Never => finding.hint = Some(hint(case)),
        }
        Ok(vec![finding])
    }
}

/// How it is done without a signal of the engine's.
fn hint(case: &Case<'_>) -> String {
    let requests = case
        .needs
        .map_or(&[][..], |needs| &needs.power_off.requests);
    let by = requests.first().map(|request| match request {
        StopAction::Run { argv } => format!("run `{}` in it", argv.join(" ")),
        StopAction::Signal { signal } => format!("send {signal} to its PID 1"),
        StopAction::Touch { path, signal, .. } => {
            format!("make {path} executable in it and send {signal} to its PID 1")
        }
    });
    match by {
        Some(by) => format!("`repot stop` does it; by hand: {by}"),
        None => "`repot stop` kills it".to_owned(),
    }
}

/// The signal that powers a tree off in an engine, as it is with the edits in this view.
pub(crate) fn heard(case: &Case<'_>) -> Result<Option<Signal>> {
    let Some(init) = &case.facts.init else {
        return Ok(None);
    };
    let wanted = match &case.offers.stop {
        StopOffer::Signal { signal } => Some(*signal),
        StopOffer::AnySignal | StopOffer::Asks => None,
    };
    let setup = Setup {
        tree: case.tree,
        facts: case.facts,
        init,
    };
    Ok(match init::system(init).hear(&setup, wanted)? {
        Hearing::Hears(signal) => Some(signal),
        Hearing::Once(..) | Hearing::Never => None,
    })
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, bare_offers, diagnose_for, mended, offers};
    use crate::rules::{Wishes, diagnose};
    use repot_model::{Offers, Remedy, Signal, StopOffer};

    const RULE: &str = "stop-signal";

    fn sends(signal: Signal) -> Offers {
        let mut offers = bare_offers();
        offers.stop = StopOffer::Signal { signal };
        offers
    }

    fn heard(tree: &Tree, offers: &Offers) -> Option<Signal> {
        diagnose(
            &tree.root(),
            &tree.facts(),
            offers,
            &Wishes::default(),
            &|_| true,
        )
        .stop_signal
    }

    fn sysvinit() -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version: %s\0version 3.06 %s")
            .elf("/sbin/shutdown", "")
            .file(
                "/etc/inittab",
                "ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now\npf::powerwait:/etc/init.d/powerfail start\n\
                 po::powerokwait:/etc/init.d/powerfail stop\n",
            )
    }

    #[test]
    fn sysvinit_is_taught_sigpwr() {
        assert!(diagnose_for(&sysvinit(), &offers(), RULE).is_empty());
        let tree = sysvinit();
        assert_eq!(heard(&tree, &bare_offers()), Some(Signal::PWR));
        mended_sysv(&tree, &bare_offers());
        assert_eq!(
            tree.read("/etc/inittab"),
            "ca:12345:ctrlaltdel:/sbin/shutdown -t1 -a -r now\n#pf::powerwait:/etc/init.d/powerfail start\n\
             pf::powerwait:/sbin/init 0\npo::powerokwait:/etc/init.d/powerfail stop\n"
        );
        let tree = sysvinit();
        mended(&tree, &sends(Signal::INT), RULE);
        assert!(
            tree.read("/etc/inittab")
                .contains("\nca::ctrlaltdel:/sbin/init 0\n")
        );
        let found = diagnose_for(&sysvinit(), &sends(Signal::TERM), RULE);
        assert_eq!(found[0].remedy, Remedy::Manual);
        assert!(found[0].hint.as_ref().unwrap().contains("/sbin/init 0"));
    }

    /// With a free choice the engine has to be told which it is, before and after.
    fn mended_sysv(tree: &Tree, offers: &Offers) {
        let found = diagnose_for(tree, offers, RULE);
        assert_eq!(found[0].remedy, Remedy::Automatic);
        tree.apply(&found[0].edits);
        let again = diagnose_for(tree, offers, RULE);
        assert_eq!(again[0].remedy, Remedy::Environment);
    }

    #[test]
    fn version_3_10_knows_one_by_itself() {
        let tree = |version: &str| {
            Tree::new()
                .elf(
                    "/sbin/init",
                    &format!("SysV init version: %s\0version {version} %s"),
                )
                .file("/etc/inittab", "")
        };
        assert!(diagnose_for(&tree("3.14"), &sends(Signal::rtmin(4)), RULE).is_empty());
        assert!(!diagnose_for(&tree("3.9"), &sends(Signal::rtmin(4)), RULE).is_empty());
    }

    #[test]
    fn systemd_by_its_special_targets() {
        let tree = Tree::new()
            .elf("/lib/systemd/systemd", "systemd 252 running in x")
            .link("/sbin/init", "/lib/systemd/systemd")
            .file("/lib/systemd/system/poweroff.target", "[Unit]\n")
            .link("/lib/systemd/system/ctrl-alt-del.target", "reboot.target")
            .file("/lib/systemd/system/reboot.target", "[Unit]\n")
            .file("/lib/systemd/system/sigpwr.target", "[Unit]\n");
        assert!(diagnose_for(&tree, &sends(Signal::rtmin(3)), RULE).is_empty());
        assert_eq!(heard(&tree, &bare_offers()), Some(Signal::rtmin(4)));
        mended(&tree, &sends(Signal::PWR), RULE);
        mended(&tree, &sends(Signal::INT), RULE);
        assert_eq!(
            diagnose_for(&tree, &sends(Signal::TERM), RULE)[0].remedy,
            Remedy::Manual
        );
    }

    #[test]
    fn runit_by_its_script() {
        let tree = Tree::new()
            .elf("/usr/bin/runit-init", "/etc/runit/stopit\0/sbin/runit")
            .link("/sbin/init", "/usr/bin/runit-init")
            .link("/etc/runit/stopit", "/run/runit/stopit");
        mended(&tree, &sends(Signal::INT), RULE);
        let script = tree.read("/etc/runit/ctrlaltdel");
        assert!(script.ends_with(": >/run/runit/stopit\nchmod 100 /run/runit/stopit\n"));
        assert_eq!(heard(&tree, &bare_offers()), Some(Signal::INT));
    }

    #[test]
    fn busybox_finit_upstart_s6() {
        let busybox = Tree::new()
            .elf("/sbin/init", "BusyBox v1.36.1\0/etc/inittab")
            .elf("/sbin/poweroff", "")
            .file("/etc/inittab", "::ctrlaltdel:/sbin/reboot\n");
        assert_eq!(heard(&busybox, &bare_offers()), Some(Signal::USR2));
        assert!(diagnose_for(&busybox, &sends(Signal::USR1), RULE).is_empty());
        assert_eq!(
            diagnose_for(&busybox, &sends(Signal::TERM), RULE)[0].remedy,
            Remedy::Manual
        );
        mended(&busybox, &sends(Signal::INT), RULE);
        let finit = Tree::new()
            .elf("/sbin/init", "Finit v4.2\0")
            .elf("/lib/finit/initctl", "")
            .file(
                "/etc/finit.conf",
                "#task <sys/pwr/fail> [2] x\ntask <sys/key/ctrlaltdel> [2] initctl reboot\n",
            );
        mended(&finit, &sends(Signal::PWR), RULE);
        mended(&finit, &sends(Signal::INT), RULE);
        assert!(
            finit
                .read("/etc/finit.conf")
                .contains("\n#task <sys/key/ctrlaltdel>")
        );
        let upstart = Tree::new()
            .elf("/sbin/init", "com.ubuntu.Upstart0_6\0")
            .elf("/sbin/shutdown", "")
            .file(
                "/etc/init/control-alt-delete.conf",
                "start on control-alt-delete\nexec /sbin/shutdown -r now\n",
            );
        mended(&upstart, &sends(Signal::INT), RULE);
        mended(&upstart, &sends(Signal::PWR), RULE);
        let s6 = Tree::new()
            .elf("/bin/sh", "")
            .elf("/sbin/poweroff", "")
            .script("/sbin/init", "#!/bin/sh\nexec s6-svscan /etc/s6/scan\n")
            .dir("/etc/s6/scan");
        assert!(diagnose_for(&s6, &sends(Signal::TERM), RULE).is_empty());
        mended(&s6, &sends(Signal::PWR), RULE);
    }
}
