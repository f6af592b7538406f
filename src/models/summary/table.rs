//! A summary for people and for programs.

use super::{Layer, Summary};
use crate::plan::{MemoryReport, bytes};
use serde_json::{Value, json};
use std::fmt;

impl Summary {
    /// The sum of a figure over the layers.
    pub fn total(&self, figure: impl Fn(&Layer) -> f64) -> f64 {
        self.layers.iter().map(figure).sum()
    }

    /// Everything, for `--json`: figures as they are, in bytes and operations.
    pub fn to_json(&self) -> Value {
        let row = |l: &Layer| {
            json!({"name": l.name, "kind": l.kind, "output": l.output, "parameters": l.parameters,
                "trainable": l.trainable, "running_statistics": l.statistics, "flops": l.flops,
                "backward_flops": l.backward_flops, "bytes": l.bytes})
        };
        let total = |f: fn(&Layer) -> u64| self.layers.iter().map(f).sum::<u64>();
        let memory = |m: &MemoryReport| {
            json!({"device": self.device, "parameters": m.parameters, "gradients": m.gradients, "moments": m.moments,
                "activations": m.activations, "activations_unshared": m.unshared, "workspace": m.workspace,
                "live": m.live, "peak_layer": m.peak, "transfer": m.transfer, "total": m.total(),
                "largest_tensor": m.largest})
        };
        json!({
            "network": self.network, "input": self.input, "batch": self.batch, "classes": self.classes,
            "training": self.training, "recompute": self.recompute, "layers": self.layers.iter().map(row).collect::<Vec<_>>(),
            "totals": {"parameters": total(|l| l.parameters), "trainable": total(|l| l.trainable),
                "running_statistics": total(|l| l.statistics), "flops": self.total(|l| l.flops),
                "backward_flops": self.total(|l| l.backward_flops), "bytes": total(|l| l.bytes)},
            "memory": self.memory.as_ref().ok().map(memory), "refused": self.refused,
        })
    }

    fn cells(&self, l: &Layer) -> Vec<String> {
        let [c, h, w] = l.output;
        let mut cells = vec![
            l.name.clone(),
            l.kind.clone(),
            if (h, w) == (1, 1) { c.to_string() } else { format!("{c}×{h}×{w}") },
            if l.parameters == 0 { "-".into() } else { thousands(l.parameters) },
            mega(l.flops),
        ];
        cells.extend(self.training.then(|| mega(l.backward_flops)));
        cells.push(mega(l.bytes as f64));
        cells
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let ([c, h, w], n) = (self.input, self.batch);
        let what = match (self.training, self.recompute) {
            (true, true) => "a training step with recomputation",
            (true, false) => "a training step",
            _ => "inference",
        };
        let outputs = if self.classes == 1 { "output" } else { "outputs" };
        writeln!(f, "{}: {what} on {n} × {c}×{h}×{w}, {} {outputs}", self.network, self.classes)?;
        let mut head = vec!["layer", "kind", "output", "parameters", "MFLOP"];
        head.extend(self.training.then_some("backward"));
        head.push("MB moved");
        let head: Vec<String> = head.into_iter().map(String::from).collect();
        let sum = |g: fn(&Layer) -> u64| self.layers.iter().map(g).sum::<u64>();
        let mut total = vec![
            format!("{} layers", self.layers.len()),
            String::new(),
            String::new(),
            thousands(sum(|l| l.parameters)),
            mega(self.total(|l| l.flops)),
        ];
        total.extend(self.training.then(|| mega(self.total(|l| l.backward_flops))));
        total.push(mega(self.total(|l| l.bytes as f64)));
        let rows: Vec<Vec<String>> = self.layers.iter().map(|l| self.cells(l)).collect();
        let all = || rows.iter().chain([&head, &total]);
        let widths: Vec<usize> =
            (0..head.len()).map(|i| all().map(|r| r[i].chars().count()).max().unwrap_or(0)).collect();
        let rule = "─".repeat(widths.iter().sum::<usize>() + 2 * (widths.len() - 1));
        let line = |f: &mut fmt::Formatter, row: &[String]| {
            let cell = |(i, (text, width)): (usize, (&String, &usize))| match i {
                0 | 1 => format!("{text:<width$}"),
                _ => format!("{text:>width$}"),
            };
            let cells: Vec<String> = row.iter().zip(&widths).enumerate().map(cell).collect();
            writeln!(f, "{}", cells.join("  ").trim_end())
        };
        writeln!(f, "{rule}")?;
        line(f, &head)?;
        writeln!(f, "{rule}")?;
        rows.iter().try_for_each(|r| line(f, r))?;
        writeln!(f, "{rule}")?;
        line(f, &total)?;
        writeln!(f)?;
        let (parameters, trainable) = (sum(|l| l.parameters), sum(|l| l.trainable));
        write!(f, "parameters {}", thousands(parameters))?;
        if self.training {
            write!(f, " (trainable {}, frozen {})", thousands(trainable), thousands(parameters - trainable))?;
        }
        match sum(|l| l.statistics) {
            0 => writeln!(f)?,
            n => writeln!(f, "; running statistics of batch norm {}", thousands(n))?,
        }
        writeln!(f, "FLOP count a multiply-add as two; C×H×W is one image's, the other figures are a batch's")?;
        writeln!(f)?;
        self.plan(f)
    }
}

impl Summary {
    fn plan(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "memory plan on {}", self.device)?;
        if let Ok(m) = &self.memory {
            let mut row = |what: &str, n: u64, note: String| {
                let line = format!("  {what:<12} {:>9}  {note}", bytes(n));
                writeln!(f, "{}", line.trim_end())
            };
            row("parameters", m.parameters, "channels padded to multiples of 4".into())?;
            if self.training {
                row("gradients", m.gradients, String::new())?;
                row("moments", m.moments, String::new())?;
            }
            let shared = format!("shared by lifetime; {} if nothing were", bytes(m.unshared));
            row("activations", m.activations, shared)?;
            row("- workspace", m.workspace, "of them, at the most".into())?;
            row("- peak", m.live, format!("alive at once, at {}", m.peak))?;
            row("transfer", m.transfer, "inputs, outputs, uniforms, staging".into())?;
            row("total", m.total(), String::new())?;
            writeln!(f, "  largest tensor: {}", m.largest)?;
        }
        match &self.refused {
            Some(reason) => writeln!(f, "  does not fit: {reason}"),
            None => Ok(()),
        }
    }
}

/// 25557032 as 25,557,032.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::new();
    for (i, d) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(d);
    }
    out
}

/// Millions with a digit behind the point.
fn mega(n: f64) -> String {
    let tenths = (n / 1e5).round() as u64;
    match tenths {
        0 if n > 0.0 => "<0.1".into(),
        0 => "-".into(),
        _ => format!("{}.{}", thousands(tenths / 10), tenths % 10),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_grouped() {
        assert_eq!([0, 999, 1000, 25_557_032].map(thousands), ["0", "999", "1,000", "25,557,032"]);
        assert_eq!([0.0, 4e4, 5e4, 1.25e9].map(mega), ["-", "<0.1", "0.1", "1,250.0"]);
    }
}
