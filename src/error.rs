//! The one error type of the crate. Every variant is a *world* error (a file, a driver, a limit, a number that became NaN):
//! it names the thing, what was needed and what there was. Programmer errors (shapes that do not fit) panic when the
//! graph is recorded, with the layer's path.

use std::path::{Path, PathBuf};

/// What can go wrong outside the program, grouped by what the user has to do about it. [`Error::exit_code`] maps each
/// group to the exit code of the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The request itself is off: an unknown name, an impossible size, fewer patients than folds.
    #[error("{0}")]
    Usage(String),
    /// No adapter fits the request; the message lists what there is.
    #[error("{0}")]
    NoAdapter(String),
    /// The plan, a tensor or the device needs more memory than there is; with the figures.
    #[error("{0}")]
    Memory(String),
    /// A data set, an image or a label that cannot be used, or a leak between splits.
    #[error("{0}")]
    Data(String),
    /// A NaN or infinity where none may be, or a self test that failed.
    #[error("{0}")]
    Numerics(String),
    /// The device went away (driver reset, watchdog, unplugged).
    #[error("{0}")]
    DeviceLost(String),
    /// The user interrupted the run; what was written is named.
    #[error("{0}")]
    Interrupted(String),
    /// Reading or writing a file failed.
    #[error("{}: {action}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What was being done, as in "cannot write".
        action: &'static str,
        /// The system's reason.
        source: std::io::Error,
    },
    /// A file's content is not what its format promises.
    #[error("{}: {reason}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what was expected.
        reason: String,
    },
    /// A shader or another part of this program is wrong: please report.
    #[error("internal error: {0}")]
    Internal(String),
}

/// `std::result::Result` with this crate's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Exit code of the command line: 1 other, 2 usage, 3 no suitable adapter, 4 out of memory, 5 data, 6 numerics,
    /// 7 device lost, 130 interrupted.
    pub fn exit_code(&self) -> u8 {
        match self {
            Error::Usage(_) => 2,
            Error::NoAdapter(_) => 3,
            Error::Memory(_) => 4,
            Error::Data(_) | Error::Format { .. } => 5,
            Error::Numerics(_) => 6,
            Error::DeviceLost(_) => 7,
            Error::Interrupted(_) => 130,
            Error::Io { .. } | Error::Internal(_) => 1,
        }
    }

    /// An [`Error::Io`] that names `path` and what was being done to it; for `map_err`.
    pub fn io(path: impl AsRef<Path>, action: &'static str) -> impl FnOnce(std::io::Error) -> Error {
        let path = path.as_ref().to_path_buf();
        move |source| Error::Io { path, action, source }
    }

    /// An [`Error::Format`] for `path`.
    pub fn format(path: impl AsRef<Path>, reason: impl std::fmt::Display) -> Error {
        Error::Format { path: path.as_ref().to_path_buf(), reason: reason.to_string() }
    }
}

impl Error {
    /// The same error with the files that a run had written before it; for errors that end hours of work.
    pub fn and_written(self, files: &str) -> Error {
        let add = |m: String| format!("{m}; written before: {files}");
        match self {
            Error::Usage(m) => Error::Usage(add(m)),
            Error::NoAdapter(m) => Error::NoAdapter(add(m)),
            Error::Memory(m) => Error::Memory(add(m)),
            Error::Data(m) => Error::Data(add(m)),
            Error::Numerics(m) => Error::Numerics(add(m)),
            Error::DeviceLost(m) => Error::DeviceLost(add(m)),
            Error::Internal(m) => Error::Internal(add(m)),
            other => other,
        }
    }
}
