//! From files to training steps: `cargo bench --bench data [NAME] [-- --smoke]`. Images a second of decoding, of resizing by
//! each rule, of loading through a warm cache and of augmenting on the device, and the share of a DETL training step in
//! which the host fills the batch while the device may wait. Images are synthetic radiographs, made in memory.

mod common;

use image::{DynamicImage, ImageBuffer, ImageFormat, Luma};
use radiograd::data::decode::{Plane, decode};
use radiograd::data::phantom::{self, Phantom};
use radiograd::data::planes::{LoadOptions, load_planes};
use radiograd::data::resize::{Resize, resize_by};
use radiograd::models::Network;
use radiograd::ops::{AugmentOptions, WARP};
use radiograd::train::{FitOptions, Samples, fit};
use radiograd::{Feed, Gpu, Graph, Result, Shape};
use rayon::prelude::*;
use serde_json::{Value, json};
use std::io::Cursor;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// A measured case: its JSON, with `case` and the figures.
struct Rows(Vec<Value>);

impl Rows {
    /// A rate, printed and kept.
    fn rate(&mut self, case: &str, images_per_second: f64, more: Value) {
        println!("{case:56} {images_per_second:10.1} images/s");
        self.0.push(json!({"case": case, "images_per_second": images_per_second, "more": more}));
    }
}

fn main() {
    let gpu = common::open();
    println!("data: {}; {} CPU threads", gpu.describe(), rayon::current_num_threads());
    let mut rows = Rows(Vec::new());
    let done = decoding(&mut rows).and_then(|()| {
        resizing(&mut rows)?;
        augmenting(&gpu, &mut rows)?;
        loading_and_training(&gpu, &mut rows)
    });
    if let Err(e) = done {
        eprintln!("{e}");
        std::process::exit(i32::from(e.exit_code()));
    }
    let all = json!({"bench": "data", "adapter": gpu.describe(), "threads": rayon::current_num_threads(),
        "smoke": common::smoke(), "rows": rows.0});
    match radiograd::files::write_atomic("target/bench-data.json".as_ref(), all.to_string().as_bytes()) {
        Ok(()) => eprintln!("written to target/bench-data.json"),
        Err(e) => eprintln!("{e}"),
    }
}

/// Calls of `f` a second: as many as fit into a second, at least 3 after one to warm up; the smoke run calls once.
fn per_second(mut f: impl FnMut() -> Result<()>) -> Result<f64> {
    if !common::smoke() {
        f()?;
    }
    let (start, mut calls) = (Instant::now(), 0);
    loop {
        f()?;
        calls += 1;
        let seconds = start.elapsed().as_secs_f64();
        if common::smoke() || (seconds > 1.0 && calls >= 3) {
            return Ok(f64::from(calls) / seconds);
        }
    }
}

/// A synthetic radiograph, enlarged where the phantom has no such size: its texture is a radiograph's, which is what the
/// effort of a decoder depends on.
fn radiograph(width: usize, height: usize) -> Result<Plane> {
    let side = width.min(height).clamp(phantom::MIN_SIDE, phantom::MAX_SIDE);
    let Phantom { pixels, side, .. } = phantom::generate(1, 1, side).swap_remove(0);
    let at = |x: usize, y: usize| pixels[y * side / height * side + x * side / width];
    let data = (0..width * height).map(|i| at(i % width, i / width)).collect();
    Ok(Plane { width, height, data })
}

fn encoded(image: &DynamicImage, format: ImageFormat) -> Vec<u8> {
    let mut out = Cursor::new(Vec::new());
    image.write_to(&mut out, format).expect("an image in memory is written");
    out.into_inner()
}

fn eight_bits(plane: &Plane) -> DynamicImage {
    let bytes = plane.data.iter().map(|v| (v * 255.0).round() as u8).collect();
    let image = ImageBuffer::<Luma<u8>, Vec<u8>>::from_raw(plane.width as u32, plane.height as u32, bytes);
    DynamicImage::ImageLuma8(image.expect("as many bytes as pixels"))
}

fn decoding(rows: &mut Rows) -> Result<()> {
    let (small, large) = if common::smoke() { ((64, 64), (96, 72)) } else { ((1024, 1024), (4160, 3120)) };
    let one = radiograph(small.0, small.1)?;
    let deep = one.data.iter().enumerate().map(|(i, v)| (v * 65_000.0) as u16 + (i * 37 % 64) as u16).collect();
    let deep = ImageBuffer::<Luma<u16>, Vec<u16>>::from_raw(one.width as u32, one.height as u32, deep);
    let many = radiograph(large.0, large.1)?;
    let size = |p: &Plane| format!("{} x {}", p.width, p.height);
    let cases = [
        ("PNG, 8 bits", size(&one), encoded(&eight_bits(&one), ImageFormat::Png)),
        (
            "PNG, 16 bits",
            size(&one),
            encoded(&DynamicImage::ImageLuma16(deep.expect("as many numbers as pixels")), ImageFormat::Png),
        ),
        ("JPEG, gray", size(&one), encoded(&eight_bits(&one), ImageFormat::Jpeg)),
        (
            "JPEG, colour",
            size(&many),
            encoded(&DynamicImage::ImageRgb8(eight_bits(&many).to_rgb8()), ImageFormat::Jpeg),
        ),
    ];
    for (name, size, bytes) in cases {
        let case = format!("decode, {name}, {size}");
        if !common::wanted(&case) {
            continue;
        }
        let more = || json!({"bytes": bytes.len()});
        let get = || decode(&bytes, Path::new("image")).map(|_| ());
        rows.rate(&format!("{case}, one core"), per_second(get)?, more());
        let cores = rayon::current_num_threads();
        let all = per_second(|| (0..cores).into_par_iter().try_for_each(|_| get()))?;
        rows.rate(&format!("{case}, all cores"), all * cores as f64, more());
    }
    Ok(())
}

fn resizing(rows: &mut Rows) -> Result<()> {
    let (from, to) = if common::smoke() { (64, 16) } else { (1024, 224) };
    let plane = radiograph(from, from)?;
    for how in Resize::ALL {
        let case = format!("resize, {how}, {from} to {to}");
        if common::wanted(&case) {
            let rate = per_second(|| resize_by(&plane, to, how).map(|_| ()))?;
            rows.rate(&format!("{case}, one core"), rate, json!(null));
        }
    }
    Ok(())
}

fn augmenting(gpu: &Gpu, rows: &mut Rows) -> Result<()> {
    let (n, side) = if common::smoke() { (2, 16) } else { (32, 224) };
    let all = AugmentOptions { noise: 0.02, salt_pepper: 0.01, crop: 0.1, ..AugmentOptions::DETL };
    for (name, options) in [("DETL's", AugmentOptions::DETL), ("with crop, noise, salt and pepper", all)] {
        let case = format!("augment, {name}, {side} x {side}");
        if !common::wanted(&case) {
            continue;
        }
        let graph = Graph::new();
        let images = graph.input("images", Shape::image(n, 1, side, side));
        let warp = graph.input("augmentation", Shape::flat(n * WARP));
        let y = images.augment(warp, options.scaled(0.0, 1.0).op());
        let (mut plan, _weights) = common::plan(gpu, &graph, vec![y]);
        let pixels: Vec<f32> = common::numbers(n * side * side, 5).iter().map(|v| v + 0.5).collect();
        let ids: Vec<u32> = (0..n as u32).collect();
        let mut epoch = 0;
        // Drawing the numbers and the way of the pixels to the device belong to it.
        let rate = per_second(|| {
            epoch += 1;
            let drawn = options.draw(1, epoch, &ids, [side, side]);
            plan.step(gpu, &[(images, Feed::F32(&pixels)), (warp, Feed::F32(&drawn))])?;
            plan.finish(gpu).map(|_| ())
        })?;
        rows.rate(&format!("{case}, with the way to the device"), rate * n as f64, json!({"batch": n}));
        let ms: f64 = common::time(gpu, &plan, if common::smoke() { 1 } else { 7 }).iter().map(|t| t.1).sum();
        rows.rate(&format!("{case}, on the device"), n as f64 / ms * 1e3, json!({"batch": n, "ms": ms}));
    }
    Ok(())
}

/// Loads files without and with a cache, then trains DETL on them and looks how long its steps wait.
fn loading_and_training(gpu: &Gpu, rows: &mut Rows) -> Result<()> {
    if !common::wanted("load and train") {
        return Ok(());
    }
    let (patients, stored, side, epochs) = if common::smoke() { (8, 64, 64, 1) } else { (120, 512, 64, 2) };
    let folder = tempfile::tempdir().map_err(radiograd::Error::io(std::env::temp_dir(), "cannot make a folder"))?;
    let mut files = Vec::new();
    let mut items = Vec::new();
    for (i, p) in phantom::generate(3, patients, stored).into_iter().enumerate() {
        let file = PathBuf::from(format!("{i}.png"));
        let path = folder.path().join(&file);
        let plane = Plane { width: stored, height: stored, data: p.pixels };
        radiograd::files::write_atomic(&path, &encoded(&eight_bits(&plane), ImageFormat::Png))?;
        files.push(file);
        items.push((i, p.class));
    }
    let n = files.len();
    let cache = folder.path().join("cache");
    let options = LoadOptions { cache_dir: Some(&cache), ..LoadOptions::default() };
    let what = format!("{n} PNG of {stored} x {stored} to {side}");
    let start = Instant::now();
    load_planes(folder.path(), &files, side, &options)?;
    let cold = start.elapsed().as_secs_f64();
    rows.rate(&format!("load, {what}, cold cache"), n as f64 / cold, json!({"seconds": cold}));
    let mut planes = Default::default();
    let warm = per_second(|| {
        planes = load_planes(folder.path(), &files, side, &options)?;
        Ok(())
    })?;
    assert_eq!(planes.from_cache, n, "the cache was warm");
    rows.rate(&format!("load, {what}, warm cache"), warm * n as f64, json!({"seconds": 1.0 / warm}));

    let network = Network::named("detl12")?;
    let samples = Samples { data: &planes.data, mirrored: None, shape: [1, side, side], items: &items };
    let nothing = Samples { items: &[], ..samples };
    let options = FitOptions {
        epochs,
        batch: 16,
        augment: Some(AugmentOptions::DETL),
        talk: radiograd::Talk::Quiet,
        ..FitOptions::default()
    };
    let classes = phantom::CLASSES.len();
    let start = network.init(side, classes, 1);
    let one = fit(gpu, &network, &start, classes, (&samples, &nothing), &options)?;
    let share = one.data_seconds / one.step_seconds;
    let rate = (epochs * n) as f64 / one.step_seconds;
    let more =
        json!({"step_seconds": one.step_seconds, "data_seconds": one.data_seconds, "share_waiting_at_most": share});
    rows.rate(&format!("train, DETL at {side} in batches of 16"), rate, more);
    println!(
        "{:56} {:10.3} %  ({:.4} of {:.2} s fill batches)",
        "share of a step's time waiting for data, at most",
        100.0 * share,
        one.data_seconds,
        one.step_seconds
    );
    Ok(())
}
