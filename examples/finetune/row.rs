//! The table that is printed: a line a network.

use radiograd::report::text::{percent_or, thousands};

/// A line of the table.
pub struct Row {
    pub network: String,
    pub side: usize,
    pub base: &'static str,
    /// Numbers that train, and all of them.
    pub trained: usize,
    pub total: usize,
    /// Seconds that the base's features took, and how many of them came from the cache.
    pub features: Option<(f64, usize)>,
    /// Seconds of an epoch.
    pub epoch: f64,
    pub accuracy: Option<f64>,
    /// Seconds of an epoch through the frozen base.
    pub uncached: Option<f64>,
}

impl Row {
    pub fn head(compare: bool) -> String {
        let more = if compare { "   uncached  faster" } else { "" };
        format!(
            "{:20} {:>4} {:7} {:>11} of {:>11} {:>20} {:>9} {:>10}{more}",
            "network", "side", "base", "trained", "parameters", "features", "epoch", "validation"
        )
    }

    pub fn line(&self, compare: bool) -> String {
        let (trained, total) = (thousands(self.trained as u64), thousands(self.total as u64));
        let features = self.features.map_or("-".into(), |(s, cached)| format!("{s:.1} s, {cached} cached"));
        let more = self.uncached.filter(|_| compare);
        let more = more.map_or(String::new(), |u| format!("   {u:7.2} s {:6.1}x", u / self.epoch));
        format!(
            "{:20} {:>4} {:7} {trained:>11} of {total:>11} {features:>20} {:>7.3} s {:>10}{more}",
            self.network,
            self.side,
            self.base,
            self.epoch,
            percent_or(self.accuracy)
        )
    }
}
