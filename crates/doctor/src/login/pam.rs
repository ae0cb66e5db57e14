//! The PAM stack of `login`: every module line in effect, includes followed.

use crate::Result;
use crate::reading::{evidence, text};
use repot_model::{Evidence, PamFacts};
use repot_rootfs::RootRead;
use repot_rootfs::format::pam::{What, parse};

/// How deep includes are followed; Linux-PAM stops at 16 as well (`PAM_MAX_SUBSTACK` is 16).
const DEPTH: usize = 16;

/// The most module lines that are listed. Real stacks have some 30.
const MODULES: usize = 512;

/// Finds and reads the service file of `login`.
///
/// # Source
/// pam.d(5) and Linux-PAM's vendor directory (`--enable-vendordir`): `/etc/pam.d` before `/usr/lib/pam.d`;
/// openSUSE's login asks for the services `remote` and `login`, only the latter matters on a terminal.
pub(crate) fn detect(root: &RootRead, system: Option<&str>) -> Result<Option<PamFacts>> {
    let mut dirs = vec!["/etc/pam.d".to_owned()];
    dirs.extend(system.map(|system| format!("{system}/etc/pam.d")));
    dirs.extend(["/usr/lib/pam.d", "/usr/share/pam.d", "/usr/etc/pam.d"].map(str::to_owned));
    for dir in &dirs {
        // Without a file for it, Linux-PAM uses the service `other`.
        for service in ["login", "other"] {
            let path = format!("{dir}/{service}");
            if text(root, &path)?.is_some() {
                let mut modules = Vec::new();
                collect(root, &dirs, &path, None, DEPTH, &mut modules)?;
                return Ok(Some(PamFacts {
                    file: path,
                    modules,
                }));
            }
        }
    }
    Ok(None)
}

/// Adds the lines of one file; `only` limits them to one type, as `include` and `substack` do.
fn collect(
    root: &RootRead,
    dirs: &[String],
    path: &str,
    only: Option<&str>,
    depth: usize,
    modules: &mut Vec<Evidence>,
) -> Result<()> {
    let Some(content) = text(root, path)? else {
        return Ok(());
    };
    for line in parse(&content) {
        if modules.len() >= MODULES {
            return Ok(());
        }
        let wanted = |kind: &str| only.is_none_or(|only| only == kind);
        let (file, only) = match &line.what {
            What::Module {
                kind,
                optional,
                control,
                module,
            } => {
                if wanted(kind) {
                    let dash = if *optional { "-" } else { "" };
                    let seen = format!("{dash}{kind} {control} {}", module.join(" "));
                    modules.push(evidence(path, Some(line.line), &seen));
                }
                continue;
            }
            What::IncludeAll { file } => (file, only),
            What::Include { kind, file } if wanted(kind) => (file, Some(kind.as_str())),
            What::Include { .. } => continue,
        };
        if depth == 0 {
            continue;
        }
        match file.starts_with('/') {
            true => collect(root, dirs, file, only, depth - 1, modules)?,
            false => {
                let found = dirs
                    .iter()
                    .map(|dir| format!("{dir}/{file}"))
                    .find(|path| root.is_file(path));
                if let Some(path) = found {
                    collect(root, dirs, &path, only, depth - 1, modules)?;
                }
            }
        }
    }
    Ok(())
}
