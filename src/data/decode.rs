//! One image file to one gray plane in `[0, 1]`.
//!
//! What is read: PNG (1 to 16 bits; gray, gray + alpha, RGB, RGBA, palette) and JPEG (gray, YCbCr, RGB, CMYK), told apart
//! by their first bytes and not by the file's name; with the feature `dicom` also DICOM, by its mark or the name's ending
//! `.dcm`. The EXIF orientation is applied. Colour becomes gray by the ITU-R
//! BT.601 luma `0.299 R + 0.587 G + 0.114 B`, with Pillow's integer form `(19595 R + 38470 G + 7471 B + 32768) >> 16`,
//! so that an RGB file with three equal channels keeps its values exactly. Alpha is ignored, not composited: X-ray files
//! carry it by accident, and a background colour would invent pixels. 8 bits are divided by 255, 16 bits by 65,535.
//!
//! Nothing in a file may make this panic or allocate more than the stated limits.

use crate::error::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::io::Cursor;
use std::path::Path;

/// Most pixels that are decoded; a larger header is refused before anything is allocated.
pub const MAX_PIXELS: u64 = 100_000_000;
/// Most bytes that one decoded image may take (100 megapixels of 16-bit gray + alpha, or 8-bit RGBA).
pub const MAX_BYTES: u64 = 400_000_000;
/// Fewest pixels on either side: below it there is no radiograph to see.
pub const MIN_SIDE: u32 = 8;

/// What DICOM files' names end in.
const DICOM: &str = "dcm";

/// What the names of images end in, for listing folders. DICOM is there with or without the feature `dicom`: a message that the
/// feature is missing helps more than a folder that seems empty.
const EXTENSIONS: [&str; 4] = ["png", "jpg", "jpeg", DICOM];

/// Whether a file of this name is taken for an image when a folder is listed.
pub(crate) fn has_image_name(name: &Path) -> bool {
    name.extension().is_some_and(|ext| EXTENSIONS.iter().any(|e| ext.eq_ignore_ascii_case(e)))
}

/// A gray image: `height` rows of `width` values in `[0, 1]`, top row first.
#[derive(Clone, Debug, PartialEq)]
pub struct Plane {
    /// Columns.
    pub width: usize,
    /// Rows.
    pub height: usize,
    /// `[height, width]`, row-major.
    pub data: Vec<f32>,
}

/// Decodes the bytes of an image file to a gray plane; `name` (the path as the manifest has it) is for messages, and an
/// ending `.dcm` says what a file without a mark is meant to be.
///
/// # Errors
/// [`Error::Format`] naming the file when it is empty, no PNG, JPEG or DICOM, truncated, damaged, smaller than [`MIN_SIDE`] or
/// larger than [`MAX_PIXELS`].
pub fn decode(bytes: &[u8], name: &Path) -> Result<Plane> {
    // A decoder that panics on hostile bytes is still only a bad file: it must not end a run of hours.
    match std::panic::catch_unwind(|| decode_inner(bytes, name)) {
        Ok(Ok(plane)) => Ok(plane),
        Ok(Err(reason)) => Err(Error::format(name, reason)),
        Err(_) => Err(Error::format(name, "damaged: the decoder failed on it")),
    }
}

/// As [`decode`], with the bare reason.
pub(crate) fn decode_inner(bytes: &[u8], name: &Path) -> Result<Plane, String> {
    let format = match sniff(bytes) {
        // An empty file is an empty file, whatever it is called.
        Err(_) if !bytes.is_empty() && is_dicom(bytes, name) => return decode_dicom(bytes),
        other => other?,
    };
    if format == ImageFormat::Jpeg {
        jpeg_complete(bytes)?;
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(|e| format!("damaged {}: {e}", kind(format)))?;
    let (w, h) = decoder.dimensions();
    check_size(w, h)?;
    if decoder.total_bytes() > MAX_BYTES {
        return Err(format!(
            "{} MB decoded; at most {} MB are read",
            decoder.total_bytes() / 1_000_000,
            MAX_BYTES / 1_000_000
        ));
    }
    // An unreadable EXIF block is no reason to lose the image: it counts as upright.
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(|e| format!("damaged {}: {e}", kind(format)))?;
    image.apply_orientation(orientation);
    Ok(to_gray(&image))
}

/// Whether an image of this size is decoded.
pub(crate) fn check_size(w: u32, h: u32) -> Result<(), String> {
    if u64::from(w) * u64::from(h) > MAX_PIXELS {
        return Err(format!("{w} x {h} pixels; at most {} megapixels are read", MAX_PIXELS / 1_000_000));
    }
    if w < MIN_SIDE || h < MIN_SIDE {
        return Err(format!("{w} x {h} pixels; at least {MIN_SIDE} x {MIN_SIDE} are needed"));
    }
    Ok(())
}

/// "PNG", "JPEG" or "DICOM": what [`decode`] takes the bytes for.
pub(crate) fn format_name(bytes: &[u8], name: &Path) -> &'static str {
    match sniff(bytes) {
        Ok(format) => kind(format),
        Err(_) if is_dicom(bytes, name) => "DICOM",
        Err(_) => "unknown",
    }
}

/// By the mark behind the preamble, or by the name's ending.
fn is_dicom(bytes: &[u8], name: &Path) -> bool {
    bytes.get(128..132) == Some(b"DICM") || name.extension().is_some_and(|e| e.eq_ignore_ascii_case(DICOM))
}

#[cfg(feature = "dicom")]
fn decode_dicom(bytes: &[u8]) -> Result<Plane, String> {
    super::dicom::decode(bytes)
}

#[cfg(not(feature = "dicom"))]
fn decode_dicom(_: &[u8]) -> Result<Plane, String> {
    Err("a DICOM file: radiograd must be built with `--features dicom` to read it".into())
}

fn kind(format: ImageFormat) -> &'static str {
    if format == ImageFormat::Png { "PNG" } else { "JPEG" }
}

/// The format by the first bytes; a message that helps for what people have instead.
fn sniff(bytes: &[u8]) -> Result<ImageFormat, String> {
    match bytes {
        [] => Err("empty file (0 bytes)".into()),
        [0x89, b'P', b'N', b'G', ..] => Ok(ImageFormat::Png),
        [0xff, 0xd8, 0xff, ..] => Ok(ImageFormat::Jpeg),
        [0x1f, 0x8b, ..] => Err("a gzip file; PNG or JPEG is needed".into()),
        [b'G', b'I', b'F', b'8', ..] => Err("a GIF file; PNG or JPEG is needed".into()),
        [b'<', ..] => Err("a text or HTML file; PNG or JPEG is needed".into()),
        _ => Err(format!("neither PNG nor JPEG ({} bytes)", bytes.len())),
    }
}

/// Walks the segments of a JPEG to its end marker. The decoder itself fills what is missing with gray and says nothing,
/// which would put half an image into the training set.
pub(crate) fn jpeg_complete(bytes: &[u8]) -> Result<(), String> {
    let truncated =
        |at: usize| format!("truncated JPEG: no end marker within its {} bytes (stopped at byte {at})", bytes.len());
    let mut at = 2;
    loop {
        // To the next marker: anything that is not 0xff is padding (or junk) between segments.
        while *bytes.get(at).ok_or_else(|| truncated(at))? != 0xff {
            at += 1;
        }
        while *bytes.get(at).ok_or_else(|| truncated(at))? == 0xff {
            at += 1;
        }
        let marker = bytes[at];
        at += 1;
        match marker {
            0xd9 => return Ok(()),
            0x00 | 0x01 | 0xd0..=0xd8 => continue, // stuffed byte, TEM, restart, start: no length follows
            _ => {
                let len = bytes.get(at..at + 2).ok_or_else(|| truncated(at))?;
                let len = usize::from(len[0]) << 8 | usize::from(len[1]);
                if len < 2 {
                    return Err(format!("damaged JPEG: a segment of length {len} at byte {at}"));
                }
                // After a start of scan (0xda) come entropy-coded bytes; the loops above skip them, as 0xff is
                // always followed by 0x00 or a restart marker there.
                at += len;
            }
        }
    }
}

/// BT.601 luma, 16 fractional bits, rounded: Pillow's `convert("L")`.
fn luma(r: u16, g: u16, b: u16) -> u32 {
    let sum = 19595 * u64::from(r) + 38470 * u64::from(g) + 7471 * u64::from(b) + 0x8000;
    (sum >> 16) as u32
}

fn to_gray(image: &DynamicImage) -> Plane {
    let (width, height) = (image.width() as usize, image.height() as usize);
    let b8 = |v: u32| v as f32 / 255.0;
    let b16 = |v: u32| v as f32 / 65535.0;
    let l8 = |p: &[u8]| b8(luma(p[0].into(), p[1].into(), p[2].into()));
    let l16 = |p: &[u16]| b16(luma(p[0], p[1], p[2]));
    let data: Vec<f32> = match image {
        DynamicImage::ImageLuma8(i) => i.as_raw().iter().map(|&v| b8(v.into())).collect(),
        DynamicImage::ImageLumaA8(i) => i.as_raw().chunks_exact(2).map(|p| b8(p[0].into())).collect(),
        DynamicImage::ImageRgb8(i) => i.as_raw().chunks_exact(3).map(l8).collect(),
        DynamicImage::ImageRgba8(i) => i.as_raw().chunks_exact(4).map(l8).collect(),
        DynamicImage::ImageLuma16(i) => i.as_raw().iter().map(|&v| b16(v.into())).collect(),
        DynamicImage::ImageLumaA16(i) => i.as_raw().chunks_exact(2).map(|p| b16(p[0].into())).collect(),
        DynamicImage::ImageRgb16(i) => i.as_raw().chunks_exact(3).map(l16).collect(),
        DynamicImage::ImageRgba16(i) => i.as_raw().chunks_exact(4).map(l16).collect(),
        // No PNG or JPEG decodes to anything else (the enum is open, so the compiler cannot know).
        other => other.to_rgb16().as_raw().chunks_exact(3).map(l16).collect(),
    };
    Plane { width, height, data }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{GrayImage, ImageBuffer, Luma, LumaA, Rgb, Rgba};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    /// A gradient with an edge, so that orientation and damage show.
    pub(crate) fn gray(w: u32, h: u32) -> GrayImage {
        GrayImage::from_fn(w, h, |x, y| Luma([((x * 5 + y * 3) % 200 + if x > w / 2 { 40 } else { 0 }) as u8]))
    }

    pub(crate) fn png(image: &DynamicImage) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        image.write_to(&mut out, ImageFormat::Png).unwrap();
        out.into_inner()
    }

    pub(crate) fn jpeg(image: &DynamicImage) -> Vec<u8> {
        let mut out = Vec::new();
        JpegEncoder::new_with_quality(&mut out, 90).encode_image(image).unwrap();
        out
    }

    fn get(bytes: &[u8]) -> Result<Plane> {
        decode(bytes, Path::new("images/a.png"))
    }

    #[test]
    fn every_colour_type_and_depth_of_png_gives_the_same_gray() {
        let g = gray(20, 12);
        let want: Vec<f32> = g.as_raw().iter().map(|&v| f32::from(v) / 255.0).collect();
        let up = |v: u8| u16::from(v) * 257;
        let all = [
            DynamicImage::ImageLuma8(g.clone()),
            DynamicImage::ImageLumaA8(ImageBuffer::from_fn(20, 12, |x, y| LumaA([g.get_pixel(x, y)[0], 7]))),
            DynamicImage::ImageRgb8(ImageBuffer::from_fn(20, 12, |x, y| Rgb([g.get_pixel(x, y)[0]; 3]))),
            DynamicImage::ImageRgba8(ImageBuffer::from_fn(20, 12, |x, y| {
                let v = g.get_pixel(x, y)[0];
                Rgba([v, v, v, (x * 12) as u8])
            })),
            DynamicImage::ImageLuma16(ImageBuffer::from_fn(20, 12, |x, y| Luma([up(g.get_pixel(x, y)[0])]))),
            DynamicImage::ImageLumaA16(ImageBuffer::from_fn(20, 12, |x, y| LumaA([up(g.get_pixel(x, y)[0]), 9]))),
            DynamicImage::ImageRgb16(ImageBuffer::from_fn(20, 12, |x, y| Rgb([up(g.get_pixel(x, y)[0]); 3]))),
            DynamicImage::ImageRgba16(ImageBuffer::from_fn(20, 12, |x, y| {
                let v = up(g.get_pixel(x, y)[0]);
                Rgba([v, v, v, 100])
            })),
        ];
        for image in &all {
            let p = get(&png(image)).unwrap();
            assert_eq!((p.width, p.height), (20, 12));
            let worst = p.data.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(worst < 1e-6, "{:?}: {worst}", image.color());
        }
        let p = get(&jpeg(&all[0])).unwrap();
        let worst = p.data.iter().zip(&want).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(worst > 0.0 && worst < 0.12, "JPEG at quality 90 differs by {worst}");
    }

    #[test]
    fn palette_png_and_bt601_luma() {
        // 8 x 8, 1 bit, palette (200, 100, 50) and black: written by hand, as the encoder has no palette.
        // zlib stream, one stored block: 8 rows of filter byte + one byte of 8 pixels (alternating index 0, 1).
        let raw: Vec<u8> = (0..8).flat_map(|_| [0u8, 0b0101_0101]).collect();
        let bytes = raw_png(8, 8, 1, 3, &[(b"PLTE", &[200, 100, 50, 0, 0, 0]), (b"IDAT", &zlib_stored(&raw))]);
        let p = get(&bytes).unwrap();
        // Pillow: Image.new("RGB", (1, 1), (200, 100, 50)).convert("L").getpixel((0, 0)) == 124
        assert_eq!(p.data[0], 124.0 / 255.0);
        assert_eq!(p.data[1], 0.0);
    }

    /// A PNG with the given header and chunks, checksums right.
    fn raw_png(w: u32, h: u32, depth: u8, colour: u8, chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut head = [w.to_be_bytes(), h.to_be_bytes()].concat();
        head.extend_from_slice(&[depth, colour, 0, 0, 0]);
        let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
        for (name, data) in [(b"IHDR", &head[..])].iter().chain(chunks).chain(&[(b"IEND", &[][..])]) {
            out.extend_from_slice(&(data.len() as u32).to_be_bytes());
            let start = out.len();
            out.extend_from_slice(*name);
            out.extend_from_slice(data);
            let crc = crc32(&out[start..]);
            out.extend_from_slice(&crc.to_be_bytes());
        }
        out
    }

    pub(crate) fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0u32, |c, &b| {
            (0..8).fold(c ^ u32::from(b), |c, _| if c & 1 == 1 { c >> 1 ^ 0xedb8_8320 } else { c >> 1 })
        })
    }

    fn zlib_stored(raw: &[u8]) -> Vec<u8> {
        let len = raw.len() as u16;
        let (a, b) = raw.iter().fold((1u32, 0u32), |(a, b), &v| {
            let a = (a + u32::from(v)) % 65521;
            (a, (b + a) % 65521)
        });
        let mut out = vec![0x78, 0x01, 1];
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(raw);
        out.extend_from_slice(&(b << 16 | a).to_be_bytes());
        out
    }

    #[test]
    fn exif_orientation_is_applied() {
        let image = DynamicImage::ImageLuma8(gray(16, 24));
        let plain = jpeg(&image);
        let upright = get(&plain).unwrap();
        // APP1 with a big-endian TIFF of one entry: tag 0x0112 (orientation), SHORT, 1, value 6 = rotate 90 clockwise.
        let mut app1 = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0".to_vec();
        let mut turned = plain[..2].to_vec();
        turned.extend_from_slice(&[0xff, 0xe1]);
        turned.extend_from_slice(&((app1.len() + 2) as u16).to_be_bytes());
        turned.append(&mut app1);
        turned.extend_from_slice(&plain[2..]);
        let p = get(&turned).unwrap();
        assert_eq!((p.width, p.height), (24, 16));
        for y in 0..16 {
            for x in 0..24 {
                assert_eq!(p.data[y * 24 + x], upright.data[(23 - x) * 16 + y]);
            }
        }
    }

    #[test]
    fn bad_files_are_named_and_explained() {
        let tiny = png(&DynamicImage::ImageLuma8(gray(1, 1)));
        let mut dicom = vec![0u8; 128];
        dicom.extend_from_slice(b"DICM");
        for (bytes, needle) in [
            (&b""[..], "empty file"),
            (b"<html>404</html>", "HTML"),
            (
                &dicom,
                if cfg!(feature = "dicom") { "no transfer syntax" } else { "must be built with `--features dicom`" },
            ),
            (&tiny, "1 x 1 pixels"),
            (b"\x89PNG\r\n\x1a\n", "damaged PNG"),
            (b"\xff\xd8\xff\xe0", "truncated JPEG"),
            (b"hello", "neither PNG nor JPEG"),
        ] {
            let e = get(bytes).unwrap_err();
            assert!(matches!(&e, Error::Format { path, .. } if path == Path::new("images/a.png")));
            assert!(e.to_string().contains(needle) && e.exit_code() == 5, "{e}");
        }
    }

    #[test]
    fn headers_that_lie_are_refused_before_allocation() {
        for (w, h, needle) in [(40_000, 40_000, "megapixels"), (u32::MAX, u32::MAX, ""), (0, 5, ""), (9000, 9000, "")] {
            let bytes = raw_png(w, h, 16, 6, &[(b"IDAT", &zlib_stored(&[0; 16]))]);
            let e = get(&bytes).unwrap_err().to_string();
            assert!(e.contains(needle), "{e}");
        }
        // A JPEG whose frame header claims 65,500 x 65,500.
        let mut bytes = jpeg(&DynamicImage::ImageLuma8(gray(16, 16)));
        let sof = bytes.windows(2).position(|m| m == [0xff, 0xc0]).unwrap();
        bytes[sof + 5..sof + 9].copy_from_slice(&[0xff, 0xdc, 0xff, 0xdc]);
        assert!(get(&bytes).unwrap_err().to_string().contains("megapixels"));
    }

    #[test]
    fn a_truncated_file_is_an_error_or_the_whole_image_never_half_of_it() {
        let image = DynamicImage::ImageLuma8(gray(61, 47));
        for bytes in [png(&image), jpeg(&image)] {
            let whole = get(&bytes).unwrap();
            let mut refused = 0;
            for n in 0..bytes.len() {
                match get(&bytes[..n]) {
                    Ok(p) => assert_eq!(p, whole, "cut at {n} of {}", bytes.len()),
                    Err(e) => {
                        assert_eq!(e.exit_code(), 5);
                        refused += 1;
                    }
                }
            }
            assert!(refused + 16 >= bytes.len(), "only {refused} of {} lengths were refused", bytes.len());
        }
    }

    #[test]
    fn flipped_and_random_bytes_never_panic() {
        let mut rng = StdRng::seed_from_u64(7);
        let image = DynamicImage::ImageRgb8(DynamicImage::ImageLuma8(gray(40, 33)).to_rgb8());
        for good in [png(&image), jpeg(&image)] {
            for _ in 0..600 {
                let mut bytes = good.clone();
                for _ in 0..1 + rng.next_u32() % 6 {
                    let at = rng.next_u32() as usize % bytes.len();
                    bytes[at] = rng.next_u32() as u8;
                }
                // The inner function, without the net below it: a panic of a decoder would fail the test.
                if let Ok(p) = decode_inner(&bytes, Path::new("a")) {
                    assert_eq!(p.data.len(), p.width * p.height);
                    assert!(p.data.iter().all(|v| (0.0..=1.0).contains(v)));
                }
            }
        }
        for n in 0..300usize {
            let mut bytes = vec![0u8; n];
            rng.fill_bytes(&mut bytes);
            if n > 8 {
                let magic: &[u8] = if n % 2 == 0 { b"\x89PNG\r\n\x1a\n" } else { b"\xff\xd8\xff\xe0" };
                bytes[..magic.len()].copy_from_slice(magic);
            }
            assert!(decode_inner(&bytes, Path::new("a")).is_err());
        }
    }
}
