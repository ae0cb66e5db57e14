//! cloud-init is told to ask one cloud, which is not there.
//!
//! Symptom: the login comes two minutes late; `Calling 'http://169.254.169.254/2009-04-04/meta-data/instance-id' failed [119/120s]`.

use super::{Case, Rule, RuleMeta};
use crate::Result;
use crate::edit;
use crate::reading::evidence;
use repot_model::{Certainty, Evidence, Finding, Remedy, Severity};

#[derive(Debug)]
pub(crate) struct CloudInit;

static META: RuleMeta = RuleMeta {
    id: "cloud-init",
    severity: Severity::Degraded,
    summary: "cloud-init waits for the metadata service of a cloud",
    explain: "Images for a cloud have cloud-init in them. If it may choose, it looks where it is and switches itself off where no cloud \
is. An image for one cloud names that one (`datasource_list: [ Ec2, None ]`): cloud-init then does not look but asks, for two minutes, \
and the login waits behind it (measured: 137 s instead of 7).\n\nrepot makes `/etc/cloud/cloud-init.disabled`, which every version \
respects. By hand: the same file. For a machine that is to be set up by cloud-init, give it a seed in `/var/lib/cloud/seed/nocloud` and \
name `NoCloud` in the list.",
    sources: &["cloud-init documentation: How to disable cloud-init; ds-identify"],
};

/// Data sources that ask nobody over a network.
const LOCAL: &[&str] = &[
    "None",
    "NoCloud",
    "ConfigDrive",
    "LXD",
    "OVF",
    "WSL",
    "RbxCloud",
    "SmartOS",
    "VMware",
];

const DISABLED: &str = "/etc/cloud/cloud-init.disabled";

impl Rule for CloudInit {
    fn meta(&self) -> &'static RuleMeta {
        &META
    }

    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>> {
        let tree = case.tree;
        let is_there = ["/usr/bin/cloud-init", "/usr/local/bin/cloud-init"]
            .iter()
            .any(|path| tree.is_executable(path));
        // On the host's network, the cloud may be there.
        let shares = case.offers.shares_network;
        if !is_there || !case.offers.is_pid1 || shares || tree.exists(DISABLED) {
            return Ok(Vec::new());
        }
        let Some((sources, seen)) = data_sources(case)? else {
            return Ok(Vec::new());
        };
        let has_seed = tree.is_dir("/var/lib/cloud/seed/nocloud");
        let named: Vec<&String> = sources.iter().filter(|name| *name != "None").collect();
        let [one] = named.as_slice() else {
            return Ok(Vec::new());
        };
        if LOCAL.contains(&one.as_str()) || has_seed {
            return Ok(Vec::new());
        }
        let mut finding = META.finding(
            format!("cloud-init asks {one} for its settings, whether it is there or not"),
            "the login comes two minutes late",
        );
        finding.certainty = Certainty::Likely;
        finding.cause = "with one data source in its list it does not look which there is".into();
        finding.evidence = vec![seen];
        finding.remedy = Remedy::Automatic;
        finding.edits = vec![edit::write(tree, DISABLED, "", "there is no cloud to ask")];
        Ok(vec![finding])
    }
}

/// The list that counts: the last, of the files in order of their names, after the main one.
fn data_sources(case: &Case<'_>) -> Result<Option<(Vec<String>, Evidence)>> {
    let dir = "/etc/cloud/cloud.cfg.d";
    let mut files = vec!["/etc/cloud/cloud.cfg".to_owned()];
    let names = case.tree.names(dir)?;
    files.extend(
        names
            .into_iter()
            .filter(|name| name.ends_with(".cfg"))
            .map(|name| format!("{dir}/{name}")),
    );
    let mut found = None;
    for path in files {
        let text = case.tree.text(&path)?.unwrap_or_default();
        for (number, line) in (1..).zip(text.lines()) {
            let list = line
                .strip_prefix("datasource_list:")
                .map(str::trim)
                .and_then(|rest| rest.strip_prefix('[')?.split_once(']'));
            if let Some((list, _)) = list {
                let sources = list
                    .split(',')
                    .map(|name| name.trim().trim_matches(['"', '\'']).to_owned())
                    .filter(|name| !name.is_empty())
                    .collect();
                found = Some((sources, evidence(&path, Some(number), line)));
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use crate::fake::{Tree, diagnose_for, mended, offers};

    const RULE: &str = "cloud-init";

    fn tree(list: &str) -> Tree {
        Tree::new()
            .elf("/sbin/init", "SysV init version")
            .script("/usr/bin/cloud-init", "#!/bin/sh\n")
            .file(
                "/etc/cloud/cloud.cfg",
                "datasource_list: [ NoCloud, Ec2, None ]\n",
            )
            .file(
                "/etc/cloud/cloud.cfg.d/90_dpkg.cfg",
                &format!("# to update\ndatasource_list: {list}\n"),
            )
    }

    #[test]
    fn one_cloud_that_is_not_there() {
        for fine in [
            "[ NoCloud, Ec2, None ]",
            "[None]",
            "[ NoCloud, None ]",
            "[]",
        ] {
            assert!(
                diagnose_for(&tree(fine), &offers(), RULE).is_empty(),
                "{fine}"
            );
        }
        let mut shared = offers();
        shared.shares_network = true;
        assert!(diagnose_for(&tree("[Ec2]"), &shared, RULE).is_empty());
        let tree = tree("[ Ec2, None ]");
        let found = mended(&tree, &offers(), RULE);
        assert_eq!(found[0].evidence[0].line, Some(2));
    }
}
