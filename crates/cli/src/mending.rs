//! What is mended in a tree for an engine: the findings of the rules, picked by what the user asked for.
//!
//! `boot` lays the edits over the tree, `fix` writes them into it; both get them here.

use crate::args::WishArgs;
use crate::output;
use crate::password::{self, Secret};
use anyhow::{Context, anyhow, bail};
use repot_doctor::rules::{Diagnosis, Wishes};
use repot_model::{Edit, Facts, Finding, HintExt, Offers, Remedy, RuleId};
use repot_rootfs::RootRead;

/// What the user has asked for. The password is asked for here, if it is to be.
pub(crate) fn wishes(args: &WishArgs) -> anyhow::Result<Wishes> {
    let hash = match (&args.root_password, &args.root_password_hash) {
        (Some(_), _) => Some(password::sha512_crypt(password::ask()?.expose())?),
        (None, Some(hash)) if hash.expose().contains([':', '\n', '\r']) => {
            bail!("--root-password-hash: that is no hash of a password")
        }
        (None, hash) => hash.clone(),
    };
    Ok(Wishes {
        root_password_hash: hash.as_ref().map(Secret::expose).map(str::to_owned),
        autologin: args.autologin,
    })
}

/// What is to be mended, and for which engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Mending {
    /// `None`: nothing is.
    pub(crate) offers: Option<Offers>,
    /// What else the user asked for.
    pub(crate) wishes: Wishes,
    /// Only these rules, if there are any; what these can do on request counts as asked for.
    pub(crate) only: Vec<RuleId>,
    /// But not these.
    pub(crate) except: Vec<RuleId>,
    /// What was mended before the tree could be looked at: these findings come before all others.
    pub(crate) before: Vec<Finding>,
}

/// A tree as it is with what [`Mending::look_again`] has mended. Its place in the file system ends with it.
#[derive(Debug)]
pub(crate) struct Looked {
    pub(crate) root: RootRead,
    pub(crate) facts: Facts,
    _scratch: tempfile::TempDir,
}

impl Mending {
    /// All that is mended without being asked for.
    pub(crate) fn new(offers: Offers) -> Self {
        Self {
            offers: Some(offers),
            ..Self::default()
        }
    }

    /// The tree is left as it is.
    pub(crate) fn nothing() -> Self {
        Self::default()
    }

    /// The edits, in order. Rules that could not check are told of.
    pub(crate) fn edits(&self, root: &RootRead, facts: &Facts) -> Vec<Edit> {
        let (diagnosis, picked) = self.diagnose(root, facts);
        for (rule, why) in &diagnosis.unchecked {
            output::note(format!("repot: rule {rule} could not check: {why}"));
        }
        let findings = diagnosis.findings.into_iter().zip(picked);
        findings
            .filter(|(_, is_picked)| *is_picked)
            .flat_map(|(finding, _)| finding.edits)
            .collect()
    }

    /// A tree in which no init was found, with what the rules mend laid over it: a lost link or execute bit is mended like
    /// anything else, but everything after depends on which init that is. `None`: it has one, or the rules mend nothing, or the kernel
    /// lays nothing over it for this user; then it is what it was before.
    pub(crate) fn look_again(&mut self, root: &RootRead, facts: &Facts) -> Option<Looked> {
        if facts.init.is_some() {
            return None;
        }
        match self.mended_view(root, facts) {
            Ok(looked) => looked,
            Err(error) => {
                tracing::debug!("looking again: {error:#}");
                None
            }
        }
    }

    fn mended_view(&mut self, root: &RootRead, facts: &Facts) -> anyhow::Result<Option<Looked>> {
        let (diagnosis, picked) = self.diagnose(root, facts);
        let findings = diagnosis.findings.into_iter().zip(picked);
        let mended: Vec<Finding> = findings
            .filter(|(finding, is_picked)| *is_picked && !finding.edits.is_empty())
            .map(|(finding, _)| finding)
            .collect();
        if mended.is_empty() {
            return Ok(None);
        }
        let edits: Vec<Edit> = mended
            .iter()
            .flat_map(|finding| finding.edits.clone())
            .collect();
        let scratch = tempfile::tempdir().context("making a directory for a layer")?;
        let layer = scratch.path().join("layer");
        repot_rootfs::layer::write(root, &edits, &layer)?;
        let view = repot_runtime::merged_view(root.dir(), &layer)?;
        let root = RootRead::from_fd(view, root.dir().to_owned());
        let facts = repot_doctor::inspect(&root)?;
        self.before = mended;
        Ok(Some(Looked {
            root,
            facts,
            _scratch: scratch,
        }))
    }

    /// All findings, and which of them are going to be mended.
    pub(crate) fn diagnose(&self, root: &RootRead, facts: &Facts) -> (Diagnosis, Vec<bool>) {
        let Some(offers) = &self.offers else {
            return (Diagnosis::default(), Vec::new());
        };
        // What a rule would do on request anyway was not brought up by the wishes, so they do not ask for it.
        let mut unasked = Vec::new();
        if self.wishes != Wishes::default() {
            let accepts = |finding: &Finding| finding.remedy == Remedy::Automatic;
            let wishes = Wishes::default();
            unasked = repot_doctor::diagnose(root, facts, offers, &wishes, &accepts).findings;
            unasked.retain(|finding| finding.remedy == Remedy::Asked);
        }
        let accepts = |finding: &Finding| self.picks(finding, &unasked);
        let mut diagnosis = repot_doctor::diagnose(root, facts, offers, &self.wishes, &accepts);
        let picked = diagnosis.findings.iter().map(accepts);
        let picked = self.before.iter().map(|_| true).chain(picked).collect();
        diagnosis.findings.splice(0..0, self.before.iter().cloned());
        (diagnosis, picked)
    }

    /// Refuses what the user asked for and no rule knows how to do in this tree.
    ///
    /// # Errors
    /// There is something like that.
    pub(crate) fn check_wishes(&self, root: &RootRead, facts: &Facts) -> anyhow::Result<()> {
        let Some(offers) = self
            .offers
            .as_ref()
            .filter(|_| self.wishes != Wishes::default())
        else {
            return Ok(());
        };
        let accepts = |finding: &Finding| finding.remedy == Remedy::Automatic;
        let manual = |wishes: &Wishes| {
            let mut found = repot_doctor::diagnose(root, facts, offers, wishes, &accepts).findings;
            found.retain(|finding| finding.remedy == Remedy::Manual);
            found
        };
        let without = manual(&Wishes::default());
        let is_new = |finding: &Finding| {
            let same =
                |other: &Finding| other.rule == finding.rule && other.summary == finding.summary;
            !without.iter().any(same) && !self.except.contains(&finding.rule)
        };
        match manual(&self.wishes).into_iter().find(is_new) {
            Some(finding) => Err(anyhow!("{}: {}", finding.summary, finding.cause))
                .hint(finding.hint.unwrap_or_default())
                .map_err(Into::into),
            None => Ok(()),
        }
    }

    fn picks(&self, finding: &Finding, unasked: &[Finding]) -> bool {
        let is_named = self.only.contains(&finding.rule);
        if self.except.contains(&finding.rule) || !(is_named || self.only.is_empty()) {
            return false;
        }
        match finding.remedy {
            Remedy::Automatic => true,
            Remedy::Asked => {
                let is_wished = || {
                    let same = |other: &Finding| {
                        other.rule == finding.rule && other.edits == finding.edits
                    };
                    self.wishes != Wishes::default() && !unasked.iter().any(same)
                };
                is_named || is_wished()
            }
            Remedy::Environment | Remedy::Manual => false,
        }
    }
}
