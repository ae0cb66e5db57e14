//! pam_limits is to raise limits of root's, and the engine does not let it.

use super::pam_module::module_dirs;
use super::{Case, Rule, RuleMeta};
use crate::login::pam::{self, Module};
use crate::reading::{evidence, optional};
use crate::{Result, edit};
use repot_model::{Certainty, Finding, Remedy, Severity};
use repot_rootfs::contains;
use repot_rootfs::format::limits::{self, Limit};

#[derive(Debug)]
pub(crate) struct PamLimits;

static META: RuleMeta = RuleMeta {
    id: "pam-limits",
    severity: Severity::NoLogin,
    summary: "limits.conf raises limits for root, and the engine does not allow that",
    explain: "**Symptom**: the prompt comes back after the right password, with `Permission denied` or without a word; the log has \
`pam_limits(login:session): Could not set limit for 'nproc': Operation not permitted`.\n\n**Cause**: `/etc/security/limits.conf` or a file of \
`limits.d` wants more for root than PID 1 has. To raise a hard limit takes CAP_SYS_RESOURCE in the host's own user namespace, which a \
machine does not have; to lower its niceness (`priority`) takes CAP_SYS_NICE there. Lines for `*` do not count for root, but for all \
others. The pam_limits of Debian and of what is made from it goes on where the kernel refuses a limit, though not a priority, so those \
are left alone there.\n\n**What repot does**: it makes those lines comments. Lines that \
lower something stay.\n\n**By hand**: the same, or give the machine higher limits from outside (`LimitNPROC=`, `--ulimit`).",
    sources: &[
        "limits.conf(5), pam_limits(8), pam_limits.c, setup_limits()",
        "setrlimit(2), EPERM; kernel/sys.c, do_prlimit()",
        "Debian pam, patch 032_pam_limits_EPERM_NOT_FATAL",
        "openSUSE/docker-containers#82",
    ],
};

/// No limit but the niceness of the session (setpriority(2)), whatever the kind.
const PRIORITY: &str = "priority";

const FILE: &str = "/etc/security/limits.conf";
const DIR: &str = "/etc/security/limits.d";

/// The most files of `limits.d` that are read: a real one has a handful.
const FILES: usize = 64;

impl Rule for PamLimits {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        if case.offers.raises_limits {
            return Ok(Vec::new());
        }
        let Some(stack) = pam::stack(case.tree, case.facts)? else {
            return Ok(Vec::new());
        };
        let mut modules = stack.modules.iter();
        let Some(module) =
            modules.find(|module| module.is("pam_limits.so") && module.is_fatal("perm_denied"))
        else {
            return Ok(Vec::new());
        };
        // Over a limit, not over a priority.
        let goes_on = goes_on(case, module)?;
        let mut findings = Vec::new();
        for path in files(case, module)? {
            let Some(text) = case.tree.text(&path)? else {
                continue;
            };
            let raised: Vec<Limit> = limits::parse(&text)
                .into_iter()
                .filter(|limit| is_for_root(&limit.domain) && raises(limit))
                .filter(|limit| !goes_on || limit.item == PRIORITY)
                .collect();
            if raised.is_empty() {
                continue;
            }
            let items: Vec<String> = raised
                .iter()
                .map(|limit| format!("{} to {}", limit.item, limit.value))
                .collect();
            let mut finding = META.finding(
                format!(
                    "{path} raises {} for root, which is not allowed there",
                    items.join(", ")
                ),
                "Permission denied",
            );
            // Unless PID 1 has as much already.
            finding.certainty = Certainty::Likely;
            finding.cause = "to raise a hard limit takes CAP_SYS_RESOURCE over the host, and pam_limits ends the session without".into();
            finding.evidence = raised
                .iter()
                .map(|limit| {
                    let seen = format!(
                        "{} {} {} {}",
                        limit.domain, limit.kind, limit.item, limit.value
                    );
                    evidence(&path, Some(limit.line), &seen)
                })
                .collect();
            finding.evidence.push(module.evidence());
            let lines: Vec<u32> = raised.iter().map(|limit| limit.line).collect();
            let why = "the engine does not let limits be raised";
            match edit::rewrite(case.tree, &path, why, |text| limits::without(text, &lines))? {
                Some(edit) => {
                    finding.remedy = Remedy::Automatic;
                    finding.edits.push(edit);
                }
                None => finding.hint = Some(format!("take those lines out of {path}")),
            }
            findings.push(finding);
        }
        Ok(findings)
    }
}

/// A module has some 30 KB.
const MODULE_BYTES: u64 = 1 << 20;

/// Whether the module is Debian's, which passes over EPERM: it is told by the message that another patch of Debian's gave it.
///
/// # Source
/// Debian pam, patches 032_pam_limits_EPERM_NOT_FATAL and 040_pam_limits_log_failure; seen in bookworm, trixie and sid.
fn goes_on(case: &Case<'_>, module: &Module) -> Result<bool> {
    let paths = match module.module.starts_with('/') {
        true => vec![module.module.clone()],
        false => module_dirs(case.tree)?
            .iter()
            .map(|dir| format!("{dir}/{}", module.module))
            .collect(),
    };
    for path in paths {
        let head = optional(case.tree.root().read_head(&path, MODULE_BYTES))?;
        if head.is_some_and(|head| contains(&head, "%m; uid=%lu,euid=%lu")) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The files that the module reads: the one it is told, else the usual ones.
fn files(case: &Case<'_>, module: &Module) -> Result<Vec<String>> {
    let told = module.args.iter().find_map(|arg| arg.strip_prefix("conf="));
    if let Some(told) = told {
        return Ok(vec![told.to_owned()]);
    }
    let mut files = vec![FILE.to_owned()];
    let names = case.tree.names(DIR)?;
    let conf = names
        .iter()
        .filter(|name| name.ends_with(".conf"))
        .take(FILES);
    files.extend(conf.map(|name| format!("{DIR}/{name}")));
    Ok(files)
}

/// Whether a line counts for root: wildcards and groups do not (limits.conf(5)).
fn is_for_root(domain: &str) -> bool {
    let is_zero = |text: &str| text.is_empty() || text == "0";
    domain == "root"
        || domain
            .split_once(':')
            .is_some_and(|(from, _)| is_zero(from) && !domain.starts_with('@') && domain != ":")
}

/// Whether a value is more than a process usually has.
///
/// # Source
/// The kernel's and systemd's defaults: `include/asm-generic/resource.h` (INIT_RLIMITS); systemd 240 and later raise nofile's hard
/// limit to 524288.
fn raises(limit: &Limit) -> bool {
    if limit.kind == "soft" && limit.item != PRIORITY {
        // Not beyond the hard limit, or pam_limits lowers it to that.
        return false;
    }
    let number = limit.value.parse::<i64>().ok();
    let is_unlimited = matches!(limit.value.as_str(), "unlimited" | "infinity" | "-1");
    match limit.item.as_str() {
        // Unlimited by default.
        "core" | "data" | "fsize" | "rss" | "cpu" | "as" | "locks" | "stack" => false,
        // 20 less the number, at the least 1, where the kernel has 0 (pam_limits.c, process_limit()).
        "nice" => number.is_some(),
        PRIORITY => number.is_some_and(|number| number < 0),
        "maxlogins" | "maxsyslogins" | "chroot" | "nonewprivs" => false,
        "rtprio" => is_unlimited || number.is_some_and(|number| number > 0),
        "nofile" => is_unlimited || number.is_some_and(|number| number > 524_288),
        "nproc" | "memlock" | "sigpending" | "msgqueue" => {
            is_unlimited || number.is_some_and(|number| number > 8_388_608)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mends, offers};
    use crate::rules::Wishes;
    use repot_model::Change;

    fn tree(limits: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .elf("/bin/login", "util-linux\0libpam.so.0")
            .file("/etc/pam.d/login", "session required pam_limits.so\n")
            .file("/etc/security/limits.conf", limits)
    }

    #[test]
    fn lines_that_raise_become_comments() {
        let mut strict = offers();
        strict.raises_limits = false;
        let text = "# c\n* - nproc unlimited\nroot - nproc unlimited\nroot hard core 0\nroot hard nofile 1024\n0:0 - rtprio 99\nroot soft memlock unlimited\n";
        let raised = tree(text).file("/etc/security/limits.d/90.conf", "root\t-\tnice\t-20\r\n");
        assert!(diagnose_for(&raised, &offers(), "pam-limits").is_empty());
        let found = diagnose_for(&raised, &strict, "pam-limits");
        assert_eq!(found.len(), 2);
        let Change::Write { text: new, .. } = &found[0].edits[0].change else {
            panic!("{found:?}")
        };
        let wanted = text
            .replace("\nroot - np", "\n#root - np")
            .replace("\n0:0", "\n#0:0");
        assert_eq!(new, &wanted);
        mends(&raised, &strict, &Wishes::default(), "pam-limits");
        let named = raised.file(
            "/etc/pam.d/login",
            "session required pam_limits.so conf=/etc/l\n",
        );
        assert!(diagnose_for(&named, &strict, "pam-limits").is_empty());
        // Debian's own module goes on.
        let debian = tree(text).elf("/usr/lib/security/pam_unix.so", "").elf(
            "/usr/lib/security/pam_limits.so",
            "Could not set limit for '%s' to soft=%d, hard=%d: %m; uid=%lu,euid=%lu",
        );
        assert!(diagnose_for(&debian, &strict, "pam-limits").is_empty());
        // Not over a priority.
        let lines = "root soft priority -5\nroot - priority 5\nroot - nice 19\n";
        let debian = debian.file("/etc/security/limits.conf", lines);
        let found = diagnose_for(&debian, &strict, "pam-limits");
        assert_eq!(found[0].evidence[0].line, Some(1));
        let found = diagnose_for(&tree(lines), &strict, "pam-limits");
        assert_eq!(found[0].evidence[1].line, Some(3));
        let optional = tree(text).file("/etc/pam.d/login", "session optional pam_limits.so\n");
        assert!(diagnose_for(&optional, &strict, "pam-limits").is_empty());
    }
}
