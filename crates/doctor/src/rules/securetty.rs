//! Root may not log in on the terminal that is the console.

use super::{Case, Rule, RuleMeta};
use crate::login::pam;
use crate::reading::evidence;
use crate::{Result, edit};
use repot_model::{Certainty, Change, Evidence, Finding, LoginStack, Remedy, Severity};
use repot_rootfs::FileKind;
use repot_rootfs::format::{assignments, securetty};

#[derive(Debug)]
pub(crate) struct Securetty;

static META: RuleMeta = RuleMeta {
    id: "securetty",
    severity: Severity::NoLogin,
    summary: "/etc/securetty does not let root in on this console",
    explain: "**Symptom**: `Login incorrect` for root, before a password is asked for or after the right one; with PAM the log has \
`pam_securetty(login:auth): access denied: tty 'pts/0' is not secure !`. Other accounts get in.\n\n**Cause**: pam_securetty, \
busybox' login, and shadow's login without PAM let root in only on terminals that `/etc/securetty` lists, by the name that ttyname(3) \
gives. A container's console is called `pts/0`, `console` or `lxc/console` there. A file that anybody may write, or that is no \
regular file, lists nothing for pam_securetty. Without the file, every terminal is allowed.\n\n**What repot does**: it adds the \
names that this console and further sessions have in this engine, and keeps everything else.\n\n**By hand**: \
`printf 'pts/0\\n' >>TREE/etc/securetty`.",
    sources: &[
        "securetty(5), pam_securetty(8), pam_securetty.c",
        "login.defs(5) CONSOLE; shadow libmisc/console.c",
        "busybox loginutils/login.c, libbb/securetty.c",
        "systemd/systemd#852, #2808, #13532",
    ],
};

const FILE: &str = "/etc/securetty";

impl Rule for Securetty {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let Some(reader) = reader(case)? else {
            return Ok(Vec::new());
        };
        let Some(kind) = case.tree.kind(FILE) else {
            return Ok(Vec::new());
        };
        let mut findings = Vec::new();
        if kind != FileKind::File {
            return Ok(vec![of_wrong_kind(case, kind, reader)]);
        }
        let is_pam = reader.seen.contains("pam_securetty");
        if let Some(found) = case.tree.metadata(FILE)
            && found.mode & 0o002 != 0
            && is_pam
        {
            let mut finding = META.finding(
                "anybody may write /etc/securetty, so it lists nothing",
                "Login incorrect",
            );
            finding.cause = "pam_securetty trusts no file that others can change: `/etc/securetty is either world writable or not a normal file`".into();
            let seen = format!("mode {:04o}", found.mode);
            finding.evidence = vec![evidence(FILE, None, &seen), reader.clone()];
            finding.remedy = Remedy::Automatic;
            finding.edits.push(edit::made(
                case.tree,
                FILE,
                Change::Mode {
                    mode: found.mode & !0o022,
                },
                "only root may write it",
            ));
            findings.push(finding);
        }
        let Some(text) = case.tree.text(FILE)? else {
            return Ok(findings);
        };
        let listed = securetty::parse(&text);
        let consoles = consoles(case);
        if consoles.is_empty() || consoles.iter().any(|name| listed.contains(name)) {
            return Ok(findings);
        }
        let shown = consoles.join(" and ");
        let mut finding = META.finding(
            format!("/etc/securetty does not list {shown}, the name of this console"),
            "Login incorrect",
        );
        finding.cause = format!(
            "the login program lets root in only on the terminals of that file; its log would say: access denied: tty '{}' is not secure !",
            consoles[0]
        );
        finding.evidence = vec![
            evidence(
                FILE,
                None,
                &format!("lists {} terminals, but not {shown}", listed.len()),
            ),
            reader,
        ];
        let mut names: Vec<&str> = consoles.iter().map(String::as_str).collect();
        // Where the console is a pty by name, so are all further sessions.
        let ptys: Vec<String> = (0..10).map(|number| format!("pts/{number}")).collect();
        if names.iter().any(|name| name.starts_with("pts/")) {
            names.extend(ptys.iter().map(String::as_str));
        }
        let why = format!("root logs in on {shown} there");
        match edit::rewrite(case.tree, FILE, &why, |text| securetty::with(text, &names))? {
            Some(edit) => {
                finding.remedy = Remedy::Automatic;
                finding.edits.push(edit);
            }
            None => finding.hint = Some(format!("add {shown} to /etc/securetty")),
        }
        findings.push(finding);
        Ok(findings)
    }
}

/// A directory or device instead of the file.
fn of_wrong_kind(case: &Case<'_>, kind: FileKind, reader: Evidence) -> Finding {
    let mut finding = META.finding(
        format!("/etc/securetty is a {kind}, so it lists nothing"),
        "Login incorrect",
    );
    finding.cause = "it is there, so terminals are checked, but none can be read from it".into();
    finding.certainty = Certainty::Likely;
    finding.evidence = vec![evidence(FILE, None, &format!("a {kind}")), reader];
    finding.remedy = Remedy::Automatic;
    let why = "without the file, root may log in on every terminal";
    finding
        .edits
        .push(edit::made(case.tree, FILE, Change::Remove, why));
    finding
}

/// Who reads the file when root logs in, if anybody does.
fn reader(case: &Case<'_>) -> Result<Option<Evidence>> {
    let login = &case.facts.login;
    let Some(program) = &login.login else {
        return Ok(None);
    };
    if login.pam.is_some() {
        let stack = pam::stack(case.tree, case.facts)?;
        let modules = stack.map(|stack| stack.modules).unwrap_or_default();
        let line = modules
            .iter()
            .find(|module| module.kind == "auth" && module.is("pam_securetty.so"));
        return Ok(line
            .filter(|line| line.is_fatal("auth_err"))
            .map(pam::Module::evidence));
    }
    match login.stack {
        LoginStack::Busybox => Ok(Some(evidence(program, None, "busybox' login reads it"))),
        LoginStack::Shadow => {
            let text = case.tree.text("/etc/login.defs")?.unwrap_or_default();
            let values = assignments::parse_blank_separated(&text);
            let console = assignments::get(&values, "CONSOLE");
            // Without the setting, shadow's login asks nobody (libmisc/console.c).
            Ok(console.filter(|found| found.value == FILE).map(|found| {
                evidence(
                    "/etc/login.defs",
                    Some(found.line),
                    "CONSOLE /etc/securetty",
                )
            }))
        }
        LoginStack::UtilLinux | LoginStack::Toybox | LoginStack::Unknown | LoginStack::None => {
            Ok(None)
        }
    }
}

/// The names under which root may log in where the user looks: one of them has to be listed.
fn consoles(case: &Case<'_>) -> Vec<String> {
    let offered = &case.offers.console;
    let mut names: Vec<String> = Vec::new();
    let Some(init) = &case.facts.init else {
        return names;
    };
    for getty in &init.gettys {
        if case.offers.tty1_is_console && getty.tty == "tty1" {
            names.push("tty1".to_owned());
        } else if (getty.tty == "console" || getty.tty == "-") && !offered.device.is_empty() {
            names.push(offered.login_name.clone());
        }
    }
    if names.is_empty() && !offered.device.is_empty() {
        names.push(offered.login_name.clone());
    }
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::{Change, Offers};

    fn on(name: &str) -> Offers {
        let mut offers = offers();
        offers.console.login_name = name.into();
        offers.tty1_is_console = false;
        offers
    }

    fn pam_tree(securetty: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "auth required pam_securetty.so\n")
            .file("/etc/securetty", securetty)
    }

    #[test]
    fn names_that_are_missing_are_added() {
        let tree = pam_tree("# local\ntty1\n");
        assert!(diagnose_for(&tree, &on("tty1"), "securetty").is_empty());
        let found = diagnose_for(&tree, &on("pts/0"), "securetty");
        assert_eq!(found[0].symptom, "Login incorrect");
        assert_eq!(found[0].evidence[1].line, Some(1));
        let Change::Write { text, .. } = &found[0].edits[0].change else {
            panic!("{found:?}")
        };
        assert!(text.starts_with("# local\ntty1\npts/0\npts/1\n"), "{text}");
        mends(&tree, &on("pts/0"), &Wishes::default(), "securetty");
        mends(&tree, &on("lxc/console"), &Wishes::default(), "securetty");
    }

    #[test]
    fn only_who_reads_it_is_asked() {
        let named = |login: &str| {
            Tree::new()
                .elf("/sbin/init", "SysV init version")
                .elf("/bin/login", login)
                .file("/etc/securetty", "tty1\n")
        };
        let count = |tree: &Tree| diagnose_for(tree, &on("console"), "securetty").len();
        assert_eq!(count(&named("BusyBox v1.36.1")), 1);
        assert_eq!(count(&named("util-linux")), 0);
        let shadow = "Cannot possibly work without effective root";
        assert_eq!(count(&named(shadow)), 0);
        let defs = named(shadow).file("/etc/login.defs", "CONSOLE\t/etc/securetty\n");
        assert_eq!(count(&defs), 1);
        let pam = pam_tree("tty1\n").file("/etc/pam.d/login", "auth required pam_unix.so\n");
        assert_eq!(count(&pam), 0);
        let optional = pam_tree("tty1\n").file(
            "/etc/pam.d/login",
            "auth [default=ignore] pam_securetty.so\n",
        );
        assert_eq!(count(&optional), 0);
    }

    #[test]
    fn files_that_list_nothing() {
        let writable = pam_tree("tty1\n").mode("/etc/securetty", 0o666);
        let found = diagnose_for(&writable, &on("tty1"), "securetty");
        assert!(matches!(
            found[0].edits[0].change,
            Change::Mode { mode: 0o644 }
        ));
        mends(&writable, &on("tty1"), &Wishes::default(), "securetty");
        let directory = Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "auth required pam_securetty.so\n")
            .dir("/etc/securetty");
        mends(&directory, &on("tty1"), &Wishes::default(), "securetty");
    }
}
