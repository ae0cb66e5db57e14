//! `repot inspect`: what a tree is, with evidence.

use crate::args::Inspect;
use crate::machines::{self, Purpose};
use crate::{output, sources};
use repot_model::{Evidence, Facts, Needs, PasswordState};
use repot_runtime::Dirs;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct Document<'a> {
    version: u32,
    base: String,
    #[serde(flatten)]
    facts: &'a Facts,
    needs: Option<Needs>,
}

pub(crate) fn run(args: &Inspect) -> anyhow::Result<u8> {
    let dirs = Dirs::from_env();
    let tree = sources::resolve(&dirs, &args.source)?;
    let (_root, facts) = machines::inspect(&tree.base, Purpose::Boot)?;
    let needs = repot_doctor::needs(&facts);
    if args.json {
        output::json(&Document {
            version: output::JSON_VERSION,
            base: tree.base.display().to_string(),
            facts: &facts,
            needs,
        })?;
        return Ok(0);
    }
    show(&facts, needs.as_ref());
    Ok(0)
}

fn seen(evidence: &Evidence) -> String {
    let line = evidence
        .line
        .map(|line| format!(":{line}"))
        .unwrap_or_default();
    format!("{}{line}: {}", evidence.path, evidence.seen)
}

fn show(facts: &Facts, needs: Option<&Needs>) {
    let fact =
        |label: &str, value: String| output::line(format!("{:<13} {value}", format!("{label}:")));
    let evidence = |list: &[Evidence]| {
        list.iter()
            .for_each(|item| output::line(format!("{:<13}   {}", "", seen(item))))
    };
    fact(
        "distribution",
        format!("{} ({})", facts.distribution.name, facts.distribution.id),
    );
    evidence(&facts.distribution.evidence);
    if let Some(arch) = facts.arch {
        let libc = facts
            .libc
            .map(|libc| format!(", {libc:?}").to_lowercase())
            .unwrap_or_default();
        fact("architecture", format!("{arch}{libc}"));
    }
    match &facts.init {
        None => fact("init", "none".into()),
        Some(init) => {
            let version = init
                .version
                .as_ref()
                .map(|version| format!(" {version}"))
                .unwrap_or_default();
            fact("init", format!("{}{version}, {}", init.name, init.path));
            evidence(&init.evidence);
            if let Some(needs) = needs {
                fact("starts as", needs.argv.join(" "));
                fact(
                    "cgroups",
                    if needs.cgroups.is_empty() {
                        "any".into()
                    } else {
                        needs
                            .cgroups
                            .iter()
                            .map(|version| format!("{version:?}"))
                            .collect::<Vec<_>>()
                            .join(", ")
                    },
                );
            }
            if init.gettys.is_empty() {
                fact("gettys", "none".into());
            }
            for getty in &init.gettys {
                fact("getty", format!("{} ({:?})", getty.tty, getty.kind));
                evidence(std::slice::from_ref(&getty.evidence));
            }
        }
    }
    for rejected in &facts.rejected_inits {
        fact("not an init", seen(rejected));
    }
    fact(
        "login",
        format!(
            "{} ({:?})",
            facts.login.login.as_deref().unwrap_or("none"),
            facts.login.stack
        ),
    );
    fact(
        "getty program",
        if facts.login.gettys.is_empty() {
            "none".into()
        } else {
            facts.login.gettys.join(", ")
        },
    );
    if let Some(pam) = &facts.login.pam {
        fact("PAM", pam.file.clone());
        evidence(&pam.modules);
    }
    let password = match &facts.root.password {
        PasswordState::Set { kind } => format!("password set ({kind})"),
        PasswordState::Empty => "empty password".into(),
        PasswordState::Locked => "locked: no password can be right".into(),
        PasswordState::Expired => "password expired".into(),
        PasswordState::Unreadable => "password may not be read by you".into(),
        PasswordState::Missing => "no such account yet".into(),
    };
    fact(
        "root",
        format!(
            "{password}, shell {}",
            facts.root.shell.as_deref().unwrap_or("none")
        ),
    );
    evidence(&facts.root.evidence);
}
