//! The options that say what a machine may do to its host, and how they become part of its record.

use anyhow::{Context, bail};
use clap::Args;
use repot_model::{Device, HintExt, IdMap, MachineRecord, Policy, Seccomp};
use repot_runtime::policy::{self, capability_names};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// What the machine may do to its host
#[derive(Debug, Args)]
pub(crate) struct PolicyArgs {
    /// Give it more capabilities, as capabilities(7) names them, or all
    #[arg(long, value_name = "CAP[,CAP...]")]
    pub(crate) capability: Vec<String>,
    /// Take capabilities from it, or all; those of --capability stay
    #[arg(long, value_name = "CAP[,CAP...]")]
    pub(crate) drop_capability: Vec<String>,
    /// Filter its system calls by a profile as Docker and the OCI have it; default for repot's own filter, unconfined for none
    #[arg(long, value_name = "FILE")]
    pub(crate) seccomp: Option<String>,
    /// Let it use a device of the host; r instead of rwm: only read it
    #[arg(long, value_name = "HOST[:MACHINE][:rwm]")]
    pub(crate) device: Vec<String>,
    /// Take all protection away but the user namespace
    #[arg(long)]
    pub(crate) privileged: bool,
}

impl PolicyArgs {
    /// What these options ask for; `None` if none of them was given.
    fn given(&self) -> anyhow::Result<Option<Policy>> {
        let is_given = self.privileged
            || self.seccomp.is_some()
            || [&self.capability, &self.drop_capability, &self.device]
                .iter()
                .any(|values| !values.is_empty());
        if !is_given {
            return Ok(None);
        }
        let names = |texts: &[String], option| -> anyhow::Result<Vec<String>> {
            let lists = texts
                .iter()
                .map(|text| capability_names(text).with_context(|| format!("{option} {text}")));
            Ok(lists.collect::<anyhow::Result<Vec<_>>>()?.concat())
        };
        Ok(Some(Policy {
            privileged: self.privileged,
            capabilities: names(&self.capability, "--capability")?,
            dropped_capabilities: names(&self.drop_capability, "--drop-capability")?,
            seccomp: self.seccomp.as_deref().map(seccomp).transpose()?,
            devices: self
                .device
                .iter()
                .map(|text| device(text))
                .collect::<anyhow::Result<_>>()?,
        }))
    }

    /// Puts what was asked for into a machine's record, in place of all that was asked for before. Whether that is a change.
    pub(crate) fn apply(&self, record: &mut MachineRecord) -> anyhow::Result<bool> {
        let Some(policy) = self.given()? else {
            return Ok(false);
        };
        let is_change = record.policy != policy;
        record.policy = policy;
        Ok(is_change)
    }
}

/// Refuses what the machine cannot be given.
pub(crate) fn check(policy: &Policy, idmap: &IdMap) -> anyhow::Result<()> {
    Ok(policy::check(policy, idmap)?)
}

fn seccomp(text: &str) -> anyhow::Result<Seccomp> {
    match text {
        "default" => Ok(Seccomp::Default),
        "unconfined" => Ok(Seccomp::Unconfined),
        path => {
            let bytes = std::fs::read(path).with_context(|| format!("--seccomp {path}"))?;
            let profile = repot_runtime::parse_profile(&bytes)
                .with_context(|| format!("--seccomp {path}"))?;
            repot_runtime::check_profile(&profile).with_context(|| format!("--seccomp {path}"))?;
            Ok(Seccomp::Profile(Box::new(profile)))
        }
    }
}

/// `HOST[:MACHINE][:rwm]`, as docker has it.
fn device(text: &str) -> anyhow::Result<Device> {
    let mut parts: Vec<&str> = text.split(':').collect();
    let access = match parts.last() {
        Some(last) if parts.len() > 1 && !last.starts_with('/') => parts.pop().unwrap_or_default(),
        _ => "rwm",
    };
    // Without a right to make nodes of devices, "m" means nothing here; that is not refused, since docker's users write it.
    if !access.starts_with('r') || !access.chars().all(|letter| "rwm".contains(letter)) {
        bail!("--device {text}: the access {access:?} is neither r nor rw nor rwm");
    }
    let (host, guest) = match parts.as_slice() {
        [host] => (*host, *host),
        [host, guest] => (*host, *guest),
        _ => bail!("--device {text}: it must be HOST[:MACHINE][:rwm]"),
    };
    if ![host, guest].iter().all(|path| path.starts_with('/')) {
        bail!("--device {text}: write absolute paths");
    }
    let file_type = std::fs::metadata(host)
        .with_context(|| format!("--device {text}"))?
        .file_type();
    if !file_type.is_char_device() && !file_type.is_block_device() {
        return Err(anyhow::anyhow!("--device {text}: {host} is no device"))
            .hint("name each device; --bind shows files and directories of the host")
            .map_err(Into::into);
    }
    Ok(Device {
        host_path: Path::new(host).into(),
        guest_path: guest.to_owned(),
        writable: access.contains('w'),
    })
}

/// What the user of a privileged machine is told.
pub(crate) fn warning(record: &MachineRecord, idmap: &IdMap) -> Option<String> {
    record.policy.privileged.then(|| {
        format!(
            "repot: {} is privileged, which gives away {}",
            record.name,
            policy::gives_away(idmap)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_written_as_for_docker() {
        for (text, guest, writable) in [
            ("/dev/null", "/dev/null", true),
            ("/dev/null:rwm", "/dev/null", true),
            ("/dev/null:r", "/dev/null", false),
            ("/dev/null:/dev/x", "/dev/x", true),
            ("/dev/null:/dev/x:rm", "/dev/x", false),
        ] {
            let device = device(text).unwrap();
            assert_eq!(device.host_path, Path::new("/dev/null"));
            assert_eq!(
                (device.guest_path.as_str(), device.writable),
                (guest, writable)
            );
        }
        for wrong in [
            "",
            "null",
            "/dev/null:x",
            "/dev/null:w",
            "/dev/null:/x:/y:rw",
            "/dev/null:/x:r:w",
            "/dev/no-such-device",
            "/dev",
        ] {
            assert!(device(wrong).is_err(), "{wrong:?}");
        }
    }
}
