//! Where a machine's output is shown: a standard file of this process, behind a filter if it is a terminal.

use crate::error::{At, Result};
use crate::escapes::Filter;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use std::os::fd::BorrowedFd;

/// Set to `raw`, everything that a machine writes reaches the terminal.
const VARIABLE: &str = "REPOT_TERMINAL";

/// The file and its filter. What was switched on in the terminal is switched off when this is dropped.
#[derive(Debug)]
pub(crate) struct Screen {
    file: BorrowedFd<'static>,
    /// `None` for what is no terminal: a file or a pipe gets what there was.
    filter: Option<Filter>,
}

impl Screen {
    /// For a program that its user works with.
    pub(crate) fn of(file: BorrowedFd<'static>) -> Self {
        Self::with(file, Filter::default())
    }

    /// For text that passes by, where nobody would switch modes off again.
    pub(crate) fn of_log(file: BorrowedFd<'static>) -> Self {
        Self::with(file, Filter::replaying())
    }

    fn with(file: BorrowedFd<'static>, filter: Filter) -> Self {
        let is_filtered = rustix::termios::isatty(file)
            && std::env::var_os(VARIABLE).is_none_or(|value| value != "raw");
        Self {
            file,
            filter: is_filtered.then_some(filter),
        }
    }

    /// Shows it, and waits while the terminal takes nothing.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.filter {
            None => write_all(self.file, bytes),
            Some(filter) => {
                let mut shown = Vec::with_capacity(bytes.len());
                filter.feed(bytes, &mut shown);
                write_all(self.file, &shown)
            }
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Some(filter) = &mut self.filter {
            // A terminal that is gone needs no reset.
            let _ = write_all(self.file, &filter.reset());
        }
    }
}

fn write_all(file: BorrowedFd<'_>, mut bytes: &[u8]) -> Result<()> {
    while !bytes.is_empty() {
        match rustix::io::write(file, bytes) {
            Ok(length) => bytes = &bytes[length..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let mut fds = [PollFd::from_borrowed_fd(file, PollFlags::OUT)];
                rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None))
                    .at("waiting for", "standard output")?;
            }
            Err(errno) => return Err(errno).at("writing to", "standard output"),
        }
    }
    Ok(())
}
