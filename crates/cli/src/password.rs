//! Passwords and their hashes: made, hidden from every log, and handed on.

use crate::output;
use anyhow::{Context, anyhow, bail};
use rustix::termios::{self, LocalModes, OptionalActions};
use sha_crypt::{Algorithm, CustomizedPasswordHasher, Params, ShaCrypt};
use std::fmt;
use std::io::{BufRead, IsTerminal};

/// A password or its hash. It does not show itself.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Secret(String);

impl Secret {
    /// The text, for where it has to go.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(...)")
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

/// 80 random bits as a password that can be typed on every keyboard layout.
pub(crate) fn random() -> anyhow::Result<Secret> {
    let bytes: [u8; 10] = bytes()?;
    Ok(Secret(
        bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
    ))
}

/// A password from standard input: its first line; from a terminal asked for twice, without showing it.
pub(crate) fn ask() -> anyhow::Result<Secret> {
    let input = std::io::stdin();
    let first = if input.is_terminal() {
        let first = prompt("New password for root: ")?;
        if prompt("Once more: ")? != first {
            bail!("the two passwords are not the same");
        }
        first
    } else {
        line()?
    };
    if first.0.is_empty() {
        bail!("an empty password was given");
    }
    Ok(first)
}

fn line() -> anyhow::Result<Secret> {
    let mut line = String::new();
    std::io::stdin()
        .lock()
        .read_line(&mut line)
        .context("reading the password")?;
    line.truncate(line.trim_end_matches(['\n', '\r']).len());
    Ok(Secret(line))
}

fn prompt(text: &str) -> anyhow::Result<Secret> {
    let input = std::io::stdin();
    let before = termios::tcgetattr(&input).context("setting up the terminal")?;
    let mut quiet = before.clone();
    // Keys that would end us must not leave the terminal so.
    quiet
        .local_modes
        .remove(LocalModes::ECHO | LocalModes::ISIG);
    termios::tcsetattr(&input, OptionalActions::Flush, &quiet)
        .context("setting up the terminal")?;
    output::ask(text);
    let answer = line();
    termios::tcsetattr(&input, OptionalActions::Flush, &before)
        .context("setting up the terminal")?;
    output::note("");
    let answer = answer?;
    if answer.0.contains(['\x03', '\x1c']) {
        bail!("no password was given");
    }
    Ok(answer)
}

/// Its hash as crypt(5) has it: SHA-512, which every libc that is still in use knows (glibc since 2.7, musl, uClibc, busybox).
pub(crate) fn sha512_crypt(password: &str) -> anyhow::Result<Secret> {
    // Twelve bytes are sixteen characters, the most that crypt(5) takes.
    let salt: [u8; 12] = bytes()?;
    // The number that crypt(5) takes where none is written, so that none is: some implementations know no other.
    let params = Params::new(5000).map_err(|error| anyhow!("hashing: {error}"))?;
    let hash = ShaCrypt::SHA512
        .hash_password_customized(
            password.as_bytes(),
            &salt,
            Some(Algorithm::Sha512Crypt.as_ref()),
            None,
            params,
        )
        .map_err(|error| anyhow!("hashing: {error}"))?;
    Ok(Secret(hash.as_str().replace("$rounds=5000", "")))
}

fn bytes<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0u8; N];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context("reading random bytes")?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What libcrypt makes of the same, by perl's crypt(), which is that.
    #[test]
    fn libcrypt_agrees() {
        let hash = sha512_crypt("a password").unwrap();
        let parts: Vec<&str> = hash.expose().split('$').collect();
        assert_eq!((parts.len(), parts[1]), (4, "6"));
        let script = "print crypt($ARGV[0], $ARGV[1])";
        let output = std::process::Command::new("perl")
            .args(["-e", script, "a password", hash.expose()])
            .output()
            .unwrap();
        assert_eq!(String::from_utf8(output.stdout).unwrap(), hash.expose());
    }

    #[test]
    fn secrets_do_not_show() {
        let secret = random().unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(...)");
        assert_ne!(secret, random().unwrap());
    }
}
