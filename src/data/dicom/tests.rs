//! Against pydicom: `testdata/make.py` wrote the files and the figures. And what is refused, and how.

use super::{PIXEL_DATA, Tag, decode};
use crate::data::decode as any;
use crate::data::decode::Plane;
use std::collections::BTreeMap;
use std::path::Path;

macro_rules! files {
    ($($name:literal),*) => { [$(($name, &include_bytes!(concat!("testdata/", $name, ".dcm"))[..])),*] };
}

/// Every file of `testdata`, by its name in the figures.
pub(in crate::data) fn files() -> Vec<(&'static str, &'static [u8])> {
    files![
        "linear",
        "linear_exact",
        "sigmoid",
        "whole",
        "negative",
        "voi_lut",
        "voi_lut_signed",
        "modality_lut",
        "deflated",
        "run_lengths",
        "run_lengths_8",
        "jpeg",
        "jpeg_lossless"
    ]
    .to_vec()
}

fn file(name: &str) -> &'static [u8] {
    files().into_iter().find(|f| f.0 == name).unwrap().1
}

#[derive(serde::Deserialize)]
struct Figures {
    width: usize,
    height: usize,
    tolerance: f32,
    values: Vec<f32>,
}

#[test]
fn agrees_with_pydicom() {
    let figures: BTreeMap<String, Figures> = serde_json::from_str(include_str!("testdata/figures.json")).unwrap();
    assert_eq!(figures.len(), files().len());
    for (name, bytes) in files() {
        let (plane, want) = (decode(bytes).unwrap_or_else(|e| panic!("{name}: {e}")), &figures[name]);
        assert_eq!(
            (plane.width, plane.height, plane.data.len()),
            (want.width, want.height, want.values.len()),
            "{name}"
        );
        let worst = plane.data.iter().zip(&want.values).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst <= want.tolerance, "{name}: {worst}");
        assert!(plane.data.iter().any(|v| (v - plane.data[0]).abs() > 0.2), "{name} shows something");
    }
}

/// A file in explicit VR little endian: group 2 with `syntax`, then `elements`.
fn write(syntax: &str, elements: &[(Tag, &[u8; 2], Vec<u8>)]) -> Vec<u8> {
    let mut out = vec![0; 128];
    out.extend_from_slice(b"DICM");
    let uid = syntax.bytes().chain((syntax.len() % 2 == 1).then_some(0)).collect();
    for (tag, vr, value) in [((2, 0x10), b"UI", uid)].iter().chain(elements) {
        out.extend(tag.0.to_le_bytes().into_iter().chain(tag.1.to_le_bytes()).chain(vr.iter().copied()));
        if vr[0] == b'O' {
            out.extend([0, 0].into_iter().chain((value.len() as u32).to_le_bytes()));
        } else {
            out.extend((value.len() as u16).to_le_bytes());
        }
        out.extend(value);
    }
    out
}

const EXPLICIT: &str = "1.2.840.10008.1.2.1";

/// An image of 10 x 8 samples of 16 bits; `change` replaces elements or takes them away (an empty value).
fn image(syntax: &str, change: &[(Tag, &[u8; 2], &[u8])]) -> Vec<u8> {
    let two = |v: u16| v.to_le_bytes().to_vec();
    let mut all: BTreeMap<Tag, (&[u8; 2], Vec<u8>)> = BTreeMap::from([
        ((0x0010, 0x0010), (b"PN", b"SECRET^NAME ".to_vec())),
        ((0x0028, 0x0002), (b"US", two(1))),
        ((0x0028, 0x0004), (b"CS", b"MONOCHROME2 ".to_vec())),
        ((0x0028, 0x0010), (b"US", two(8))),
        ((0x0028, 0x0011), (b"US", two(10))),
        ((0x0028, 0x0100), (b"US", two(16))),
        ((0x0028, 0x0101), (b"US", two(12))),
        ((0x0028, 0x0102), (b"US", two(11))),
        ((0x0028, 0x0103), (b"US", two(0))),
        (PIXEL_DATA, (b"OW", (0..80u16).flat_map(|i| (i * 51).to_le_bytes()).collect())),
    ]);
    for (tag, vr, value) in change {
        all.insert(*tag, (vr, value.to_vec()));
    }
    let kept: Vec<_> = all.into_iter().filter(|(_, v)| !v.1.is_empty()).map(|(tag, (vr, v))| (tag, vr, v)).collect();
    write(syntax, &kept)
}

#[test]
fn what_is_not_read_is_refused_by_name() {
    let refused = |bytes: &[u8]| decode(bytes).unwrap_err();
    for (syntax, name) in [
        ("1.2.840.10008.1.2.2", "Explicit VR Big Endian"),
        ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
        ("1.2.840.10008.1.2.4.91", "JPEG 2000 (1.2.840.10008.1.2.4.91)"),
        ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"),
        ("1.2.3", "unknown (1.2.3)"),
    ] {
        let e = refused(&image(syntax, &[]));
        assert!(e.contains("transfer syntax") && e.contains(name), "{e}");
    }
    let us = b"US";
    for (tag, vr, value, needle) in [
        (0x0004, b"CS", &b"RGB "[..], "colour (RGB, 1 samples a pixel)"),
        (0x0004, b"CS", b"PALETTE COLOR ", "PALETTE COLOR"),
        (0x0002, us, &[3, 0], "3 samples a pixel"),
        (0x0008, b"IS", b"12", "multi-frame DICOM (12 frames)"),
        (0x0008, b"IS", b"x ", "number of frames is no number"),
        (0x0010, us, &[0, 0], "10 x 0 pixels; at least 8 x 8"),
        (0x0010, us, &[0xff, 0xff], "truncated DICOM: pixel data of 160 bytes; 1310700 are needed"),
        (0x0010, us, &[], "no rows (0028,0010)"),
        (0x0100, us, &[32, 0], "32 bits allocated"),
        (0x0101, us, &[17, 0], "17 stored"),
        (0x0101, us, &[4, 0], "4 stored"),
        (0x0102, us, &[16, 0], "high bit 16"),
        (0x1053, b"DS", b"0 ", "rescale slope of 0"),
        (0x1053, b"DS", b"1e99", "rescale slope is no number"),
        (0x1056, b"CS", b"CUBIC ", "?"),
    ] {
        // A function without a window has nothing to do.
        let e = decode(&image(EXPLICIT, &[((0x0028, tag), vr, value)]));
        assert!(e.is_ok() == (needle == "?"), "{needle}");
        assert!(e.map_or_else(|e| e, |_| "?".into()).contains(needle), "{needle}");
    }
    let window = |width: &'static [u8], function: &'static [u8]| {
        let w = [
            ((0x0028, 0x1050), b"DS", &b"100 "[..]),
            ((0x0028, 0x1051), b"DS", width),
            ((0x0028, 0x1056), b"CS", function),
        ];
        image(EXPLICIT, &w)
    };
    assert!(refused(&window(b"90", b"CUBIC ")).contains("VOI LUT function \"CUBIC\""));
    assert!(refused(&window(b"0 ", b"")).contains("a window of width 0 around 100"));
    assert!(decode(&window(b".5", b"SIGMOID ")).is_ok() && decode(&window(b".5", b"LINEAR")).is_err());
    assert!(refused(&image(EXPLICIT, &[(PIXEL_DATA, b"OW", &[])])).contains("without pixel data"));
    assert!(refused(&image("1.2.840.10008.1.2.5", &[])).contains("no fragments"));
}

#[test]
fn high_bit_sign_and_padding_of_the_samples() {
    let plain = decode(&image(EXPLICIT, &[])).unwrap();
    assert_eq!((plain.width, plain.height), (10, 8));
    assert!(plain.data.iter().enumerate().all(|(i, v)| (v - (i * 51) as f32 / 4095.0).abs() < 1e-6));
    // The 12 bits stand at the top of the 16, with other things below.
    let raised: Vec<u8> = (0..80u16).flat_map(|i| ((i * 51) << 4 | 9).to_le_bytes()).collect();
    let high = [((0x0028, 0x0102), b"US", &[15, 0][..]), (PIXEL_DATA, b"OW", &raised)];
    assert_eq!(decode(&image(EXPLICIT, &high)).unwrap(), plain);
    // Signed: -2048 is black and 2047 white; the unused bits above may hold anything.
    let values: Vec<u8> = (0..80i16).flat_map(|i| ((i * 51 - 2048) & 0x0fff | 0x5000).to_le_bytes()).collect();
    let signed = [((0x0028, 0x0103), b"US", &[1, 0][..]), (PIXEL_DATA, b"OW", &values)];
    assert_eq!(decode(&image(EXPLICIT, &signed)).unwrap(), plain);
    let inverse = decode(&image(EXPLICIT, &[((0x0028, 0x0004), b"CS", b"MONOCHROME1 ")])).unwrap();
    assert!(inverse.data.iter().zip(&plain.data).all(|(a, b)| (a + b - 1.0).abs() < 1e-6));
}

#[test]
fn everywhere_decode_is_called() {
    let whole = file("linear");
    let decoded = |name: &str, bytes: &[u8]| any::decode(bytes, Path::new(name));
    let plane: Plane = decoded("a.png", whole).unwrap();
    assert_eq!(plane, decode(whole).unwrap());
    assert_eq!(any::format_name(whole, Path::new("a")), "DICOM");
    let e = decoded("x/a.DCM", &whole[132..]).unwrap_err().to_string();
    assert!(e.starts_with("x/a.DCM: a DICOM file by its name"), "{e}");
    assert!(decoded("a.dcm", b"").unwrap_err().to_string().contains("empty file"));
    // A PNG that is called .dcm is a PNG.
    let png = any::tests::png(&image::DynamicImage::ImageLuma8(any::tests::gray(20, 12)));
    assert_eq!(decoded("a.dcm", &png).unwrap().width, 20);
}

#[test]
fn cut_files_are_refused_and_no_message_names_a_patient() {
    for (name, bytes) in files() {
        let whole = decode(bytes).unwrap();
        for n in 0..bytes.len() {
            match decode(&bytes[..n]) {
                // Padding of the pixel data or the mark behind the fragments.
                Ok(p) => assert!(p == whole && n + 16 > bytes.len(), "{name} cut at {n} of {}", bytes.len()),
                Err(e) => {
                    let e = e.to_lowercase();
                    assert!(!e.contains("nobody") && !e.contains("phantom"), "{e}");
                }
            }
        }
    }
    let e = decode(&image(EXPLICIT, &[((0x0028, 0x0004), b"CS", b"RGB ")])).unwrap_err();
    assert!(!e.contains("SECRET"));
}

#[test]
fn lengths_that_lie_cost_nothing() {
    let valid = image(EXPLICIT, &[]);
    let at = valid.windows(4).position(|w| w == [0xe0, 0x7f, 0x10, 0]).unwrap();
    for lie in [0x7fff_ffffu32, u32::MAX, u32::MAX - 1] {
        let mut bytes = valid.clone();
        bytes[at + 8..at + 12].copy_from_slice(&lie.to_le_bytes());
        assert!(decode(&bytes).is_err());
    }
    // Sequences in sequences, deeper than the stack could follow.
    let mut deep = valid[..at].to_vec();
    for _ in 0..100_000 {
        deep.extend([
            0x08, 0, 0x15, 0x11, b'S', b'Q', 0, 0, 0xff, 0xff, 0xff, 0xff, 0xfe, 0xff, 0, 0xe0, 0xff, 0xff, 0xff, 0xff,
        ]);
    }
    assert!(decode(&deep).unwrap_err().contains("deep"));
    // Deflated zeros: 1,000 times as much as the file.
    use std::io::Write;
    let mut writer = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0u8; 1 << 20];
    (0..210).for_each(|_| writer.write_all(&zeros).unwrap());
    let mut bomb = write("1.2.840.10008.1.2.1.99", &[]);
    bomb.extend(writer.finish().unwrap());
    assert!(decode(&bomb).unwrap_err().contains("MB inflated"));
}
