//! A run's folder: what was run and how it ended (`run.json`), a row an epoch (`history.csv`), everything that happened in
//! order (`events.jsonl`), and curves for TensorBoard (`tensorboard/LABEL`).
//!
//! Nothing in it is ever half written but the last line of `events.jsonl` and the last record of an event file after a kill,
//! which is cut off when the run goes on, or left out by TensorBoard.

mod clock;
mod history;
mod log;
mod tensorboard;

use super::events::{Observer, Start};
use crate::error::{Error, Result};
use crate::eval::EpochRecord;
use crate::files::{hex, write_atomic};
use history::History;
use log::Log;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use tensorboard::EventFile;

/// Value of `format` in `run.json`.
pub const FORMAT: &str = "radiograd-run/1";

/// Name and version of this program.
const PROGRAM: &str = concat!("radiograd ", env!("CARGO_PKG_VERSION"));

/// The name of the file that makes a folder a run's.
const CARD: &str = "run.json";

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RunStatus {
    /// It runs, or was killed.
    Running,
    /// It came to its end.
    Complete,
    /// Ctrl-C.
    Interrupted,
    /// An error ended it.
    Failed,
}

impl fmt::Display for RunStatus {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(match self {
            RunStatus::Running => "running",
            RunStatus::Complete => "complete",
            RunStatus::Interrupted => "interrupted",
            RunStatus::Failed => "failed",
        })
    }
}

/// `run.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Card {
    format: String,
    status: RunStatus,
    /// The program that began it.
    program: String,
    started: String,
    /// When it went on, with which program.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    resumed: Vec<Resumed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ended: Option<String>,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// Configuration, adapter, driver, digests: what the caller gave.
    run: Value,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Resumed {
    time: String,
    program: String,
}

/// A run's folder; an [`Observer`] for [`FitOptions::observer`](super::FitOptions::observer). What cannot be written is told
/// to the fit at the end of the epoch, which ends it.
#[derive(Debug)]
pub struct RunFolder {
    dir: PathBuf,
    state: RefCell<State>,
}

#[derive(Debug)]
struct State {
    card: Card,
    history: History,
    log: Log,
    boards: BTreeMap<String, Board>,
    /// The first error that nobody was told yet.
    fault: Option<Error>,
}

/// Event files of one training. What counts epochs and what counts steps are apart: a restart makes void what follows a step.
#[derive(Debug)]
struct Board {
    epochs: EventFile,
    steps: EventFile,
    /// Steps of an epoch.
    length: usize,
    /// Of these, each such one is written: some hundred an epoch are enough for a curve.
    every: usize,
}

/// Steps of an epoch that are written, about.
const POINTS: usize = 100;

impl RunFolder {
    /// Begins a run in the folder `dir`, which is made; `run` is what there is to say of it: configuration, adapter, driver,
    /// digests. Names of files and patients have no place in it ([`hashed`]).
    ///
    /// # Errors
    /// [`Error::Usage`] when there is a run already; [`Error::Io`].
    pub fn create(dir: &Path, run: Value) -> Result<RunFolder> {
        if RunFolder::is_one(dir) {
            let dir = dir.display();
            return Err(Error::Usage(format!("{dir} holds a run already: let it go on, or name another folder")));
        }
        let card = Card {
            format: FORMAT.into(),
            status: RunStatus::Running,
            program: PROGRAM.into(),
            started: clock::now(),
            resumed: Vec::new(),
            ended: None,
            message: None,
            run,
        };
        std::fs::create_dir_all(dir).map_err(Error::io(dir, "cannot create the folder"))?;
        RunFolder::with(dir, card, "created")
    }

    /// Goes on with the run in `dir`.
    ///
    /// # Errors
    /// [`Error::Usage`] when there is none; [`Error::Format`] for damaged files; [`Error::Io`].
    pub fn open(dir: &Path) -> Result<RunFolder> {
        let path = dir.join(CARD);
        if !RunFolder::is_one(dir) {
            return Err(Error::Usage(format!("{} is no run's folder: it has no {CARD}", dir.display())));
        }
        let bytes = std::fs::read(&path).map_err(Error::io(&path, "cannot read"))?;
        let mut card: Card = serde_json::from_slice(&bytes).map_err(|e| Error::format(&path, e))?;
        if card.format != FORMAT {
            return Err(Error::format(&path, format!("format \"{}\", expected \"{FORMAT}\"", card.format)));
        }
        card.resumed.push(Resumed { time: clock::now(), program: PROGRAM.into() });
        (card.status, card.ended, card.message) = (RunStatus::Running, None, None);
        RunFolder::with(dir, card, "opened")
    }

    /// Whether `dir` holds a run.
    pub fn is_one(dir: &Path) -> bool {
        dir.join(CARD).exists()
    }

    fn with(dir: &Path, card: Card, event: &str) -> Result<RunFolder> {
        let history = History::open(&dir.join("history.csv"))?;
        let mut log = Log::open(&dir.join("events.jsonl"))?;
        log.write(event, None, json!({ "program": PROGRAM }))?;
        let state = State { card, history, log, boards: BTreeMap::new(), fault: None };
        let folder = RunFolder { dir: dir.into(), state: RefCell::new(state) };
        folder.write_card()?;
        Ok(folder)
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.dir
    }

    /// What was said of the run when it was created, and since then.
    pub fn run(&self) -> Value {
        self.state.borrow().card.run.clone()
    }

    /// How it stands.
    pub fn status(&self) -> RunStatus {
        self.state.borrow().card.status
    }

    /// Says something more of the run, in place of what `key` said before: the digest of its weights.
    ///
    /// # Errors
    /// [`Error::Internal`] when the run is described by something else than an object; [`Error::Io`].
    pub fn set(&self, key: &str, value: Value) -> Result<()> {
        match self.state.borrow_mut().card.run.as_object_mut() {
            Some(run) => _ = run.insert(key.into(), value),
            None => return Err(Error::Internal(format!("{CARD}: {key} for a run that is no object"))),
        }
        self.write_card()
    }

    /// The run has ended so; `message`: why it failed, without names of files.
    ///
    /// # Errors
    /// What could not be written before and was not told; [`Error::Io`].
    pub fn finish(&self, status: RunStatus, message: Option<&str>) -> Result<()> {
        {
            let mut s = self.state.borrow_mut();
            s.card.status = status;
            s.card.ended = Some(clock::now());
            s.card.message = message.map(String::from);
            s.log.write("ended", None, json!({ "status": status, "message": message }))?;
        }
        self.write_card()?;
        self.fault().map_or(Ok(()), Err)
    }

    fn write_card(&self) -> Result<()> {
        let text = serde_json::to_string_pretty(&self.state.borrow().card);
        let text = text.map_err(|e| Error::Internal(format!("{CARD}: {e}")))?;
        write_atomic(&self.dir.join(CARD), (text + "\n").as_bytes())
    }

    /// Does something to the state and keeps the first error.
    fn keep(&self, act: impl FnOnce(&mut State) -> Result<()>) {
        let mut state = self.state.borrow_mut();
        if let Err(e) = act(&mut state) {
            state.fault.get_or_insert(e);
        }
    }

    /// The event files of `label`.
    fn board<'s>(&self, state: &'s mut State, label: &str) -> Result<&'s mut Board> {
        if !state.boards.contains_key(label) {
            let none = Start { history: &[], best_epoch: None, step: 0, steps: 1 };
            state.boards.insert(label.into(), Board::new(&self.dir, label, none)?);
        }
        state.boards.get_mut(label).ok_or_else(|| Error::Internal(format!("no event files for {label}")))
    }
}

impl Board {
    fn new(dir: &Path, label: &str, start: Start) -> Result<Board> {
        let dir = dir.join("tensorboard").join(folder_name(label));
        let done = start.history.len();
        Ok(Board {
            epochs: EventFile::create(&dir, done as i64 + 1)?,
            steps: EventFile::create(&dir.join("steps"), (done * start.steps + start.step) as i64)?,
            length: start.steps,
            every: (start.steps / POINTS).max(1),
        })
    }
}

impl Observer for RunFolder {
    fn begin(&self, label: &str, start: Start) {
        self.keep(|s| {
            let (done, step) = (start.history.len(), start.step);
            s.log.write(
                "begin",
                Some(label),
                json!({ "epochs_done": done, "steps_done": step, "steps": start.steps }),
            )?;
            s.history.set(label, start.history, start.best_epoch)?;
            s.boards.insert(label.into(), Board::new(&self.dir, label, start)?);
            Ok(())
        });
    }

    fn step(&self, label: &str, epoch: usize, step: usize, loss: f64) {
        self.keep(|s| {
            let board = self.board(s, label)?;
            if !step.is_multiple_of(board.every) {
                return Ok(());
            }
            board.steps.scalars((epoch * board.length + step) as i64, &[("loss/step", loss)])?;
            s.log.write("step", Some(label), json!({ "epoch": epoch + 1, "step": step + 1, "loss": loss }))
        });
    }

    fn epoch(&self, label: &str, record: &EpochRecord, best: bool) {
        self.keep(|s| {
            s.log.write("epoch", Some(label), Epoch { record, best })?;
            s.history.add(label, record, best)?;
            let known = [
                ("loss/train", record.train_loss),
                ("loss/validation", record.validation_loss),
                ("accuracy/train", record.train_accuracy),
                ("accuracy/validation", record.validation_accuracy),
                ("learning_rate", Some(record.learning_rate)),
                ("seconds", Some(record.seconds)),
            ];
            let known: Vec<(&str, f64)> = known.into_iter().filter_map(|(tag, v)| Some((tag, v?))).collect();
            self.board(s, label)?.epochs.scalars(record.epoch.into(), &known)
        });
    }

    fn note(&self, text: &str) {
        self.keep(|s| s.log.write("note", None, json!({ "text": text })));
    }

    fn fault(&self) -> Option<Error> {
        self.state.borrow_mut().fault.take()
    }
}

/// An epoch in the log.
#[derive(Serialize)]
struct Epoch<'a> {
    #[serde(flatten)]
    record: &'a EpochRecord,
    best: bool,
}

/// A label as the name of a folder on every system. One that cannot be has what is wrong replaced, and a piece of its
/// digest, so that no two share a folder.
fn folder_name(label: &str) -> String {
    let bad = |c: char| c.is_control() || r#"/\:*?"<>|"#.contains(c);
    let fine = label.trim_matches(['.', ' ']).replace(bad, "_");
    // "steps" is the name of a folder inside.
    match fine == label && !label.is_empty() && label != "steps" && label.len() <= 100 {
        true => fine,
        false => format!("{}-{}", fine.chars().take(40).collect::<String>(), &digest("label", label)[..8]),
    }
}

/// What reports and logs show in place of the name of a file or a patient: the first twelve hexadecimal digits of its
/// SHA-256 behind a fixed text. The same name is the same everywhere, and people who look at a report do not read a patient
/// number in it. It is no anonymisation: who has a list of all names can compute theirs.
pub fn hashed(name: &str) -> String {
    digest("name", name)[..12].into()
}

fn digest(kind: &str, text: &str) -> String {
    hex(&Sha256::digest(format!("radiograd {kind}\n{text}")))
}

#[cfg(test)]
mod tests;
