//! Progress of long work: a bar on a terminal, plain lines otherwise; always on stderr, results are stdout's.

use crate::talk::Talk;
use indicatif::{ProgressBar, ProgressStyle};
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
    talk: Talk,
}

impl Progress {
    /// Starts over `total` things, named in the plural.
    pub fn new(label: &str, total: u64, unit: &'static str, talk: Talk) -> Progress {
        let bar = talk.has_bars().then(|| {
            let bar = ProgressBar::new(total);
            let style = ProgressStyle::with_template(&format!(
                "{{prefix:24}} {{bar:30}} {{pos}}/{{len}} {unit}  {{msg}}  eta {{eta}}"
            ));
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_prefix(label.to_string());
            bar
        });
        let now = Instant::now();
        Progress { bar, label: label.into(), unit, total, done: 0, before: 0, start: now, said: now, talk }
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
        if let Some(bar) = &self.bar {
            bar.set_position(self.done);
            bar.set_message(format!("{}  {note}", self.speed()));
        } else if !self.talk.is_quiet() && self.said.elapsed() > Duration::from_secs(10) {
            self.said = Instant::now();
            eprintln!("{}", self.describe(note));
        }
    }

    /// The line where there is no terminal.
    fn describe(&self, note: &str) -> String {
        let left = self.total.saturating_sub(self.done);
        let mut parts = vec![format!("{}: {}/{} {}", self.label, self.done, self.total, self.unit), self.speed()];
        parts.extend((!note.is_empty()).then(|| note.to_string()));
        parts.extend((left > 0).then(|| format!("{:.0} s left", (left as f64 / self.rate().max(1e-9)).ceil())));
        parts.join(", ")
    }

    fn speed(&self) -> String {
        let rate = self.rate();
        let digits = usize::from(rate < 10.0);
        format!("{rate:.digits$} {}/s", short(self.unit))
    }

    /// A line that stays.
    pub fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => self.talk.say(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_what_is_known_and_no_more() {
        let mut p = Progress::new("features", 40, "images", Talk::Quiet);
        p.skip(10);
        p.start = Instant::now().checked_sub(Duration::from_secs(10)).expect("the machine is up for ten seconds");
        p.advance(10, "");
        let half = p.describe("loss 0.693");
        assert!(half.starts_with("features: 20/40 images, 1.0 img/s, loss 0.693, "), "{half}");
        assert!(half.ends_with(" s left"), "{half}");
        p.advance(20, "");
        let end = p.describe("");
        assert!(end.starts_with("features: 40/40 images, 3.0 img/s") && !end.contains(", ,"), "{end}");
        assert!(!end.contains("left"), "{end}");
    }
}
