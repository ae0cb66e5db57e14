//! repot in a machine of repot's, or in another container: what has to be out of the way there.
//!
//! Who may mount a `/proc` in a user namespace must see a whole one already, else masks over parts of it would be no
//! protection (fs/namespace.c, `mount_too_revealing`). Those of the machine around us cover ours. As its root we may mount a
//! whole one, and do so in a mount namespace of our own, so that nothing in the machine around us changes. LXC and nspawn
//! keep a whole one at a hidden place in every container for that.

use crate::error::{At, Result};
use repot_sys::Namespaces;
use rustix::mount::{MountFlags, MountPropagationFlags};

/// Puts a whole `/proc` over one that is covered in parts, for this process and its children only. Whether it had to.
///
/// # Errors
/// `EPERM` where this process is not root of its user namespace.
pub(crate) fn uncover_proc() -> Result<bool> {
    let mountinfo = "/proc/self/mountinfo";
    if !is_covered(&std::fs::read_to_string(mountinfo).at("reading", mountinfo)?) {
        return Ok(false);
    }
    repot_sys::unshare(Namespaces::MOUNT)?;
    // What the host unmounts must not be kept here.
    let propagation = MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC;
    rustix::mount::mount_change(c"/", propagation).at("changing the propagation of", "/")?;
    let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    rustix::mount::mount(c"proc", c"/proc", c"proc", flags, None)
        .at("mounting proc at", "/proc")?;
    Ok(true)
}

/// Whether something is mounted on a part of the `/proc` that is on top (proc_pid_mountinfo(5): ID, parent, device, root,
/// mount point).
fn is_covered(mountinfo: &str) -> bool {
    let mounts = mountinfo.lines().filter_map(|line| {
        let mut fields = line.split(' ');
        Some((fields.next()?, fields.next()?, fields.nth(2)?))
    });
    let top = mounts.clone().rfind(|(_, _, point)| *point == "/proc");
    top.is_some_and(|(id, ..)| mounts.into_iter().any(|(_, parent, _)| parent == id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_topmost_proc_counts() {
        let plain = "20 1 0:5 / /proc rw - proc proc rw\n21 1 0:6 / /sys ro - sysfs sysfs ro\n";
        assert!(!is_covered(plain));
        let covered = format!("{plain}30 20 0:7 /mask /proc/keys ro - tmpfs tmpfs rw\n");
        assert!(is_covered(&covered));
        let again = format!("{covered}31 20 0:8 / /proc rw - proc proc rw\n");
        assert!(!is_covered(&again));
        assert!(!is_covered(""));
    }
}
