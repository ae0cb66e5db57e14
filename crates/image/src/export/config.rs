//! The image configuration, which Docker and OCI have in common.
//!
//! # Source
//! OCI image specification 1.0, config.md; Docker image specification 1.2.

use super::ImageMeta;
use super::outer::Digest;
use repot_model::Arch;
use serde_json::{Value, json};

/// The configuration as a file.
pub(super) fn config(meta: &ImageMeta, diff_id: &Digest) -> Vec<u8> {
    let (architecture, variant) = go_architecture(meta.arch);
    let created = rfc3339(meta.created);
    let env = meta
        .env
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    let mut config = json!({
        "Cmd": meta.argv,
        "Env": env.collect::<Vec<_>>(),
        "WorkingDir": "/",
    });
    if let Some(signal) = meta.stop_signal {
        config["StopSignal"] = json!(signal.to_string());
    }
    if !meta.labels.is_empty() {
        config["Labels"] = json!(meta.labels);
    }
    let mut document = json!({
        "architecture": architecture,
        "os": "linux",
        "created": created,
        "config": config,
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{diff_id}")] },
        "history": [{ "created": created, "created_by": "repot" }],
    });
    if let Some(variant) = variant {
        document["variant"] = json!(variant);
    }
    bytes(&document)
}

/// A document as it is stored. serde_json sorts keys, so the same document gives the same bytes.
pub(super) fn bytes(document: &Value) -> Vec<u8> {
    document.to_string().into_bytes()
}

/// Name and variant of an architecture in Go, which the specification takes over (config.md, `architecture`).
pub(crate) fn go_architecture(arch: Arch) -> (String, Option<&'static str>) {
    let name = match arch {
        Arch::X86_64 => "amd64",
        Arch::X86 => "386",
        Arch::Aarch64 => return ("arm64".into(), Some("v8")),
        // The ELF header does not tell v5 to v7 apart; v6 programs run on both that matter.
        Arch::Arm => return ("arm".into(), Some("v6")),
        Arch::Riscv64 => "riscv64",
        Arch::Ppc64le => "ppc64le",
        Arch::Ppc64 => "ppc64",
        Arch::Ppc => "ppc",
        Arch::S390x => "s390x",
        Arch::Mips => "mips",
        Arch::Mipsel => "mipsle",
        Arch::Mips64el => "mips64le",
        Arch::Loongarch64 => "loong64",
        Arch::Sparc64 => "sparc64",
        Arch::M68k => "m68k",
        Arch::Alpha => "alpha",
        Arch::Hppa => "hppa",
        Arch::Ia64 => "ia64",
        Arch::Sh4 => "sh4",
        Arch::Other(machine) => return (format!("elf{machine}"), None),
    };
    (name.to_owned(), None)
}

/// `2026-11-27T12:00:00Z`.
pub(super) fn rfc3339(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    // Days to a date: H. Hinnant, "chrono-Compatible Low-Level Date Algorithms", civil_from_days; years begin in March there.
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_right() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (951_868_800, "2000-03-01T00:00:00Z"),
            (1_795_781_527, "2026-11-27T12:12:07Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(rfc3339(seconds), text);
        }
    }
}
