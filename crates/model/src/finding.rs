//! What a rule has found, and what mends it.

use crate::Evidence;
use serde::{Deserialize, Serialize};
use std::fmt;

/// The identity of a rule: the name of the file in `doctor/src/rules/` that holds it, with `-` for `_`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RuleId(pub String);

impl fmt::Display for RuleId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

/// How bad it is if nothing is done. Ordered: the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No prompt is reached.
    NoBoot,
    /// A prompt may come, but root does not get in.
    NoLogin,
    /// It boots and lets in, but something does not work: a stop that hangs, a service that fails, a long wait.
    Degraded,
    /// Noise.
    Cosmetic,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::NoBoot => "will not boot",
            Self::NoLogin => "no login",
            Self::Degraded => "degraded",
            Self::Cosmetic => "cosmetic",
        })
    }
}

/// How sure a rule is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Certainty {
    /// Seen in the tree, and nothing else can come of it.
    Certain,
    /// Usually so.
    Likely,
    /// It depends on what the tree's programs do.
    Possible,
}

impl fmt::Display for Certainty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Certain => "certain",
            Self::Likely => "likely",
            Self::Possible => "possible",
        })
    }
}

/// Who takes care of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Remedy {
    /// `boot` gives the init another environment (argv, variables, terminals, cgroup): no file is edited.
    Environment,
    /// `boot` lays the edits over the tree by itself; `fix` writes them into it.
    Automatic,
    /// The edits are made when the user asks for them (`--root-password`, `--autologin`, `--only RULE`).
    Asked,
    /// Nothing that can be written into a file mends it: the hint says what does.
    Manual,
}

impl fmt::Display for Remedy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Environment => "boot takes care of it",
            Self::Automatic => "boot and fix mend it",
            Self::Asked => "mended on request",
            Self::Manual => "you have to mend it",
        })
    }
}

/// One known reason for a failed boot or login, found in this tree for this engine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// Which rule.
    pub rule: RuleId,
    /// How bad.
    pub severity: Severity,
    /// How sure.
    pub certainty: Certainty,
    /// What is wrong here, in one sentence without a full stop: `root has no password that could be right`.
    pub summary: String,
    /// The message that the user would have seen, word for word where there is one.
    pub symptom: String,
    /// Why that is so.
    pub cause: String,
    /// Where it was seen.
    pub evidence: Vec<Evidence>,
    /// Who takes care.
    pub remedy: Remedy,
    /// What mends it, in this order. Empty for [`Remedy::Environment`] and [`Remedy::Manual`].
    pub edits: Vec<Edit>,
    /// A command to type, or what to do, if `edits` is not all.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub hint: Option<String>,
}

/// A change of one path of the tree, laid over it as a layer or written into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Absolute path in the tree. Its directory is reached without symlinks (`View::place` makes it so).
    pub path: String,
    /// What becomes of it.
    pub change: Change,
    /// Why, in one sentence without a full stop.
    pub why: String,
}

/// What becomes of a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "kind")]
pub enum Change {
    /// A regular file with this content. Mode, owner and extended attributes of a file that is there are kept; a new one gets
    /// `mode` and belongs to root. Missing directories on the way are made.
    Write {
        /// The whole content.
        text: String,
        /// Mode of a new file; replaces that of an existing one only if it says so.
        mode: Option<u32>,
    },
    /// A symlink with this text, instead of what is there.
    Link {
        /// Its text.
        to: String,
    },
    /// A directory, made with this mode if there is none.
    Directory {
        /// Permission bits.
        mode: u32,
    },
    /// Nothing: what is there goes (a directory with all that is in it).
    Remove,
    /// The same file with other permission bits (07777).
    Mode {
        /// Permission bits.
        mode: u32,
    },
    /// The same file with another owner.
    Owner {
        /// User ID.
        uid: u32,
        /// Group ID.
        gid: u32,
    },
}
