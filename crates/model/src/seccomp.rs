//! A system-call filter as data, in the format of the OCI runtime specification with the additions of Docker's profiles.

use serde::{Deserialize, Serialize};

/// Which system-call filter a machine gets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Seccomp {
    /// repot's own deny list.
    #[default]
    Default,
    /// None.
    Unconfined,
    /// One that the user named.
    Profile(Box<SeccompProfile>),
}

/// A filter profile. Fields that are not listed, such as `comment`, are ignored, as the specification asks.
///
/// # Source
/// OCI runtime specification, config-linux.md, "Seccomp"; moby, profiles/seccomp/seccomp.go, for `archMap`, `includes`
/// and `excludes`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompProfile {
    /// What happens to calls that no rule is about.
    pub default_action: SeccompAction,
    /// The error number that goes with it; 1, EPERM, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_errno_ret: Option<u32>,
    /// Architectures besides the native one whose programs may run, as `SCMP_ARCH_X86`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub architectures: Vec<String>,
    /// Docker: the same, by native architecture.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arch_map: Vec<SeccompArchitectures>,
    /// The rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub syscalls: Vec<SeccompRule>,
}

/// What else runs on an architecture.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArchitectures {
    /// The native architecture.
    pub architecture: String,
    /// Those that it runs as well.
    #[serde(default)]
    pub sub_architectures: Option<Vec<String>>,
}

/// What happens to some calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompRule {
    /// Names of calls. Those that the kernel's table for an architecture does not have are skipped.
    #[serde(default)]
    pub names: Vec<String>,
    /// Docker before 1.13: a single name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What happens.
    pub action: SeccompAction,
    /// The error number of [`SeccompAction::Errno`] and the value of [`SeccompAction::Trace`]; 1, EPERM, if there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno_ret: Option<u32>,
    /// Conditions on arguments, which must all hold.
    #[serde(default)]
    pub args: Option<Vec<SeccompArg>>,
    /// Docker: the rule counts only where all of this is so.
    #[serde(default)]
    pub includes: Option<SeccompCondition>,
    /// Docker: the rule does not count where any of this is so.
    #[serde(default)]
    pub excludes: Option<SeccompCondition>,
}

/// A condition on an argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompArg {
    /// Number of the argument, 0 to 5.
    pub index: u8,
    /// What it is compared with; the mask of [`SeccompOperator::MaskedEqual`].
    pub value: u64,
    /// What the masked argument is compared with.
    #[serde(default)]
    pub value_two: u64,
    /// How.
    pub op: SeccompOperator,
}

/// A condition on the machine or its host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SeccompCondition {
    /// Capabilities that the machine has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub caps: Vec<String>,
    /// Architectures, one of which is native, in Go's names: `amd64`, `arm64`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arches: Vec<String>,
    /// The oldest kernel, `MAJOR.MINOR`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_kernel: Option<String>,
}

/// What the kernel does with a call (seccomp(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "their names in the profile say it")]
pub enum SeccompAction {
    #[serde(rename = "SCMP_ACT_ALLOW")]
    Allow,
    #[serde(rename = "SCMP_ACT_ERRNO")]
    Errno,
    #[serde(rename = "SCMP_ACT_KILL", alias = "SCMP_ACT_KILL_THREAD")]
    KillThread,
    #[serde(rename = "SCMP_ACT_KILL_PROCESS")]
    KillProcess,
    #[serde(rename = "SCMP_ACT_TRAP")]
    Trap,
    #[serde(rename = "SCMP_ACT_TRACE")]
    Trace,
    #[serde(rename = "SCMP_ACT_LOG")]
    Log,
}

/// How an argument is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "their names in the profile say it")]
pub enum SeccompOperator {
    #[serde(rename = "SCMP_CMP_NE")]
    NotEqual,
    #[serde(rename = "SCMP_CMP_LT")]
    Less,
    #[serde(rename = "SCMP_CMP_LE")]
    LessOrEqual,
    #[serde(rename = "SCMP_CMP_EQ")]
    Equal,
    #[serde(rename = "SCMP_CMP_GE")]
    GreaterOrEqual,
    #[serde(rename = "SCMP_CMP_GT")]
    Greater,
    #[serde(rename = "SCMP_CMP_MASKED_EQ")]
    MaskedEqual,
}
