//! Steps that fill `/dev`: bound device nodes (a user namespace may not make its own), links, devpts, terminals.

use super::plan::{Inputs, cstring, path_cstring};
use super::{Held, Mount, Step};
use crate::error::Result;
use repot_model::BootSpec;
use rustix::mount::MountFlags;
use std::ffi::CStr;

/// The nodes that every Linux program may count on, and no others (systemd's Container Interface, "Execution
/// Environment", point 1).
const NODES: &[&CStr] = &[c"null", c"zero", c"full", c"random", c"urandom", c"tty"];

/// Links that the same document asks for.
const LINKS: &[(&CStr, &CStr)] = &[
    (c"/proc/self/fd", c"dev/fd"),
    (c"/proc/self/fd/0", c"dev/stdin"),
    (c"/proc/self/fd/1", c"dev/stdout"),
    (c"/proc/self/fd/2", c"dev/stderr"),
    (c"pts/ptmx", c"dev/ptmx"),
];

/// What of the host was opened, and under which number.
#[derive(Debug)]
pub(super) struct HeldPaths {
    /// The socket for `READY=1`.
    pub(super) notify: Option<Held>,
}

/// Adds the steps that open what the staging directory would cover.
pub(super) fn hold(inputs: &Inputs, steps: &mut Vec<Step>) -> Result<HeldPaths> {
    let Some(path) = &inputs.notify_socket else {
        return Ok(HeldPaths { notify: None });
    };
    let held = Held(0);
    steps.push(Step::Hold {
        held,
        path: path_cstring(path)?,
    });
    Ok(HeldPaths { notify: Some(held) })
}

/// Adds the steps that fill `/dev`.
pub(super) fn steps(spec: &BootSpec, steps: &mut Vec<Step>) -> Result<()> {
    let mount = |fs_type: &CStr, at: &CStr, flags, options: &CStr, optional| {
        Step::Mount(Mount {
            fs_type: fs_type.into(),
            at: at.into(),
            flags,
            options: options.into(),
            optional,
        })
    };
    let dir = |path: &CStr, mode| Step::Dir {
        path: path.into(),
        mode,
    };
    let plain = MountFlags::NOSUID | MountFlags::NOEXEC;
    steps.push(dir(c"dev", 0o755));
    steps.push(mount(
        c"tmpfs",
        c"dev",
        plain,
        c"mode=755,size=4m,nr_inodes=64k",
        false,
    ));
    for name in NODES {
        let name = name.to_string_lossy();
        let at = cstring(format!("dev/{name}"))?;
        steps.push(Step::File {
            path: at.clone(),
            mode: 0o666,
            content: Vec::new(),
        });
        steps.push(Step::Bind {
            from: cstring(format!("/dev/{name}"))?,
            at,
        });
    }
    steps.extend(LINKS.iter().map(|(to, at)| Step::Link {
        to: (*to).into(),
        at: (*at).into(),
    }));
    steps.push(dir(c"dev/pts", 0o755));
    // gid 5 is "tty" in every distribution that has static IDs; grantpt(3) of old C libraries looks for it. All machines of a host share kernel.pty.max,
    // 4096: as in LXC (lxc.pty.max) none may take them all.
    steps.push(mount(
        c"devpts",
        c"dev/pts",
        plain,
        c"newinstance,ptmxmode=0666,mode=0620,gid=5,max=1024",
        false,
    ));
    steps.push(dir(c"dev/shm", 0o1777));
    steps.push(mount(
        c"tmpfs",
        c"dev/shm",
        MountFlags::NOSUID | MountFlags::NODEV,
        c"mode=1777",
        false,
    ));
    steps.push(dir(c"dev/mqueue", 0o1777));
    steps.push(mount(
        c"mqueue",
        c"dev/mqueue",
        plain | MountFlags::NODEV,
        c"",
        true,
    ));
    for terminal in &spec.terminals {
        let names = terminal
            .names
            .iter()
            .map(|name| cstring(name.as_str()))
            .collect::<Result<_>>()?;
        steps.push(Step::Terminal { names });
    }
    Ok(())
}
