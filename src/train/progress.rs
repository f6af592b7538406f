//! Progress of long work: a bar on a terminal, plain lines otherwise; always on stderr, results are stdout's.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::{Duration, Instant};

/// Progress over a known number of things: images, files, cases.
pub struct Progress {
    bar: Option<ProgressBar>,
    label: String,
    unit: &'static str,
    total: u64,
    done: u64,
    /// Of these, how many before the start.
    before: u64,
    start: Instant,
    said: Instant,
    quiet: bool,
}

impl Progress {
    /// Starts over `total` things, named in the plural.
    pub fn new(label: &str, total: u64, unit: &'static str, quiet: bool) -> Progress {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template(&format!(
                "{{prefix:24}} {{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  eta {{eta}}"
            ));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label.to_string());
            bar
        });
        let now = Instant::now();
        Progress { bar, label: label.into(), unit, total, done: 0, before: 0, start: now, said: now, quiet }
    }

    /// So many were done before the start.
    pub fn skip(&mut self, count: u64) {
        self.done += count;
        self.before += count;
    }

    /// Things per second since the start.
    pub fn rate(&self) -> f64 {
        (self.done - self.before) as f64 / self.start.elapsed().as_secs_f64().max(1e-9)
    }

    /// `count` more are done; `note` as in "loss 0.693".
    pub fn advance(&mut self, count: u64, note: &str) {
        self.done += count;
        let rate = self.rate();
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(format!("{rate:.0} {}/s  {note}", short(self.unit)));
        } else if !self.quiet && self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            let left = (self.total.saturating_sub(self.done)) as f64 / rate.max(1e-9);
            let (unit, label) = (self.unit, &self.label);
            eprintln!(
                "{label}: {}/{} {unit}, {rate:.0} {}/s, {note}, {left:.0} s left",
                self.done,
                self.total,
                short(unit)
            );
        }
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None if !self.quiet => eprintln!("{text}"),
            None => {}
        }
    }

    /// Ends; the bar goes away.
    pub fn finish(self) {
        if let Some(bar) = self.bar {
            bar.finish_and_clear();
        }
    }
}

/// The unit of a rate.
fn short(unit: &'static str) -> &'static str {
    if unit == "images" { "img" } else { unit }
}
