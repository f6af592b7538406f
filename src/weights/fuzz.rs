//! A deterministic mutation fuzzer over every loader: seeded flips, cuts and header rewrites of small valid files. A loader
//! must return, must leave the store as it was when it refuses, and must not accept what the reference implementation
//! refuses. `cargo test --release --lib weights::fuzz -- --ignored` runs it longer (RADIOGRAD_FUZZ mutations a file).

use super::checkpoint::Checkpoint;
use super::file::{Header, Stored};
use super::{LoadOptions, Metadata, Precision, load_with, save_as};
use crate::models::Network;
use crate::nn::ParamStore;
use std::collections::HashSet;
use std::path::Path;

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Numbers that a liar would write.
const LIES: &[&str] = &[
    "0",
    "1",
    "-1",
    "1e3",
    "4294967295",
    "4294967296",
    "2305843009213693951",
    "9223372036854775807",
    "18446744073709551615",
    "18446744073709551616",
    "null",
    "\"\"",
    "[]",
];

/// One mutation of a safetensors file or of any other bytes.
fn mutate(valid: &[u8], header: usize, r: &mut Random) -> Vec<u8> {
    let mut bytes = valid.to_vec();
    match r.below(8) {
        0 => bytes.truncate(r.below(valid.len())),
        1 => bytes.extend((0..1 + r.below(16)).map(|_| 0)),
        2 => bytes[..8].copy_from_slice(&match r.below(4) {
            0 => r.next().to_le_bytes(),
            1 => (valid.len() as u64).to_le_bytes(),
            2 => u64::MAX.to_le_bytes(),
            _ => (r.below(2 * header) as u64).to_le_bytes(),
        }),
        3 | 4 => {
            for _ in 0..1 + r.below(4) {
                let at = 8 + r.below(header);
                bytes[at] = match r.below(3) {
                    0 => bytes[at] ^ (1 << r.below(8)),
                    1 => b"{}[],:\"0129-. "[r.below(14)],
                    _ => r.next() as u8,
                };
            }
        }
        5 | 6 => {
            // A number of the header becomes a lie, and the header's length is true.
            let text = String::from_utf8_lossy(&valid[8..8 + header]).into_owned();
            let digits: Vec<usize> = text.match_indices(|c: char| c.is_ascii_digit()).map(|(i, _)| i).collect();
            if let Some(at) = digits.get(r.below(digits.len())) {
                let end = text[*at..].find(|c: char| !c.is_ascii_digit()).map_or(text.len(), |n| at + n);
                let new = format!("{}{}{}", &text[..*at], LIES[r.below(LIES.len())], &text[end..]);
                bytes = (new.len() as u64).to_le_bytes().to_vec();
                bytes.extend(new.bytes());
                bytes.extend(&valid[8 + header..]);
            }
        }
        _ => {
            for _ in 0..1 + r.below(8) {
                let at = r.below(bytes.len());
                bytes[at] ^= 1 << r.below(8);
            }
        }
    }
    bytes
}

fn header_of(bytes: &[u8]) -> usize {
    u64::from_le_bytes(*bytes.first_chunk().unwrap()) as usize
}

/// Runs `count` mutations of each valid file through each loader; returns how many were accepted and refused.
fn fuzz(count: usize) -> (usize, usize) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("x.safetensors");
    let small = small_store();
    let (mut accepted, mut refused, mut reasons) = (0, 0, HashSet::new());
    for precision in [Precision::F32, Precision::F16] {
        save_as(&path, &small, &Metadata::from([("network".into(), "detl12".into())]), precision).unwrap();
        let valid = std::fs::read(&path).unwrap();
        let mut r = Random(precision as u64 + 1);
        for _ in 0..count {
            let bytes = mutate(&valid, header_of(&valid), &mut r);
            match Header::parse(&bytes) {
                Ok(header) => {
                    let reference = safetensors::SafeTensors::deserialize(&bytes);
                    assert!(reference.is_ok(), "accepted here, refused by the reference: {:?}", reference.err());
                    header.tensors(&bytes).iter().for_each(|t| {
                        let n = t.data.to_f32().map(|v| v.len());
                        assert!(n.is_none_or(|n| n == t.dims.iter().product::<usize>()));
                        assert!(!matches!(t.data, Stored::Foreign(_)));
                    });
                    accepted += 1;
                }
                Err(reason) => {
                    reasons.insert(reason.split(|c: char| c.is_ascii_digit()).next().unwrap_or("").to_string());
                    refused += 1;
                }
            }
        }
        // Through files, where the digest and the names are checked too: fewer, because each is written.
        for _ in 0..count / 8 {
            let bytes = mutate(&valid, header_of(&valid), &mut r);
            std::fs::write(&path, &bytes).unwrap();
            load_or_unchanged(&path, &small);
        }
    }
    assert!(reasons.len() > 10, "the mutations reach every check: {reasons:?}");

    let mut c = Checkpoint::of("detl12", &small);
    c.moments.push(c.params.iter().map(|(n, a)| (n.clone(), a.values.clone())).collect());
    c.counters.insert("seed".into(), 7);
    c.write(&path).unwrap();
    let valid = std::fs::read(&path).unwrap();
    let mut r = Random(3);
    for _ in 0..count / 8 {
        let bytes = mutate(&valid, header_of(&valid), &mut r);
        std::fs::write(&path, &bytes).unwrap();
        match Checkpoint::read(&path) {
            // What survives may differ in names and shapes (the numbers and the state have digests); then it does not fit.
            Ok(back) => {
                let (mut store, before) = (small.clone(), small.digest());
                assert_eq!((&back.counters, &back.config), (&c.counters, &c.config));
                let fits = back.restore(&mut store).is_ok();
                assert_eq!(store.digest(), before, "fits: {fits}");
                accepted += 1;
            }
            Err(_) => refused += 1,
        }
    }
    (accepted, refused)
}

/// A few parameters with all kinds of shapes.
fn small_store() -> ParamStore {
    let mut store = Network::named("detl12").unwrap().init(36, 2, 1);
    store.params.retain(|p| p.shape.elements() <= 600);
    store.params.iter_mut().for_each(|p| p.values.iter_mut().for_each(|v| *v += 0.5));
    store
}

/// A refused file leaves the store as it was.
fn load_or_unchanged(path: &Path, store: &ParamStore) {
    let mut other = store.clone();
    other.params.iter_mut().for_each(|p| p.values.iter_mut().for_each(|v| *v = -*v));
    let before = other.clone();
    if load_with(path, &mut other, &LoadOptions::of("detl12")).is_err() {
        assert_eq!(other, before);
    } else {
        assert!(other.first_non_finite().is_none());
    }
}

#[test]
fn mutated_files_are_refused_and_never_panic() {
    let (accepted, refused) = fuzz(3000);
    assert!(refused > 4 * accepted.max(1), "accepted {accepted}, refused {refused}");
}

#[test]
#[ignore = "takes minutes; RADIOGRAD_FUZZ sets the number of mutations a file"]
fn mutated_files_for_long() {
    let count = std::env::var("RADIOGRAD_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(300_000);
    eprintln!("accepted and refused: {:?}", fuzz(count));
    #[cfg(feature = "hdf5")]
    super::hdf5::tests::fuzz(count / 4);
}

#[test]
fn lies_are_named() {
    let file = |header: &str, data: usize| {
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend(header.bytes());
        bytes.extend(vec![0u8; data]);
        Header::parse(&bytes).map(|_| ()).unwrap_err()
    };
    let one = |dtype: &str, shape: &str, from: u64, to: u64| {
        format!("{{\"a\":{{\"dtype\":\"{dtype}\",\"shape\":{shape},\"data_offsets\":[{from},{to}]}}}}")
    };
    let two = |from: u64| {
        format!(
            "{},{}",
            one("F32", "[2]", 0, 8).trim_end_matches('}').to_owned() + "}",
            &one("F32", "[2]", from, from + 8).replace("\"a\"", "\"b\"")[1..]
        )
    };
    for (header, data, want) in [
        (one("F32", "[2]", 0, 8), 4, "a: its numbers lie from 0 to 8, the file holds 4 bytes"),
        (one("F32", "[2]", 8, 0), 8, "a: its numbers lie from 8 to 0"),
        (one("F32", "[3]", 0, 8), 8, "a: F32 [3] takes 12 bytes, the header gives it 8"),
        (one("F32", "[4294967296,4294967296,4]", 0, 8), 8, "more elements than any memory"),
        (one("F32", "[0,18446744073709551615]", 0, 0), 4, "the tensors take 0 bytes, the file holds 4"),
        (one("F32", "[-1]", 0, 8), 8, "the header is broken"),
        (one("F33", "[2]", 0, 8), 8, "element type 'F33' is unknown"),
        (two(4), 12, "b: its numbers begin at 4 and overlap what comes before, expected was 8"),
        (two(12), 20, "b: its numbers begin at 12 and leave a hole"),
        (two(8), 24, "the tensors take 16 bytes, the file holds 24"),
        (two(8).replace("\"b\"", "\"a\""), 16, "'a' stands there twice"),
        ("{\"__metadata__\":{\"x\":1}}".into(), 0, "the header is broken"),
        ("[]".into(), 0, "does not begin with {"),
        (String::new(), 0, "does not begin with {"),
    ] {
        let e = file(&header, data);
        assert!(e.contains(want), "'{want}' is not in '{e}' for {header}");
    }
    // Eight tensors whose sizes add up beyond 64 bits.
    let huge = (0..8u64).map(|i| {
        let (from, to) = (i.wrapping_mul(1 << 61), (i + 1).wrapping_mul(1 << 61).wrapping_sub(1));
        format!("\"t{i}\":{{\"dtype\":\"U8\",\"shape\":[{}],\"data_offsets\":[{from},{to}]}}", (1u64 << 61) - 1)
    });
    assert!(file(&format!("{{{}}}", huge.collect::<Vec<_>>().join(",")), 0).contains("the file holds 0 bytes"));
    assert!(Header::parse(&[1, 2]).unwrap_err().contains("2 bytes, needed are at least 8"));
    assert!(Header::parse(&u64::MAX.to_le_bytes()).unwrap_err().contains("a header of 18446744073709551615 bytes"));
}
