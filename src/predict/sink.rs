//! Where a table grows: a file that appears when it is complete, or standard output, which gets nothing before all is done.

use crate::error::{Error, Result};
use crate::files::AtomicFile;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

enum To {
    File(AtomicFile),
    Standard(BufWriter<File>),
}

/// A table that grows. Dropped before [`Sink::finish`] it leaves nothing.
pub(super) struct Sink {
    to: To,
    name: PathBuf,
}

impl Sink {
    /// Begins at `out`, or for standard output.
    pub fn create(out: Option<&Path>) -> Result<Sink> {
        let name = out.map_or_else(|| PathBuf::from("standard output"), Path::to_path_buf);
        let to = match out {
            Some(path) => To::File(AtomicFile::create(path)?),
            None => {
                let file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir(), "cannot write"))?;
                To::Standard(BufWriter::new(file))
            }
        };
        Ok(Sink { to, name })
    }

    /// Adds text.
    pub fn put(&mut self, text: &str) -> Result<()> {
        let wrote = match &mut self.to {
            To::File(f) => f.write_all(text.as_bytes()),
            To::Standard(f) => f.write_all(text.as_bytes()),
        };
        wrote.map_err(Error::io(&self.name, "cannot write"))
    }

    /// Adds a row of CSV.
    pub fn csv(&mut self, row: &[String]) -> Result<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        line.write_record(row).map_err(|e| Error::Internal(format!("a row of CSV: {e}")))?;
        let bytes = line.into_inner().map_err(|e| Error::Internal(format!("a row of CSV: {e}")))?;
        self.put(&String::from_utf8_lossy(&bytes))
    }

    /// The file appears, or all goes to standard output.
    pub fn finish(self) -> Result<()> {
        let failed = |e: std::io::Error| Error::io(&self.name, "cannot write")(e);
        match self.to {
            To::File(file) => file.commit(),
            To::Standard(file) => {
                let mut file = file.into_inner().map_err(|e| failed(e.into_error()))?;
                file.rewind().map_err(failed)?;
                let (mut out, mut buffer) = (std::io::stdout().lock(), vec![0; 1 << 16]);
                loop {
                    let n = file.read(&mut buffer).map_err(failed)?;
                    let wrote = if n == 0 { out.flush() } else { out.write_all(&buffer[..n]) };
                    match wrote {
                        // `| head` has seen enough.
                        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                        other => other.map_err(failed)?,
                    }
                    if n == 0 {
                        return Ok(());
                    }
                }
            }
        }
    }
}
