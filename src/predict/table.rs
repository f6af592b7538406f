//! The table of probabilities as CSV or JSON, written row by row to a file that appears when it is complete.

use super::model::Model;
use super::stream::{Outcome, best};
use crate::error::{Error, Result};
use crate::files::AtomicFile;
use serde_json::json;
use std::fs::File;
use std::io::{BufWriter, Read, Seek, Write};
use std::path::{Path, PathBuf};

/// How a table is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableFormat {
    /// `path`, `class`, and a column of probabilities for each class.
    Csv,
    /// One object: network, classes, images, skipped.
    Json,
}

/// Where it grows: standard output gets nothing before all is done.
enum Sink {
    File(AtomicFile),
    Standard(BufWriter<File>),
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Sink::File(f) => f.write(bytes),
            Sink::Standard(f) => f.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Sink::File(f) => f.flush(),
            Sink::Standard(f) => f.flush(),
        }
    }
}

/// A table that grows. Dropped before [`Table::finish`] it leaves nothing.
pub struct Table {
    sink: Sink,
    name: PathBuf,
    format: TableFormat,
    classes: Vec<String>,
    rows: usize,
}

impl Table {
    /// Begins the table of `model`'s predictions at `out`, or for standard output.
    ///
    /// # Errors
    /// [`Error::Io`] when nothing can be written there.
    pub fn create(out: Option<&Path>, format: TableFormat, model: &Model) -> Result<Table> {
        let name = out.map_or_else(|| PathBuf::from("standard output"), Path::to_path_buf);
        let sink = match out {
            Some(path) => Sink::File(AtomicFile::create(path)?),
            None => {
                let file = tempfile::tempfile().map_err(Error::io(std::env::temp_dir(), "cannot write"))?;
                Sink::Standard(BufWriter::new(file))
            }
        };
        let mut table = Table { sink, name, format, classes: model.classes.clone(), rows: 0 };
        match format {
            TableFormat::Csv => {
                let columns = model.classes.iter().map(|c| format!("p({c})"));
                let head: Vec<String> = ["path".to_string(), "class".into()].into_iter().chain(columns).collect();
                table.csv(&head)?;
            }
            TableFormat::Json => {
                let about = json!({"network": model.network.name, "side": model.side, "classes": model.classes,
                    "weights_sha256": model.params.digest()});
                let text = about.to_string();
                // The object goes on with the images.
                table.put(&format!("{},\"images\":[", text.trim_end_matches('}')))?;
            }
        }
        Ok(table)
    }

    /// Adds an image.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn add(&mut self, path: &Path, logits: &[f32], probabilities: &[f64]) -> Result<()> {
        let (path, class) = (path.to_string_lossy().into_owned(), self.classes[best(probabilities)].clone());
        self.rows += 1;
        match self.format {
            TableFormat::Csv => {
                let mut row = vec![path, class];
                row.extend(probabilities.iter().map(|p| format!("{p:.6}")));
                self.csv(&row)
            }
            TableFormat::Json => {
                let row = json!({"path": path, "class": class, "probabilities": probabilities, "logits": logits});
                let comma = if self.rows > 1 { "," } else { "" };
                self.put(&format!("{comma}\n{row}"))
            }
        }
    }

    /// Ends the table: the file appears, or all goes to standard output.
    ///
    /// # Errors
    /// [`Error::Io`]; the file then does not appear.
    pub fn finish(mut self, outcome: &Outcome) -> Result<()> {
        if self.format == TableFormat::Json {
            let skipped: Vec<_> = outcome
                .skipped
                .iter()
                .map(|(path, reason)| json!({"path": path.to_string_lossy(), "reason": reason}))
                .collect();
            let (seconds, rate) = (outcome.seconds, outcome.rate());
            self.put(&format!(
                "\n],\"skipped\":{},\"seconds\":{},\"images_per_second\":{}}}\n",
                json!(skipped),
                json!(seconds),
                json!(rate)
            ))?;
        }
        let failed = |e: std::io::Error| Error::io(&self.name, "cannot write")(e);
        match self.sink {
            Sink::File(file) => file.commit(),
            Sink::Standard(file) => {
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

    fn put(&mut self, text: &str) -> Result<()> {
        self.sink.write_all(text.as_bytes()).map_err(Error::io(&self.name, "cannot write"))
    }

    fn csv(&mut self, row: &[String]) -> Result<()> {
        let mut line = csv::Writer::from_writer(Vec::new());
        let written = line.write_record(row).map_err(|e| Error::Internal(format!("a row of CSV: {e}")));
        written.and_then(|()| {
            let bytes = line.into_inner().map_err(|e| Error::Internal(format!("a row of CSV: {e}")))?;
            self.sink.write_all(&bytes).map_err(Error::io(&self.name, "cannot write"))
        })
    }
}
