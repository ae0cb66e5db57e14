//! Passwords and their hashes: made, hidden from every log, and handed on.

use anyhow::{Context, anyhow};
use sha_crypt::{Algorithm, CustomizedPasswordHasher, Params, ShaCrypt};
use std::fmt;

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
