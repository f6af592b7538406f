//! Figures in words, the same in terminal and report, and the summary that a run prints at its end.

use crate::eval::interval::Interval;
use crate::eval::metrics_file::Metrics;

/// 0.5731 as "57.3 %".
pub fn percent(share: f64) -> String {
    format!("{:.1} %", 100.0 * share)
}

/// As [`percent`], "undefined" for `None`.
pub fn percent_or(share: Option<f64>) -> String {
    share.map_or_else(|| "undefined".into(), percent)
}

/// Ends of an interval of a share, as "[54.0, 60.5]" in percent.
pub fn ends(interval: &Interval) -> String {
    // What rounds to zero is zero, not minus zero.
    let tenth = |v: f64| (1000.0 * v).round() / 10.0 + 0.0;
    format!("[{:.1}, {:.1}]", tenth(interval.low), tenth(interval.high))
}

/// 1234567 as "1,234,567".
pub fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, c) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(c);
    }
    out
}

/// Seconds as "42.5 s", "12 min 05 s" or "2 h 03 min".
pub fn duration(seconds: f64) -> String {
    let whole = seconds.max(0.0).round() as u64;
    match whole {
        0..60 => format!("{seconds:.1} s"),
        60..3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole / 60 % 60),
    }
}

/// Bytes as "93.4 MiB".
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..0x10_0000 => format!("{:.1} KiB", n as f64 / 1024.0),
        0x10_0000..0x4000_0000 => format!("{:.1} MiB", n as f64 / f64::from(1 << 20)),
        _ => format!("{:.2} GiB", n as f64 / f64::from(1 << 30)),
    }
}

/// What a run prints on stdout at its end: accuracy with its intervals, the classification report, what class and
/// source have to do with each other, energy of the maps, warnings.
pub fn summary(metrics: &Metrics) -> String {
    let mut out = String::new();
    match &metrics.overall {
        None => out += "No fold was tested.\n",
        Some(o) => {
            out += &format!(
                "Accuracy {} {} ({} of {} images, 95 % {} interval over images)\n",
                percent(o.accuracy),
                ends(&o.accuracy_interval),
                thousands(o.correct),
                thousands(o.images),
                o.accuracy_interval.method
            );
            let folds: Vec<String> = metrics.folds.iter().map(|f| format!("{:.1}", 100.0 * f.accuracy)).collect();
            let interval = o.fold_interval.as_ref().map_or(String::new(), |i| format!(" {} ({})", ends(i), i.method));
            out += &format!(
                "Mean of {} folds {}{interval}; folds {}; split {}\n",
                o.folds,
                percent(o.fold_mean),
                folds.join(" "),
                metrics.run.split
            );
            for table in &metrics.data.tables {
                if let Some(share) = table.accuracy_from_property {
                    let v = table.cramers_v.map_or("undefined".into(), |v| format!("{v:.2}"));
                    out += &format!(
                        "From the {} alone, without looking at the image: {} (Cramer's V {v})\n",
                        table.property,
                        percent(share)
                    );
                }
            }
            out += &format!("\n{}", o.confusion.classification_report(2));
        }
    }
    if let Some(cam) = &metrics.cam {
        out += &format!(
            "\nGrad-CAM energy inside the {} masks: {}; a uniform map would have {} ({} images, {} empty maps)\n",
            cam.mask,
            percent_or(cam.all.energy_inside),
            percent_or(cam.all.uniform_share),
            cam.all.images,
            cam.all.zero_maps
        );
    }
    if !metrics.warnings.is_empty() {
        out.push('\n');
    }
    for warning in &metrics.warnings {
        out += &format!("Warning: {warning}\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_words() {
        assert_eq!(thousands(1_234_567), "1,234,567");
        assert_eq!([thousands(0), thousands(999), thousands(1000)], ["0", "999", "1,000"]);
        assert_eq!([duration(42.46), duration(725.0), duration(7380.0)], ["42.5 s", "12 min 05 s", "2 h 03 min"]);
        assert_eq!([bytes(512), bytes(97_936_998), bytes(3 << 30)], ["512 B", "93.4 MiB", "3.00 GiB"]);
        assert_eq!(percent_or(None), "undefined");
        assert_eq!(percent(0.5731), "57.3 %");
    }
}
