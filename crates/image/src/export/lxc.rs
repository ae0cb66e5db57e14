//! What LXC's `local` and `download` templates take: `meta.tar.xz` and `rootfs.tar.xz`.
//!
//! # Source
//! lxc `templates/lxc-local.in`: it unpacks both with `tar -J`, copies `config` (`config-user` without root) into the
//! container's, and replaces `LXC_TEMPLATE_CONFIG` in it. lxc.container.conf(5).

use super::bundle;
use super::{Compression, Export, ImageMeta, layer};
use crate::error::Result;
use crate::pack::{Holes, PackReport, write_error};
use repot_model::{Arch, shell_word};
use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

pub(super) fn write(what: &Export<'_>, into: &Path) -> Result<PackReport> {
    let meta = what.meta;
    let system = config(meta);
    let user = format!("lxc.include = LXC_TEMPLATE_CONFIG/userns.conf\n{system}");
    let message = format!("{}: {}\n", meta.name, meta.argv.join(" "));
    let files = [
        ("config", system.into_bytes()),
        ("config-user", user.into_bytes()),
        ("create-message", message.into_bytes()),
        ("templates", Vec::new()),
    ];
    let archive = bundle::small(&files, Compression::Xz, meta.created)?;
    std::fs::write(into.join("meta.tar.xz"), archive).map_err(write_error)?;
    let rootfs = File::create_new(into.join("rootfs.tar.xz")).map_err(write_error)?;
    let mut out = BufWriter::with_capacity(256 << 10, rootfs);
    Ok(layer::write(what, Compression::Xz, Holes::Kept, &mut out)?.report)
}

fn config(meta: &ImageMeta) -> String {
    let mut config = String::from("lxc.include = LXC_TEMPLATE_CONFIG/common.conf\n");
    // An empty directory makes the terminals /dev/tty1 and so on, which securetty(5) lists; not /dev/lxc/tty1.
    config.push_str("lxc.tty.dir =\n");
    if let Some(arch) = architecture(meta.arch) {
        config.push_str(&format!("lxc.arch = {arch}\n"));
    }
    let words: Vec<String> = meta.argv.iter().map(|word| shell_word(word)).collect();
    config.push_str(&format!("lxc.init.cmd = {}\n", words.join(" ")));
    if let Some(signal) = meta.stop_signal {
        config.push_str(&format!("lxc.signal.halt = {signal}\n"));
    }
    for (name, value) in &meta.env {
        config.push_str(&format!("lxc.environment = {name}={value}\n"));
    }
    config
}

/// Names that every LXC knows (lxc `confile.c`, `lxc_config_parse_arch`).
fn architecture(arch: Arch) -> Option<&'static str> {
    match arch {
        Arch::X86_64 => Some("x86_64"),
        Arch::X86 => Some("i686"),
        Arch::Aarch64 => Some("aarch64"),
        Arch::Arm => Some("armv7l"),
        Arch::Ppc64 => Some("ppc64"),
        Arch::Ppc64le => Some("ppc64le"),
        Arch::Ppc => Some("ppc"),
        Arch::S390x => Some("s390x"),
        Arch::Mips => Some("mips"),
        Arch::Riscv64
        | Arch::Mipsel
        | Arch::Mips64el
        | Arch::Loongarch64
        | Arch::Sparc64
        | Arch::M68k
        | Arch::Alpha
        | Arch::Hppa
        | Arch::Ia64
        | Arch::Sh4
        | Arch::Other(_) => None,
    }
}
