//! How far an import is, for whoever draws a bar. Drawing itself is the command line's business.

/// What an import or export is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Reading the archive to learn whether the store has it already.
    Hashing,
    /// Unpacking.
    Unpacking,
    /// Waiting for the disk.
    Syncing,
    /// Packing a tree that is exported.
    Packing,
}

/// A moment of an import or export.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// What is being done.
    pub phase: Phase,
    /// Bytes of the source read in this phase, as they are: compressed. While packing, bytes of the archive before compression.
    pub read_bytes: u64,
    /// Size of the source, where that is known beforehand.
    pub total_bytes: Option<u64>,
    /// Entries unpacked.
    pub entries: u64,
    /// Bytes of file data unpacked.
    pub unpacked_bytes: u64,
}

/// Is told now and then, about once per MiB of unpacked data and at the start of each phase.
pub trait Progress {
    /// Called on the thread that does the work; should return soon.
    fn update(&self, now: &Snapshot);
}

impl<F: Fn(&Snapshot)> Progress for F {
    fn update(&self, now: &Snapshot) {
        self(now);
    }
}

/// Nobody watches.
#[derive(Debug, Clone, Copy, Default)]
pub struct Silent;

impl Progress for Silent {
    fn update(&self, _now: &Snapshot) {}
}
