//! The known reasons why a tree does not boot or does not let you in, one file each.
//!
//! A rule compares what the tree is and needs with what an engine offers; it asks neither which engine nor which distribution
//! that is. To add one: a file here with a [`Rule`], `cargo xtask gen` for its `mod` line, and an entry in [`RULES`], which is
//! in the order in which they run: those that mend what others look at come first.

mod architecture;
mod autologin;
mod cgroup_version;
mod cloud_init;
mod console_silent;
mod container_services;
mod container_variable;
mod default_target;
mod emulated_services;
mod first_boot;
mod foreign_mounts;
mod fstab_devices;
mod hash_kind;
mod host_names;
mod init_place;
mod init_process;
mod locale;
mod login_program;
mod machine_id;
mod missing_terminals;
mod mount_points;
mod mtab;
mod network_devices;
mod no_init;
mod no_reboot_call;
mod nologin_file;
mod os_release;
mod owners;
mod pam_include;
mod pam_limits;
mod pam_loginuid;
mod pam_module;
mod pam_nullok;
mod pam_session;
mod resolver_link;
mod root_missing;
mod root_password;
mod root_shell;
mod securetty;
mod selinux;
mod set_uid;
mod shared_terminal;
mod stop_signal;
mod top_links;
mod usr;

use crate::{Result, View};
use repot_model::{
    Certainty, Change, Edit, Evidence, Facts, Finding, Needs, Offers, Remedy, RuleId, Severity,
};

/// What a rule is about, for `explain` and the pages under `docs/rules`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RuleMeta {
    /// Its ID: the name of its file, with `-` for `_`.
    pub id: &'static str,
    /// The worst that it finds.
    pub severity: Severity,
    /// One line: what is wrong, in general.
    pub summary: &'static str,
    /// Several paragraphs in Markdown: symptom, cause, what repot does about it, what one can do by hand.
    pub explain: &'static str,
    /// Where that is known from: man pages, sources, issues.
    pub sources: &'static [&'static str],
}

/// What the user has asked for besides a boot: some edits are made only then.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Wishes {
    /// A password for root, as crypt(5) writes it.
    pub root_password_hash: Option<String>,
    /// Whether root is logged in on the console without being asked.
    pub autologin: bool,
}

impl std::fmt::Debug for Wishes {
    /// Without the hash.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let hash = self.root_password_hash.as_ref().map(|_| "...");
        f.debug_struct("Wishes")
            .field("root_password_hash", &hash)
            .field("autologin", &self.autologin)
            .finish()
    }
}

/// What a rule looks at.
#[derive(Debug)]
pub struct Case<'a> {
    /// The tree, with the edits of the rules before.
    pub tree: &'a View<'a>,
    /// What it is, before any edit.
    pub facts: &'a Facts,
    /// What its init wants. `None`: it has none.
    pub needs: Option<&'a Needs>,
    /// What the engine gives.
    pub offers: &'a Offers,
    /// What the user asked for.
    pub wishes: &'a Wishes,
}

/// One known reason.
pub trait Rule: Sync + std::fmt::Debug {
    /// What it is about.
    fn meta(&self) -> &'static RuleMeta;

    /// What it has found; nothing, one thing, or several that are mended apart.
    ///
    /// # Errors
    /// The tree could not be read: "could not check", which is not "fine".
    fn check(&self, case: &Case<'_>) -> Result<Vec<Finding>>;
}

/// All rules, in the order in which they run.
pub static RULES: &[&dyn Rule] = &[
    &init_process::InitProcess,
    &os_release::OsRelease,
    &owners::Owners,
    &foreign_mounts::ForeignMounts,
    &top_links::TopLinks,
    &usr::Usr,
    &mount_points::MountPoints,
    &no_init::NoInit,
    &architecture::Architecture,
    &init_place::InitPlace,
    &machine_id::MachineId,
    &mtab::Mtab,
    &selinux::SeLinux,
    &set_uid::SetUid,
    &login_program::LoginProgram,
    &pam_include::PamInclude,
    &pam_module::PamModule,
    &pam_loginuid::PamLoginuid,
    &pam_limits::PamLimits,
    &pam_session::PamSession,
    &nologin_file::NologinFile,
    &root_missing::RootMissing,
    &root_shell::RootShell,
    &root_password::RootPassword,
    &hash_kind::HashKind,
    &pam_nullok::PamNullok,
    &securetty::Securetty,
    &cgroup_version::Cgroups,
    &container_variable::ContainerVariable,
    &default_target::DefaultTarget,
    &fstab_devices::FstabDevices,
    &first_boot::FirstBoot,
    &console_silent::ConsoleSilent,
    &missing_terminals::MissingTerminals,
    &shared_terminal::SharedTerminal,
    &stop_signal::StopSignal,
    &no_reboot_call::NoRebootCall,
    &autologin::Autologin,
    &container_services::ContainerServices,
    &emulated_services::EmulatedServices,
    &cloud_init::CloudInit,
    &network_devices::NetworkDevices,
    &resolver_link::ResolverLink,
    &host_names::HostNames,
    &locale::Locale,
];

/// The rule of that ID.
pub fn rule(id: &str) -> Option<&'static dyn Rule> {
    RULES.iter().find(|rule| rule.meta().id == id).copied()
}

impl RuleMeta {
    /// The frame of a finding of this rule: certain, no edits yet, nobody takes care.
    pub(crate) fn finding(
        &self,
        summary: impl Into<String>,
        symptom: impl Into<String>,
    ) -> Finding {
        Finding {
            rule: RuleId(self.id.to_owned()),
            severity: self.severity,
            certainty: Certainty::Certain,
            summary: summary.into(),
            symptom: symptom.into(),
            cause: String::new(),
            evidence: Vec::new(),
            remedy: Remedy::Manual,
            edits: Vec::new(),
            hint: None,
        }
    }
}

/// A diagnosis: every finding, in the order of the rules, and the rules that could not check.
#[derive(Debug, Default)]
pub struct Diagnosis {
    /// What was found.
    pub findings: Vec<Finding>,
    /// Rules that could not be applied, with the reason.
    pub unchecked: Vec<(RuleId, String)>,
    /// The signal on which the init powers off in this engine once the accepted edits are made; for an engine that takes any, one
    /// to be given to it. `None`: there is none.
    pub stop_signal: Option<repot_model::Signal>,
}

impl Diagnosis {
    /// The edits that are made without being asked for, in order.
    pub fn automatic(&self) -> impl Iterator<Item = &Edit> {
        self.findings
            .iter()
            .filter(|finding| finding.remedy == Remedy::Automatic)
            .flat_map(|finding| &finding.edits)
    }

    /// Those, and the ones that the user's wishes have brought up.
    pub fn wished(&self) -> impl Iterator<Item = &Edit> {
        self.findings
            .iter()
            .filter(|finding| matches!(finding.remedy, Remedy::Automatic | Remedy::Asked))
            .flat_map(|finding| &finding.edits)
    }
}

/// Applies all rules. Each sees the edits of those before it that `accepts` lets through.
pub fn diagnose(
    root: &repot_rootfs::RootRead,
    facts: &Facts,
    offers: &Offers,
    wishes: &Wishes,
    accepts: &dyn Fn(&Finding) -> bool,
) -> Diagnosis {
    let mut view = View::new(root);
    let needs = crate::needs(facts);
    let mut diagnosis = Diagnosis::default();
    for rule in RULES {
        let case = Case {
            tree: &view,
            facts,
            needs: needs.as_ref(),
            offers,
            wishes,
        };
        match rule.check(&case) {
            Ok(mut findings) => {
                findings.iter_mut().for_each(keep_bytes);
                for finding in &findings {
                    if accepts(finding) {
                        finding.edits.iter().for_each(|edit| view.apply(edit));
                    }
                }
                diagnosis.findings.extend(findings);
            }
            Err(error) => {
                let mut why = error.to_string();
                let mut cause = std::error::Error::source(&error);
                while let Some(next) = cause {
                    why = format!("{why}: {next}");
                    cause = next.source();
                }
                diagnosis
                    .unchecked
                    .push((RuleId(rule.meta().id.to_owned()), why));
            }
        }
    }
    let case = Case {
        tree: &view,
        facts,
        needs: needs.as_ref(),
        offers,
        wishes,
    };
    // What cannot be read is among the unchecked already.
    diagnosis.stop_signal = stop_signal::heard(&case).unwrap_or_default();
    diagnosis
}

/// A text that was read with bytes that are no UTF-8 would lose them when it is written again: such edits are left to the user.
fn keep_bytes(finding: &mut Finding) {
    let lossy = finding.edits.iter().find(|edit| match &edit.change {
        Change::Write { text, .. } => text.contains(char::REPLACEMENT_CHARACTER),
        Change::Link { .. }
        | Change::Directory { .. }
        | Change::Remove
        | Change::Mode { .. }
        | Change::Owner { .. } => false,
    });
    if let Some(edit) = lossy {
        finding.hint = Some(format!(
            "{} holds bytes that are no UTF-8, so repot does not rewrite it: {}",
            edit.path, edit.why
        ));
        finding.remedy = Remedy::Manual;
        finding.edits.clear();
    }
}

/// Evidence that something is not there.
pub(crate) fn absent(path: &str) -> Evidence {
    Evidence {
        path: path.to_owned(),
        line: None,
        seen: "does not exist".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[allow(clippy::disallowed_methods, reason = "reads this crate's own folder")]
    fn the_list_matches_the_folder() {
        let ids: Vec<&str> = RULES.iter().map(|rule| rule.meta().id).collect();
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/rules");
        for entry in std::fs::read_dir(folder).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let stem = name.trim_end_matches(".rs").replace('_', "-");
            // Shared parts are folders or named here.
            if !["mod"].contains(&stem.as_str()) {
                assert!(ids.contains(&stem.as_str()), "{stem} is in no list");
            }
        }
        let mut unique = ids.clone();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), ids.len(), "{ids:?}");
        for rule in RULES {
            let meta = rule.meta();
            assert!(!meta.sources.is_empty(), "{} names no source", meta.id);
            assert!(meta.explain.len() > 80, "{} explains nothing", meta.id);
        }
    }
}
