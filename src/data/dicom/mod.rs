//! DICOM files of projection radiography (CR, DX, secondary captures) to gray planes; the feature `dicom`.
//!
//! What is read: one frame, MONOCHROME1 or MONOCHROME2, 8 or 16 bits allocated, 8 to 16 stored, signed or not; transfer
//! syntaxes implicit and explicit VR little endian, deflated, run lengths, JPEG baseline and extended (8 bits), JPEG
//! lossless. Others are refused by their names.
//!
//! What is done, in the order of PS3.3 C.11 (and of PS3.4 N.2): modality lookup table or rescaling; VOI lookup table if
//! there is one, else the first window with its function (LINEAR, LINEAR_EXACT, SIGMOID), else the whole range that the
//! stored bits can hold; MONOCHROME1 inverted last, so that dense tissue is bright in every plane.
//!
//! Only the elements that this needs are read; names, numbers and dates of patients are stepped over by their length and
//! neither copied nor printed. The reader is our own ([`elements`]) because the crates for DICOM fill a buffer of the
//! length that an element *claims* before they look whether the file has it, and copy every element.

mod elements;
mod pixels;
mod window;

#[cfg(test)]
pub(super) mod tests;

use crate::data::decode::{MAX_BYTES, Plane, check_size};
use elements::{Element, Elements, Tag, Value, first_item, fragments};
use pixels::Layout;
use std::borrow::Cow;
use std::io::Read;
use window::{Interest, Lut, Modality, Transform};

/// How the pixels are compressed.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Coding {
    Native,
    RunLengths,
    Jpeg,
}

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Syntax {
    explicit: bool,
    deflated: bool,
    coding: Coding,
}

/// Names of transfer syntaxes that are not read (PS3.6 table A-1).
const REFUSED: [(&str, &str); 21] = [
    ("1.2.840.10008.1.2.2", "Explicit VR Big Endian (retired)"),
    ("1.2.840.10008.1.2.4.80", "JPEG-LS Lossless"),
    ("1.2.840.10008.1.2.4.81", "JPEG-LS Near-lossless"),
    ("1.2.840.10008.1.2.4.90", "JPEG 2000 (Lossless Only)"),
    ("1.2.840.10008.1.2.4.91", "JPEG 2000"),
    ("1.2.840.10008.1.2.4.92", "JPEG 2000 Part 2 Multi-component (Lossless Only)"),
    ("1.2.840.10008.1.2.4.93", "JPEG 2000 Part 2 Multi-component"),
    ("1.2.840.10008.1.2.4.94", "JPIP Referenced"),
    ("1.2.840.10008.1.2.4.95", "JPIP Referenced Deflate"),
    ("1.2.840.10008.1.2.4.100", "MPEG2 Main Profile / Main Level"),
    ("1.2.840.10008.1.2.4.101", "MPEG2 Main Profile / High Level"),
    ("1.2.840.10008.1.2.4.102", "MPEG-4 AVC/H.264 High Profile / Level 4.1"),
    ("1.2.840.10008.1.2.4.107", "HEVC/H.265 Main Profile / Level 5.1"),
    ("1.2.840.10008.1.2.4.110", "JPEG XL Lossless"),
    ("1.2.840.10008.1.2.4.111", "JPEG XL JPEG Recompression"),
    ("1.2.840.10008.1.2.4.112", "JPEG XL"),
    ("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000 (Lossless Only)"),
    ("1.2.840.10008.1.2.4.202", "High-Throughput JPEG 2000 with RPCL (Lossless Only)"),
    ("1.2.840.10008.1.2.4.203", "High-Throughput JPEG 2000"),
    ("1.2.840.10008.1.2.7.1", "SMPTE ST 2110-20 Uncompressed Progressive Active Video"),
    ("1.2.840.10008.1.2.8.1", "Deflated Image Frame Compression"),
];

impl Syntax {
    fn of(uid: &str) -> Result<Syntax, String> {
        let native = Syntax { explicit: true, deflated: false, coding: Coding::Native };
        match uid {
            "1.2.840.10008.1.2" => Ok(Syntax { explicit: false, ..native }),
            "1.2.840.10008.1.2.1" => Ok(native),
            "1.2.840.10008.1.2.1.99" => Ok(Syntax { deflated: true, ..native }),
            "1.2.840.10008.1.2.5" => Ok(Syntax { coding: Coding::RunLengths, ..native }),
            // Baseline, extended, lossless, lossless with the first predictor.
            "1.2.840.10008.1.2.4.50"
            | "1.2.840.10008.1.2.4.51"
            | "1.2.840.10008.1.2.4.57"
            | "1.2.840.10008.1.2.4.70" => Ok(Syntax { coding: Coding::Jpeg, ..native }),
            _ => {
                let name = REFUSED.iter().find(|(u, _)| *u == uid).map_or("unknown", |(_, name)| name);
                let uid: String = uid.chars().filter(|c| c.is_ascii_digit() || *c == '.').take(64).collect();
                Err(format!("DICOM in the transfer syntax {name} ({uid}), which is not read"))
            }
        }
    }
}

const TRANSFER_SYNTAX: Tag = (0x0002, 0x0010);
const LUT_DESCRIPTOR: Tag = (0x0028, 0x3002);
const LUT_DATA: Tag = (0x0028, 0x3006);
const PIXEL_DATA: Tag = (0x7fe0, 0x0010);

/// Whether the file has the mark of DICOM behind its preamble.
pub(super) fn marked(bytes: &[u8]) -> bool {
    bytes.get(128..132) == Some(b"DICM")
}

/// Decodes a DICOM file to a gray plane.
///
/// # Errors
/// The reason, without the file's name.
pub(super) fn decode(bytes: &[u8]) -> Result<Plane, String> {
    if !marked(bytes) {
        return Err("a DICOM file by its name, but without the mark DICM behind a preamble of 128 bytes".into());
    }
    let (syntax, data) = meta(&bytes[132..])?;
    let inflated;
    let data = if syntax.deflated {
        inflated = inflate(data)?;
        &inflated
    } else {
        data
    };
    let found = Found::read(data, syntax.explicit)?;
    frame(&found, syntax)
}

/// The transfer syntax, and the data set after the file's own information (group 2, always explicit VR).
fn meta(bytes: &[u8]) -> Result<(Syntax, &[u8]), String> {
    let mut walk = Elements::new(bytes, true);
    let mut syntax = None;
    while walk.peek().is_some_and(|tag| tag.0 == 2) {
        if let Some(Element { tag: TRANSFER_SYNTAX, value: Value::Bytes(uid), .. }) = walk.next()? {
            syntax = Some(Syntax::of(&text(uid))?);
        }
    }
    Ok((syntax.ok_or("damaged DICOM: no transfer syntax is stated")?, &bytes[walk.position()..]))
}

fn inflate(data: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    let mut reader = flate2::read::DeflateDecoder::new(data).take(MAX_BYTES / 2 + 1);
    reader.read_to_end(&mut out).map_err(|e| format!("damaged DICOM: its deflated part cannot be read: {e}"))?;
    if out.len() as u64 > MAX_BYTES / 2 {
        return Err(format!("more than {} MB inflated", MAX_BYTES / 2_000_000));
    }
    Ok(out)
}

/// Characters of a value without padding; other than ASCII is nothing that this module asks for.
fn text(bytes: &[u8]) -> String {
    let ascii = bytes.iter().filter(|b| b.is_ascii_graphic() || **b == b' ').map(|b| char::from(*b));
    ascii.collect::<String>().trim().to_string()
}

/// The elements that decoding needs, still as bytes of the file.
#[derive(Default)]
struct Found<'a> {
    bytes: Vec<(Tag, &'a [u8])>,
    modality_lut: Option<RawLut<'a>>,
    voi_lut: Option<RawLut<'a>>,
    pixels: Option<Value<'a>>,
}

/// Descriptor, whether its VR says signed (or nothing), data.
type RawLut<'a> = ([u16; 3], Option<bool>, &'a [u8]);

impl<'a> Found<'a> {
    fn read(data: &'a [u8], explicit: bool) -> Result<Found<'a>, String> {
        let mut found = Found::default();
        let mut walk = Elements::new(data, explicit);
        while let Some(e) = walk.next()? {
            match (e.tag, e.value) {
                ((0x0028, 0x3000), _) => found.modality_lut = lut(&e, explicit)?,
                ((0x0028, 0x3010), _) => found.voi_lut = lut(&e, explicit)?,
                ((0x0028, 0x0002..=0x1056), Value::Bytes(bytes)) => found.bytes.push((e.tag, bytes)),
                (PIXEL_DATA, value) => {
                    found.pixels = Some(value);
                    break; // what comes after has no use here
                }
                _ => {}
            }
        }
        Ok(found)
    }

    fn get(&self, element: u16) -> Option<&'a [u8]> {
        self.bytes.iter().find(|(tag, _)| tag.1 == element).map(|(_, bytes)| *bytes).filter(|b| !b.is_empty())
    }

    fn number(&self, element: u16) -> Option<u16> {
        self.get(element)?.first_chunk().map(|b| u16::from_le_bytes(*b))
    }

    fn needed(&self, element: u16, name: &str) -> Result<u16, String> {
        self.number(element).ok_or_else(|| format!("damaged DICOM: no {name} (0028,{element:04x})"))
    }

    fn text(&self, element: u16) -> String {
        self.get(element).map(text).unwrap_or_default()
    }

    /// The first of the decimal numbers, if there is one.
    fn decimal(&self, element: u16, name: &str) -> Result<Option<f64>, String> {
        let text = self.text(element);
        let first = text.split('\\').next().unwrap_or_default().trim();
        if first.is_empty() {
            return Ok(None);
        }
        // Within these bounds nothing overflows on the way.
        let number = first.parse().ok().filter(|v: &f64| v.abs() <= 1e15);
        number.map(Some).ok_or_else(|| format!("damaged DICOM: {name} is no number"))
    }
}

/// The first table of a sequence; nothing where the sequence is empty.
fn lut<'a>(sequence: &Element<'a>, explicit: bool) -> Result<Option<RawLut<'a>>, String> {
    let Some(mut item) = first_item(sequence, explicit)? else { return Ok(None) };
    let (mut descriptor, mut data) = (None, None);
    while let Some(e) = item.next()?.filter(|e| e.tag.0 != 0xfffe) {
        match (e.tag, e.value) {
            (LUT_DESCRIPTOR, Value::Bytes(b)) if b.len() >= 6 => {
                let three = [0, 2, 4].map(|i| u16::from_le_bytes([b[i], b[i + 1]]));
                let signed = match &e.vr {
                    b"SS" => Some(true),
                    b"US" => Some(false),
                    _ => None,
                };
                descriptor = Some((three, signed));
            }
            (LUT_DATA, Value::Bytes(b)) => data = Some(b),
            _ => {}
        }
    }
    match (descriptor, data) {
        (Some((three, signed)), Some(data)) => Ok(Some((three, signed, data))),
        _ => Err("damaged DICOM: a lookup table without descriptor or data".into()),
    }
}

/// The one frame of the file.
fn frame(found: &Found, syntax: Syntax) -> Result<Plane, String> {
    let photometric = found.text(0x0004);
    let samples = found.number(0x0002).unwrap_or(1);
    if samples != 1 || !matches!(photometric.as_str(), "MONOCHROME1" | "MONOCHROME2") {
        let name: String = photometric.chars().take(16).collect();
        return Err(format!(
            "DICOM in colour ({name}, {samples} samples a pixel); MONOCHROME1 or MONOCHROME2 is needed"
        ));
    }
    let frames = found.decimal(0x0008, "the number of frames")?.unwrap_or(1.0);
    if frames != 1.0 {
        return Err(format!("multi-frame DICOM ({frames} frames); one frame is needed"));
    }
    let (rows, columns) = (found.needed(0x0010, "rows")?, found.needed(0x0011, "columns")?);
    check_size(columns.into(), rows.into())?;
    let allocated = u32::from(found.needed(0x0100, "bits allocated")?);
    let stored = u32::from(found.needed(0x0101, "bits stored")?);
    let high = found.number(0x0102).map_or(stored.wrapping_sub(1), u32::from);
    if !matches!(allocated, 8 | 16) || !(8..=allocated).contains(&stored) || !(stored - 1..allocated).contains(&high) {
        let m = format!("{allocated} bits allocated, {stored} stored, high bit {high}");
        return Err(format!("DICOM with {m}; 8 or 16 allocated and 8 to 16 stored are read"));
    }
    let signed = found.number(0x0103) == Some(1);
    let transform = transform(found, photometric == "MONOCHROME1", stored, signed)?;

    let layout = Layout { columns: columns.into(), rows: rows.into(), allocated };
    let value = found.pixels.ok_or("DICOM without pixel data (7fe0,0010)")?;
    let samples: Cow<[u8]> = match (syntax.coding, value) {
        (Coding::Native, Value::Bytes(bytes)) => pixels::native(bytes, layout)?,
        (Coding::Native, Value::Items(_)) => return Err("damaged DICOM: fragments in an uncompressed file".into()),
        (_, Value::Bytes(_)) => return Err("damaged DICOM: no fragments in a compressed file".into()),
        (coding, Value::Items(items)) => {
            let parts = fragments(items)?;
            let whole: Cow<[u8]> = if let [one] = parts[..] { one.into() } else { parts.concat().into() };
            if coding == Coding::Jpeg { pixels::jpeg(&whole, layout)? } else { pixels::run_lengths(&whole, layout)? }
        }
    };
    let table = transform.table();
    let (shift, mask) = (high + 1 - stored, table.len() - 1);
    // A signed value v stands at v + 2^(stored - 1) of the table: the sign bit turned over.
    let turn = if signed { table.len() / 2 } else { 0 };
    let gray = |v: u16| table[(usize::from(v >> shift) & mask) ^ turn];
    let data = match allocated {
        8 => samples.iter().map(|v| gray((*v).into())).collect(),
        _ => samples.as_chunks::<2>().0.iter().map(|b| gray(u16::from_le_bytes(*b))).collect(),
    };
    Ok(Plane { width: columns.into(), height: rows.into(), data })
}

/// What happens to the values.
fn transform(found: &Found, invert: bool, stored: u32, signed: bool) -> Result<Transform, String> {
    let modality = match found.modality_lut {
        Some((descriptor, sign, data)) => Modality::Lut(Lut::new(descriptor, sign.unwrap_or(signed), data)?),
        None => {
            let slope = found.decimal(0x1053, "the rescale slope")?.unwrap_or(1.0);
            let intercept = found.decimal(0x1052, "the rescale intercept")?.unwrap_or(0.0);
            if slope == 0.0 {
                return Err("a rescale slope of 0 makes all pixels one".into());
            }
            Modality::Rescale { slope, intercept }
        }
    };
    let window = (found.decimal(0x1050, "the window's centre")?, found.decimal(0x1051, "the window's width")?);
    let interest = match (found.voi_lut, window) {
        (Some((descriptor, sign, data)), _) => Interest::Lut(Lut::new(descriptor, sign.unwrap_or(signed), data)?),
        (None, (Some(center), Some(width))) => Interest::window(&found.text(0x1056), center, width)?,
        _ => Interest::Whole,
    };
    Ok(Transform { modality, interest, invert, stored, signed })
}
