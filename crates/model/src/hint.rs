//! What to do about an error: a command to type or a page to read, carried along the error chain.

use std::error::Error;
use std::fmt;

/// An error with the way out of it. The printer at the top looks for this type and shows the hint last.
#[derive(Debug)]
pub struct Hinted {
    /// A sentence or command for the user, without a trailing full stop.
    pub hint: String,
    /// The error itself.
    pub source: Box<dyn Error + Send + Sync>,
}

impl fmt::Display for Hinted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.source.fmt(f)
    }
}

impl Error for Hinted {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.source()
    }
}

/// `.hint("…")` on results.
pub trait HintExt<T> {
    /// Adds what the user can do about the error.
    ///
    /// # Errors
    /// The same error as before, wrapped in [`Hinted`].
    fn hint(self, hint: impl Into<String>) -> Result<T, Hinted>;
}

impl<T, E: Into<Box<dyn Error + Send + Sync>>> HintExt<T> for Result<T, E> {
    fn hint(self, hint: impl Into<String>) -> Result<T, Hinted> {
        self.map_err(|error| Hinted {
            hint: hint.into(),
            source: error.into(),
        })
    }
}
