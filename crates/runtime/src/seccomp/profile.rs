//! Profiles: from a file's bytes to a profile, and from a profile to the rules that count on this host.

use super::abi::Abi;
use repot_model::{
    SeccompAction as Action, SeccompArg, SeccompCondition, SeccompOperator, SeccompProfile,
    SeccompRule,
};
use seccompiler::SeccompAction;

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// It is not JSON of that form; the text names line and column.
    #[error("no seccomp profile as the OCI runtime specification has it: {0}")]
    Format(#[from] serde_json::Error),
    /// A value makes no sense.
    #[error("syscalls[{rule}]: {why}")]
    Rule {
        /// Its place in the list, from 0.
        rule: usize,
        /// What is wrong with it.
        why: String,
    },
}

/// Reads a profile.
///
/// # Errors
/// What is wrong, and where.
pub fn parse_profile(bytes: &[u8]) -> Result<SeccompProfile, ProfileError> {
    let profile: SeccompProfile = serde_json::from_slice(bytes)?;
    for (number, rule) in profile.syscalls.iter().enumerate() {
        check(rule).map_err(|why| ProfileError::Rule { rule: number, why })?;
    }
    Ok(profile)
}

fn check(rule: &SeccompRule) -> Result<(), String> {
    if rule.names.is_empty() && rule.name.is_none() {
        return Err("it names no call".into());
    }
    for arg in rule.args.iter().flatten() {
        if arg.index > 5 {
            return Err(format!(
                "a call has arguments 0 to 5, there is no argument {}",
                arg.index
            ));
        }
    }
    for condition in [&rule.includes, &rule.excludes].into_iter().flatten() {
        if let Some(version) = &condition.min_kernel
            && kernel(version).is_none()
        {
            return Err(format!(
                "minKernel {version:?} is no version such as \"4.8\""
            ));
        }
    }
    Ok(())
}

fn kernel(version: &str) -> Option<(u32, u32)> {
    let (major, minor) = version.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// What rules depend on.
#[derive(Debug)]
pub(super) struct Host {
    /// What the kernel runs, the native kind first.
    pub(super) abis: &'static [Abi],
    /// Its version.
    pub(super) kernel: (u32, u32),
}

/// The rules that count.
#[derive(Debug)]
pub(super) struct Rules {
    /// The kinds of programs that may run, with these rules. Others are killed.
    pub(super) abis: Vec<&'static Abi>,
    /// What happens to calls that no rule is about.
    pub(super) default: SeccompAction,
    /// The others: whatever has the default's action is left out.
    pub(super) rules: Vec<Rule>,
}

/// What happens to some calls.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) names: Vec<String>,
    pub(super) action: SeccompAction,
    /// Any of these lists of conditions must hold in full; none: always.
    pub(super) conditions: Vec<Vec<SeccompArg>>,
}

impl Rules {
    /// What of `profile` counts on `host` for a machine with these capabilities.
    pub(super) fn of(profile: &SeccompProfile, host: &Host, capabilities: &[String]) -> Self {
        let default = action(profile.default_action, profile.default_errno_ret);
        let holds = |condition: &SeccompCondition| Conditions::of(condition, host, capabilities);
        let rules = profile
            .syscalls
            .iter()
            .filter(|rule| rule.includes.as_ref().is_none_or(|it| holds(it).all()))
            .filter(|rule| !rule.excludes.as_ref().is_some_and(|it| holds(it).any()))
            .map(|rule| Rule {
                names: rule.names.iter().chain(&rule.name).cloned().collect(),
                action: action(rule.action, rule.errno_ret),
                conditions: conditions(rule.args.as_deref().unwrap_or_default()),
            })
            .filter(|rule| rule.action != default)
            .collect();
        let mut listed: Vec<&str> = profile.architectures.iter().map(String::as_str).collect();
        for map in &profile.arch_map {
            if host
                .abis
                .first()
                .is_some_and(|it| it.name == map.architecture)
            {
                listed.extend(map.sub_architectures.iter().flatten().map(String::as_str));
            }
        }
        let abis = host
            .abis
            .iter()
            .enumerate()
            .filter(|(number, abi)| *number == 0 || listed.contains(&abi.name))
            .map(|(_, abi)| abi)
            .collect();
        Self {
            abis,
            default,
            rules,
        }
    }
}

/// Which parts of a Docker condition hold; what it does not speak of is `None`.
struct Conditions([Option<bool>; 3]);

impl Conditions {
    fn of(condition: &SeccompCondition, host: &Host, capabilities: &[String]) -> Self {
        let has = |name: &String| {
            let short = name.strip_prefix("CAP_").unwrap_or(name);
            capabilities.iter().any(|known| known == short)
        };
        let arches = &condition.arches;
        let is_native = |abi: &Abi| arches.iter().any(|arch| arch == abi.go_name);
        let of_kernel = condition.min_kernel.as_deref().and_then(kernel);
        Self([
            (!condition.caps.is_empty()).then(|| condition.caps.iter().all(has)),
            (!arches.is_empty()).then(|| host.abis.first().is_some_and(is_native)),
            of_kernel.map(|version| host.kernel >= version),
        ])
    }

    fn all(&self) -> bool {
        !self.0.contains(&Some(false))
    }

    fn any(&self) -> bool {
        self.0.contains(&Some(true))
    }
}

/// The alternatives that a rule's conditions mean. Several on one argument are alternatives, as in runc
/// (libcontainer/seccomp, `matchCall`).
fn conditions(args: &[SeccompArg]) -> Vec<Vec<SeccompArg>> {
    let is_repeated =
        |arg: &SeccompArg| args.iter().filter(|other| other.index == arg.index).count() > 1;
    if args.is_empty() {
        Vec::new()
    } else if args.iter().any(is_repeated) {
        args.iter().map(|arg| vec![arg.clone()]).collect()
    } else {
        vec![args.to_vec()]
    }
}

fn action(action: Action, errno: Option<u32>) -> SeccompAction {
    let errno = errno.unwrap_or(super::EPERM);
    match action {
        Action::Allow => SeccompAction::Allow,
        Action::Errno => SeccompAction::Errno(errno),
        Action::KillThread => SeccompAction::KillThread,
        Action::KillProcess => SeccompAction::KillProcess,
        Action::Trap => SeccompAction::Trap,
        Action::Trace => SeccompAction::Trace(errno),
        Action::Log => SeccompAction::Log,
    }
}

/// The comparison that the assembler knows.
pub(super) fn comparison(arg: &SeccompArg) -> (seccompiler::SeccompCmpOp, u64) {
    use seccompiler::SeccompCmpOp;
    match arg.op {
        SeccompOperator::NotEqual => (SeccompCmpOp::Ne, arg.value),
        SeccompOperator::Less => (SeccompCmpOp::Lt, arg.value),
        SeccompOperator::LessOrEqual => (SeccompCmpOp::Le, arg.value),
        SeccompOperator::Equal => (SeccompCmpOp::Eq, arg.value),
        SeccompOperator::GreaterOrEqual => (SeccompCmpOp::Ge, arg.value),
        SeccompOperator::Greater => (SeccompCmpOp::Gt, arg.value),
        SeccompOperator::MaskedEqual => (SeccompCmpOp::MaskedEq(arg.value), arg.value_two),
    }
}

#[cfg(test)]
mod tests {
    use super::super::abi;
    use super::*;

    fn host(arch: &str) -> Host {
        Host {
            abis: abi::of(arch).unwrap(),
            kernel: (6, 1),
        }
    }

    fn names(profile: &str, arch: &str, capabilities: &[&str]) -> Vec<String> {
        let profile = parse_profile(profile.as_bytes()).unwrap();
        let capabilities: Vec<String> = capabilities.iter().map(|it| (*it).to_owned()).collect();
        let rules = Rules::of(&profile, &host(arch), &capabilities);
        rules
            .rules
            .into_iter()
            .flat_map(|rule| rule.names)
            .collect()
    }

    #[test]
    fn dockers_conditions() {
        let profile = r#"{
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
            "syscalls": [
                {"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": null, "comment": "x"},
                {"name": "write", "action": "SCMP_ACT_ALLOW"},
                {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
                {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"], "arches": ["s390x"]}},
                {"names": ["arch_prctl"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["amd64", "x32"]}},
                {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
                {"names": ["future"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "7.0"}},
                {"names": ["bpf"], "action": "SCMP_ACT_ERRNO"}
            ]}"#;
        assert_eq!(
            names(profile, "x86_64", &["SYS_ADMIN"]),
            ["read", "write", "mount", "arch_prctl", "ptrace"]
        );
        assert_eq!(
            names(profile, "aarch64", &[]),
            ["read", "write", "clone", "ptrace"]
        );
    }

    #[test]
    fn architectures() {
        let of = |text: &str| {
            let profile = parse_profile(text.as_bytes()).unwrap();
            let rules = Rules::of(&profile, &host("x86_64"), &[]);
            rules.abis.iter().map(|abi| abi.name).collect::<Vec<_>>()
        };
        let both = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"];
        assert_eq!(of(r#"{"defaultAction": "SCMP_ACT_LOG"}"#), both[..1]);
        let listed = r#"{"defaultAction": "SCMP_ACT_LOG", "architectures": ["SCMP_ARCH_X86"]}"#;
        assert_eq!(of(listed), both);
        let mapped = r#"{"defaultAction": "SCMP_ACT_LOG", "archMap": [
            {"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]},
            {"architecture": "SCMP_ARCH_RISCV64", "subArchitectures": null}]}"#;
        assert_eq!(of(mapped), both);
    }

    #[test]
    fn mistakes_have_a_place() {
        for (text, expected) in [
            ("", "line 1 column 0"),
            ("{}", "defaultAction"),
            ("{\"defaultAction\":\n \"ALLOW\"}", "line 2"),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"action": "SCMP_ACT_LOG"}]}"#,
                "syscalls[0]: it names no call",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
                    "args": [{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}]}]}"#,
                "no argument 6",
            ),
            (
                r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": ["a"], "action": "SCMP_ACT_LOG",
                    "includes": {"minKernel": "new"}}]}"#,
                "minKernel \"new\"",
            ),
        ] {
            let error = parse_profile(text.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn conditions_on_one_argument_are_alternatives() {
        let arg = |index| SeccompArg {
            index,
            value: 1,
            value_two: 0,
            op: SeccompOperator::Equal,
        };
        assert_eq!(conditions(&[]).len(), 0);
        assert_eq!(conditions(&[arg(0), arg(1)]).len(), 1);
        assert_eq!(conditions(&[arg(0), arg(0)]).len(), 2);
    }
}
