//! Init scripts in System V's layout, under sysvinit and under runit: links `SNNname` in directories per runlevel.

use crate::{Result, View, edit};
use repot_model::Edit;

/// The directories that a boot goes through (Debian: runlevel 2; others: 3 or 5).
const LEVELS: &[&str] = &[
    "/etc/rcS.d",
    "/etc/rc2.d",
    "/etc/rc3.d",
    "/etc/rc5.d",
    "/etc/rc.d/rc3.d",
    "/etc/rc.d/rc5.d",
];

/// The links by which a script is started.
fn links(tree: &View<'_>, name: &str) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for dir in LEVELS {
        for link in tree.names(dir)? {
            let own = link
                .strip_prefix('S')
                .map(|rest| rest.trim_start_matches(|c: char| c.is_ascii_digit()));
            if own == Some(name) {
                found.push(format!("{dir}/{link}"));
            }
        }
    }
    Ok(found)
}

/// Whether a boot starts a script.
pub(crate) fn is_started(tree: &View<'_>, name: &str) -> Result<bool> {
    Ok(!links(tree, name)?.is_empty())
}

/// Takes a script out of the runlevels, as `update-rc.d NAME disable` does, which makes a `K` of the link's `S`.
pub(crate) fn switch_off(tree: &View<'_>, name: &str) -> Result<Vec<Edit>> {
    let mut edits = Vec::new();
    for path in links(tree, name)? {
        let why = "not started any more (update-rc.d(8), disable)";
        if let (Some(to), Some((dir, link))) = (tree.read_link(&path), path.rsplit_once('/')) {
            let kill = format!("{dir}/K{}", link.trim_start_matches('S'));
            edits.push(edit::link(tree, &kill, &to, why));
        }
        edits.push(edit::remove(tree, &path, why));
    }
    Ok(edits)
}
