//! Whether the kernel has overlays for users without root: tried, as a machine of theirs would mount one.

use crate::error::{At, Error, Result};
use repot_sys::{Cloned, Namespaces, clone_process};
use rustix::fs::{Mode, mkdir};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags};
use rustix::process::{Pid, WaitOptions};
use std::ffi::CString;
use std::path::{Path, PathBuf};

/// Mounts an overlay that takes writes below `place`, in namespaces of a child's own, and takes everything away again. Must be
/// called before the process has threads.
///
/// # Errors
/// The directories cannot be made there. The inner result is what the kernel says to the mount.
pub fn overlay_without_root(place: &Path) -> Result<std::result::Result<(), Errno>> {
    let dirs = Dirs::make(place)?;
    let options = CString::new("lowerdir=lower,upperdir=upper,workdir=work,userxattr")
        .map_err(|error| invalid(&error))?;
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    let pid = match clone_process(Namespaces::USER | Namespaces::MOUNT)? {
        Cloned::Child => {
            let mount = || -> std::io::Result<()> {
                // One ID of one's own is all that everybody may map (user_namespaces(7)).
                std::fs::write("/proc/self/setgroups", "deny")?;
                std::fs::write("/proc/self/uid_map", format!("0 {} 1", own.0.as_raw()))?;
                std::fs::write("/proc/self/gid_map", format!("0 {} 1", own.1.as_raw()))?;
                rustix::process::chdir(&dirs.0)?;
                let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
                rustix::mount::mount_change(c"/", private)?;
                let flags = MountFlags::empty();
                let options = Some(options.as_c_str());
                rustix::mount::mount(c"overlay", c"at", c"overlay", flags, options)?;
                Ok(())
            };
            let errno = mount()
                .err()
                .map_or(0, |error| error.raw_os_error().unwrap_or(255));
            // The directories are the parent's to remove.
            repot_sys::exit_now(u8::try_from(errno).unwrap_or(255))
        }
        Cloned::Parent { pid, .. } => pid,
    };
    let ended = rustix::io::retry_on_intr(|| {
        rustix::process::waitpid(Pid::from_raw(pid), WaitOptions::empty())
    });
    let code = ended
        .at("waiting for", "a child")?
        .and_then(|(_, status)| status.exit_status());
    Ok(match code {
        Some(0) => Ok(()),
        code => Err(Errno::from_raw_os_error(code.unwrap_or(255))),
    })
}

fn invalid(error: &std::ffi::NulError) -> Error {
    Error::Invalid {
        what: "options".into(),
        why: error.to_string(),
    }
}

/// What is made for it, deepest last. The kernel makes `work/work`, into which nobody may look.
const NAMES: [&str; 6] = ["", "lower", "upper", "work", "at", "work/work"];

struct Dirs(PathBuf);

impl Dirs {
    fn make(place: &Path) -> Result<Self> {
        let dirs = Self(place.join(format!(".overlay-probe-{}", std::process::id())));
        for name in NAMES.iter().take(5) {
            let path = dirs.0.join(name);
            mkdir(&path, Mode::from_raw_mode(0o700)).at("creating", path)?;
        }
        Ok(dirs)
    }
}

impl Drop for Dirs {
    fn drop(&mut self) {
        for name in NAMES.iter().rev() {
            let _ = std::fs::remove_dir(self.0.join(name));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        // With threads, as tests have them, nothing is tried.
        assert!(overlay_without_root(dir.path()).is_err());
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(overlay_without_root(&dir.path().join("missing")).is_err());
    }
}
