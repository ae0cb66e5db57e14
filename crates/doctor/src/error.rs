//! Why an inspection could not be finished. What a tree lacks is a fact, not an error.

/// Result of everything here.
pub type Result<T> = std::result::Result<T, Error>;

/// An inspection that could not be finished.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The tree could not be read at all: the disk or the kernel failed.
    #[error("inspecting the tree")]
    Tree(#[from] repot_rootfs::Error),
}
