//! From rules to programs for the kernel (classic BPF: linux/filter.h; what they see: seccomp(2)).
//!
//! seccompiler assembles programs with one action and one architecture. So each action has a program of its own, and each
//! architecture a section in it; of several programs the kernel obeys the strictest answer.

use super::profile::{Rule, Rules, comparison};
use super::{ENOSYS, abi::Abi};
use crate::error::{Error, Result};
use repot_model::SeccompArg;
use repot_sys::Instruction;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch,
};
use std::collections::BTreeMap;

const LOAD: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_SET: u16 = 0x45;
const RETURN: u16 = 0x06;
/// Offsets in `struct seccomp_data`.
const NUMBER_AT: u32 = 0;
const ARCH_AT: u32 = 4;
/// `BPF_MAXINSNS`.
const MAX_LENGTH: usize = 4096;

fn op(code: u16, jt: u8, jf: u8, k: u32) -> Instruction {
    Instruction { code, jt, jf, k }
}

fn answer(action: SeccompAction) -> Instruction {
    op(RETURN, 0, 0, action.into())
}

fn invalid(why: impl ToString) -> Error {
    Error::Invalid {
        what: "system-call filter".into(),
        why: why.to_string(),
    }
}

/// The programs, to be installed in this order.
///
/// # Errors
/// A program would be longer than the kernel takes.
pub(super) fn programs(rules: &Rules) -> Result<Vec<Vec<Instruction>>> {
    let mut programs = vec![only(&rules.abis)];
    let mut add = |rules_of: Vec<&Rule>, on_match: SeccompAction, otherwise: SeccompAction| {
        let sections = rules
            .abis
            .iter()
            .map(|abi| section(abi, &rules_of, &on_match, &otherwise))
            .collect::<Result<Vec<_>>>()?;
        programs.extend(packed(sections));
        Ok::<_, Error>(())
    };
    if rules.default != SeccompAction::Allow {
        // What any rule is about gets past the default; the rule's own program then has its say.
        add(
            rules.rules.iter().collect(),
            SeccompAction::Allow,
            rules.default.clone(),
        )?;
    }
    let mut done = vec![SeccompAction::Allow];
    for rule in &rules.rules {
        if done.contains(&rule.action) {
            continue;
        }
        let same = rules.rules.iter().filter(|it| it.action == rule.action);
        add(same.collect(), rule.action.clone(), SeccompAction::Allow)?;
        done.push(rule.action.clone());
    }
    Ok(programs)
}

/// Kills programs of other architectures, to which no list applies. Calls under another ABI's numbers do not exist.
fn only(abis: &[&Abi]) -> Vec<Instruction> {
    let mut program = vec![op(LOAD, 0, 0, ARCH_AT)];
    for abi in abis {
        match abi.foreign_bit {
            None => program.extend([
                op(JUMP_IF_EQUAL, 0, 1, abi.audit),
                answer(SeccompAction::Allow),
            ]),
            Some(bit) => program.extend([
                op(JUMP_IF_EQUAL, 0, 4, abi.audit),
                op(LOAD, 0, 0, NUMBER_AT),
                op(JUMP_IF_SET, 0, 1, bit),
                answer(SeccompAction::Errno(ENOSYS)),
                answer(SeccompAction::Allow),
            ]),
        }
    }
    program.push(answer(SeccompAction::KillProcess));
    program
}

/// What applies to one architecture: answers its calls and leaves those of others to what follows.
fn section(
    abi: &Abi,
    rules: &[&Rule],
    on_match: &SeccompAction,
    otherwise: &SeccompAction,
) -> Result<Vec<Instruction>> {
    let mut calls: BTreeMap<i64, Vec<SeccompRule>> = BTreeMap::new();
    // Without conditions it always matches, whatever other rules say; the assembler takes an empty list for that.
    let mut always: Vec<i64> = Vec::new();
    for rule in rules {
        for name in &rule.names {
            if let Some(number) = abi.number(name) {
                let alternatives = calls.entry(number).or_default();
                if rule.conditions.is_empty() {
                    always.push(number);
                }
                for args in &rule.conditions {
                    alternatives.push(conditions(args)?);
                }
            }
            // Its arguments are behind a pointer, which no filter sees.
            if let Some((number, first)) = abi.multiplexed(name)
                && rule.conditions.is_empty()
            {
                calls.entry(number).or_default().push(equal(first)?);
            }
        }
    }
    for number in always {
        calls.insert(number, Vec::new());
    }
    // The architecture is only for the header, which is replaced.
    let filter = SeccompFilter::new(
        calls,
        otherwise.clone(),
        on_match.clone(),
        TargetArch::x86_64,
    );
    let program: BpfProgram = filter.and_then(TryInto::try_into).map_err(invalid)?;
    let mut program: Vec<Instruction> = program
        .iter()
        .map(|it| op(it.code, it.jt, it.jf, it.k))
        .collect();
    let length = u32::try_from(program.len()).map_err(invalid)?;
    match program.as_mut_slice() {
        // "Load the architecture; go on if it is this one; else kill."
        [load, compare, kill, ..]
            if load.code == LOAD && compare.code == JUMP_IF_EQUAL && kill.code == RETURN =>
        {
            compare.k = abi.audit;
            *kill = op(JUMP, 0, 0, length - 3);
        }
        _ => return Err(invalid("the assembler's programs have another beginning")),
    }
    Ok(program)
}

fn conditions(args: &[SeccompArg]) -> Result<SeccompRule> {
    let conditions = args
        .iter()
        .map(|arg| {
            let (operator, value) = comparison(arg);
            SeccompCondition::new(arg.index, SeccompCmpArgLen::Qword, operator, value)
        })
        .collect::<std::result::Result<_, _>>()
        .map_err(invalid)?;
    SeccompRule::new(conditions).map_err(invalid)
}

fn equal(first: u64) -> Result<SeccompRule> {
    SeccompCondition::new(0, SeccompCmpArgLen::Qword, SeccompCmpOp::Eq, first)
        .and_then(|condition| SeccompRule::new(vec![condition]))
        .map_err(invalid)
}

/// As few programs as the kernel's limit of their length allows.
fn packed(sections: Vec<Vec<Instruction>>) -> Vec<Vec<Instruction>> {
    let mut programs: Vec<Vec<Instruction>> = Vec::new();
    for section in sections {
        match programs.last_mut() {
            Some(program) if program.len() + section.len() < MAX_LENGTH => program.extend(section),
            _ => programs.push(section),
        }
    }
    for program in &mut programs {
        program.push(answer(SeccompAction::Allow));
    }
    programs
}

#[cfg(test)]
mod tests {
    use super::super::{abi, default_profile, profile};
    use super::*;
    use repot_model::SeccompProfile;

    /// What the kernel would do with a call: the strictest answer of all programs, and of equal ones the last.
    fn verdict(programs: &[Vec<Instruction>], arch: u32, number: u32, args: [u64; 6]) -> u32 {
        let mut data = Vec::new();
        data.extend(number.to_le_bytes());
        data.extend(arch.to_le_bytes());
        data.extend(0u64.to_le_bytes());
        args.iter().for_each(|arg| data.extend(arg.to_le_bytes()));
        let answers = programs.iter().map(|program| run(program, &data));
        // SECCOMP_RET_KILL_PROCESS is the smallest as a signed number.
        let strictest = |answer: &u32| (answer & 0xffff_0000).cast_signed();
        answers.rev().min_by_key(strictest).unwrap()
    }

    fn run(program: &[Instruction], data: &[u8]) -> u32 {
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let it = program[at];
            at += 1;
            let jump = |holds| usize::from(if holds { it.jt } else { it.jf });
            let offset = it.k as usize;
            match it.code {
                LOAD => {
                    let bytes = data[offset..offset + 4].try_into().unwrap();
                    accumulator = u32::from_le_bytes(bytes);
                }
                JUMP => at += offset,
                JUMP_IF_EQUAL => at += jump(accumulator == it.k),
                0x25 => at += jump(accumulator > it.k),
                0x35 => at += jump(accumulator >= it.k),
                JUMP_IF_SET => at += jump(accumulator & it.k != 0),
                0x54 => accumulator &= it.k,
                RETURN => return it.k,
                other => panic!("instruction {other:#x}"),
            }
        }
    }

    const ALLOW: u32 = 0x7fff_0000;
    const ERRNO: u32 = 0x0005_0000;
    const KILL: u32 = 0x8000_0000;

    fn of(profile: &SeccompProfile, arch: &str) -> Vec<Vec<Instruction>> {
        let host = profile::Host {
            abis: abi::of(arch).unwrap(),
            kernel: (6, 1),
        };
        programs(&Rules::of(profile, &host, &[])).unwrap()
    }

    #[test]
    fn the_default_on_every_architecture() {
        for arch in ["x86_64", "aarch64", "riscv64"] {
            let abis = abi::of(arch).unwrap();
            let programs = of(&default_profile(abis), arch);
            assert_eq!(programs.len(), 3, "{arch}");
            for abi in abis {
                let verdict = |name: &str| {
                    let number = u32::try_from(abi.number(name).unwrap()).unwrap();
                    verdict(&programs, abi.audit, number, [0; 6])
                };
                assert_eq!(verdict("mount"), ALLOW, "{}", abi.name);
                assert_eq!(verdict("bpf"), ERRNO | 1, "{}", abi.name);
                assert_eq!(verdict("keyctl"), ERRNO | ENOSYS, "{}", abi.name);
                assert_eq!(verdict("io_uring_setup"), ERRNO | ENOSYS, "{}", abi.name);
            }
            assert_eq!(verdict(&programs, 1234, 0, [0; 6]), KILL, "{arch}");
        }
        let x86_64 = &abi::of("x86_64").unwrap()[0];
        let programs = of(&default_profile(abi::of("x86_64").unwrap()), "x86_64");
        let x32 = verdict(&programs, x86_64.audit, 0x4000_0000, [0; 6]);
        assert_eq!(x32, ERRNO | ENOSYS);
    }

    #[test]
    fn an_allow_list_with_conditions() {
        let text = r#"{"defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [
              {"names": ["read", "nonsense"], "action": "SCMP_ACT_ALLOW"},
              {"names": ["personality"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 8, "op": "SCMP_CMP_EQ"}, {"index": 0, "value": 4294967295, "op": "SCMP_CMP_EQ"}]},
              {"names": ["clone"], "action": "SCMP_ACT_ALLOW",
               "args": [{"index": 0, "value": 2114060288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"}]},
              {"names": ["socket"], "action": "SCMP_ACT_ALLOW"},
              {"names": ["ptrace"], "action": "SCMP_ACT_KILL_PROCESS"},
              {"names": ["swapon"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}]}"#;
        let profile = profile::parse_profile(text.as_bytes()).unwrap();
        let programs = of(&profile, "x86_64");
        for abi in abi::of("x86_64").unwrap() {
            let verdict = |name: &str, first: u64| {
                let number = u32::try_from(abi.number(name).unwrap()).unwrap();
                verdict(&programs, abi.audit, number, [first, 0, 0, 0, 0, 0])
            };
            assert_eq!(verdict("read", 9), ALLOW);
            assert_eq!(verdict("write", 9), ERRNO | 38);
            assert_eq!(verdict("personality", 8), ALLOW);
            assert_eq!(verdict("personality", 0xffff_ffff), ALLOW);
            assert_eq!(verdict("personality", 9), ERRNO | 38);
            assert_eq!(verdict("clone", 17), ALLOW);
            assert_eq!(verdict("clone", 0x1000_0000), ERRNO | 38);
            assert_eq!(verdict("ptrace", 0), KILL);
            assert_eq!(verdict("swapon", 0), ERRNO | 1);
        }
        let x86 = &abi::of("x86_64").unwrap()[1];
        assert_eq!(
            verdict(&programs, x86.audit, 102, [1, 0, 0, 0, 0, 0]),
            ALLOW
        );
        let bind = verdict(&programs, x86.audit, 102, [2, 0, 0, 0, 0, 0]);
        assert_eq!(bind, ERRNO | 38);
    }

    #[test]
    fn long_profiles_are_spread_over_programs() {
        let names: Vec<String> = syscalls::x86::Sysno::iter()
            .map(|call| call.name().to_owned())
            .collect();
        let text = serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": names, "action": "SCMP_ACT_ALLOW"}],
        });
        let profile = profile::parse_profile(text.to_string().as_bytes()).unwrap();
        for program in of(&profile, "x86_64") {
            assert!(program.len() <= MAX_LENGTH);
        }
    }
}
