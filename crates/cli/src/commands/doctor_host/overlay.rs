//! What lays a machine's layers over each other for users without root.

use super::{Grade, Item, item, nearest};
use repot_runtime::{Dirs, file_server, overlay_without_root};

/// Tries the kernel's overlay where repot keeps writes, and looks for what takes its place.
pub(super) fn without_root() -> Item {
    const GROUP: &str = "kernel";
    const WHAT: &str = "overlay without root";
    let place = nearest(&Dirs::from_env().data);
    let refusal = match overlay_without_root(&place) {
        Ok(Ok(())) => {
            let found = format!("the kernel's, at {}", place.display());
            return item(GROUP, WHAT, Grade::Ok, found, None);
        }
        Ok(Err(errno)) => format!("the kernel has none at {} ({errno})", place.display()),
        Err(error) => {
            let found = format!("cannot be tried: {:#}", anyhow::Error::new(error));
            let hint = "REPOT_DATA_DIR may name a directory that you may write to";
            return item(GROUP, WHAT, Grade::Limited, found, Some(hint));
        }
    };
    match file_server::missing() {
        None => item(
            GROUP,
            WHAT,
            Grade::Limited,
            format!("{refusal}: fuse-overlayfs takes its place, which is slower"),
            Some(
                "REPOT_DATA_DIR may name a directory on ext4, xfs, btrfs or tmpfs; before Linux 5.11, boot a newer kernel",
            ),
        ),
        Some(missing) => item(
            GROUP,
            WHAT,
            Grade::Missing,
            format!("{refusal}, and {missing}"),
            Some(missing.hint),
        ),
    }
}
