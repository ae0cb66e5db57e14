//! Signals by name, including the real-time signals that systemd and others give a meaning to.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A signal number of Linux on this architecture. Written and read as `SIGTERM`, `SIGRTMIN+4`, ...
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Signal(u8);

/// The text names no signal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a signal: write a name like SIGTERM, TERM or RTMIN+4, or a number from 1 to 64"
)]
pub struct SignalError(String);

/// glibc's SIGRTMIN: the kernel's 32 plus two that glibc keeps for itself (signal(7)). musl keeps three.
/// Inits are addressed with glibc's numbering, which all of them document.
const RTMIN: u8 = 34;
const RTMAX: u8 = 64;

/// Names for the numbers shared by x86, arm, riscv, ppc, s390x and loongarch (signal(7)).
const NAMES: &[(u8, &str)] = &[
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (5, "TRAP"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (10, "USR1"),
    (11, "SEGV"),
    (12, "USR2"),
    (13, "PIPE"),
    (14, "ALRM"),
    (15, "TERM"),
    (16, "STKFLT"),
    (17, "CHLD"),
    (18, "CONT"),
    (19, "STOP"),
    (20, "TSTP"),
    (21, "TTIN"),
    (22, "TTOU"),
    (23, "URG"),
    (24, "XCPU"),
    (25, "XFSZ"),
    (26, "VTALRM"),
    (27, "PROF"),
    (28, "WINCH"),
    (29, "IO"),
    (30, "PWR"),
    (31, "SYS"),
];

#[allow(missing_docs, reason = "the constants are the signals' names")]
impl Signal {
    pub const HUP: Self = Self(1);
    pub const INT: Self = Self(2);
    pub const QUIT: Self = Self(3);
    pub const KILL: Self = Self(9);
    pub const USR1: Self = Self(10);
    pub const USR2: Self = Self(12);
    pub const TERM: Self = Self(15);
    pub const CONT: Self = Self(18);
    pub const PWR: Self = Self(30);

    /// Whether it is one of the real-time signals (signal(7)).
    pub const fn is_real_time(self) -> bool {
        self.0 >= RTMIN
    }

    /// `SIGRTMIN+n` in glibc's numbering.
    pub const fn rtmin(n: u8) -> Self {
        Self(RTMIN + n)
    }

    /// The number to give to kill(2).
    pub const fn number(self) -> u8 {
        self.0
    }

    /// A signal by number.
    ///
    /// # Errors
    /// [`SignalError`] for 0 and numbers above 64.
    pub fn from_number(number: u8) -> Result<Self, SignalError> {
        if (1..=RTMAX).contains(&number) {
            Ok(Self(number))
        } else {
            Err(SignalError(number.to_string()))
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMES.iter().find(|(number, _)| *number == self.0) {
            Some((_, name)) => write!(f, "SIG{name}"),
            None if self.0 >= RTMIN => write!(f, "SIGRTMIN+{}", self.0 - RTMIN),
            None => write!(f, "{}", self.0),
        }
    }
}

impl std::str::FromStr for Signal {
    type Err = SignalError;
    fn from_str(text: &str) -> Result<Self, SignalError> {
        let bad = || SignalError(text.to_owned());
        if let Ok(number) = text.parse::<u8>() {
            return Self::from_number(number).map_err(|_| bad());
        }
        let upper = text.to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        if let Some((number, _)) = NAMES.iter().find(|(_, known)| *known == name) {
            return Ok(Self(*number));
        }
        let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
            (Some(""), _) => Some(RTMIN),
            (_, Some("")) => Some(RTMAX),
            (Some(offset), _) => offset
                .strip_prefix('+')
                .and_then(|n| n.parse().ok())
                .and_then(|n: u8| RTMIN.checked_add(n)),
            (_, Some(offset)) => offset
                .strip_prefix('-')
                .and_then(|n| n.parse().ok())
                .and_then(|n: u8| RTMAX.checked_sub(n)),
            _ => None,
        };
        number
            .filter(|n| (RTMIN..=RTMAX).contains(n))
            .map(Self)
            .ok_or_else(bad)
    }
}

impl TryFrom<String> for Signal {
    type Error = SignalError;
    fn try_from(text: String) -> Result<Self, SignalError> {
        text.parse()
    }
}

impl From<Signal> for String {
    fn from(signal: Signal) -> Self {
        signal.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_agree() {
        for (text, number) in [
            ("TERM", 15),
            ("SIGPWR", 30),
            ("rtmin+4", 38),
            ("SIGRTMIN", 34),
            ("RTMAX-1", 63),
            ("9", 9),
        ] {
            let signal: Signal = text.parse().unwrap();
            assert_eq!(signal.number(), number, "{text}");
            assert_eq!(signal.to_string().parse::<Signal>().unwrap(), signal);
        }
        for text in ["", "SIGFOO", "0", "65", "RTMIN+40", "RTMAX-40"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }
}
