//! The program as its users see it: arguments in, standard output, messages, exit codes and files out.

mod bad_input;
mod chaos;
mod data;
mod dicom;
mod eval;
mod explain;
mod paper;
#[path = "../picture.rs"]
mod picture;
mod predict;
mod summary;
mod synthesize;
mod train;
mod verbose;

use radiograd::models::Network;
use radiograd::weights::{self, Card, Scaling};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The rows of a CSV table by column.
pub fn columns(csv: &str) -> Vec<std::collections::BTreeMap<String, String>> {
    csv::Reader::from_reader(csv.as_bytes()).deserialize().map(|r| r.unwrap_or_else(|e| panic!("{e}: {csv}"))).collect()
}

/// Runs the program in `dir`.
pub fn radiograd(dir: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_radiograd"));
    command.current_dir(dir).args(arguments).env("NO_COLOR", "1");
    command.output().unwrap_or_else(|e| panic!("the program does not start: {e}"))
}

/// Standard output of a run in this environment that must succeed.
pub fn ok_with(dir: &Path, arguments: &[&str], environment: &[(&str, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_radiograd"));
    command.current_dir(dir).args(arguments).env("NO_COLOR", "1").envs(environment.iter().copied());
    let out = command.output().unwrap_or_else(|e| panic!("the program does not start: {e}"));
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

/// Standard output of a run that must succeed.
pub fn ok(dir: &Path, arguments: &[&str]) -> String {
    let out = radiograd(dir, arguments);
    assert!(out.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap_or_else(|e| panic!("{arguments:?}: {e}"))
}

/// A gray PNG of `side` that is its own for each `seed`.
pub fn image(path: &Path, side: u32, seed: u32) {
    let pixel = |x: u32, y: u32| image::Luma([((x * (7 + seed) + y * 13 + x * y * seed) % 251) as u8]);
    let plane = image::GrayImage::from_fn(side, side + 5, pixel);
    plane.save(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
}

/// A weights file of `network` at `side` with these classes; so many outputs as there are, or one for two names if `sigmoid`.
pub fn model(dir: &Path, network: &str, side: usize, classes: &[&str], sigmoid: bool, scaling: Scaling) -> PathBuf {
    let network = Network::named(network).unwrap_or_else(|e| panic!("{e}"));
    let path = dir.join(format!("{}.safetensors", network.name));
    let outputs = if sigmoid { 1 } else { classes.len() };
    let params = network.init(side, outputs, 11);
    let classes = classes.iter().map(|c| c.to_string()).collect();
    let card = Card { network, side, classes, scaling, preprocessing: Default::default() };
    weights::save(&path, &params, &card.metadata()).unwrap_or_else(|e| panic!("{e}"));
    path
}

/// Moves the biases of the last layer of `weights` so that the mean scores of `images` are equal: a random network says the same
/// of every image, this one does not.
pub fn even(dir: &Path, weights: &Path, images: &str) {
    let text = ok(dir, &["predict", "--weights", &weights.display().to_string(), images, "--json", "-q"]);
    let table: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let rows: Vec<Vec<f64>> = table["images"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|r| r["logits"].as_array().into_iter().flatten().filter_map(serde_json::Value::as_f64).collect())
        .collect();
    let metadata = weights::metadata(weights).unwrap_or_else(|e| panic!("{e}"));
    let card = Card::read(weights, &metadata, None).unwrap_or_else(|e| panic!("{e}"));
    let mut params = card.network.init(card.side, rows[0].len(), 0);
    weights::load(weights, &mut params).unwrap_or_else(|e| panic!("{e}"));
    let name = format!("{}.bias", card.network.head.out);
    let bias = params.params.iter_mut().find(|p| p.name == name).unwrap_or_else(|| panic!("no {name}"));
    for (k, b) in bias.values.iter_mut().enumerate() {
        *b -= (rows.iter().map(|r| r[k]).sum::<f64>() / rows.len() as f64) as f32;
    }
    weights::save(weights, &params, &card.metadata()).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_readme_quotes_the_examples_as_they_are() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |file: &str| std::fs::read_to_string(root.join(file)).unwrap_or_else(|e| panic!("{file}: {e}"));
    let readme = read("README.md");
    for file in ["examples/folder.rs", "examples/small_cnn.rs"] {
        let text = read(file);
        // Without the line of documentation that it begins with.
        let (_, code) = text.split_once("\n\n").unwrap_or_else(|| panic!("{file} begins with no paragraph"));
        assert!(readme.contains(&format!("```rust\n{code}```")), "README.md quotes another {file}");
    }
}
