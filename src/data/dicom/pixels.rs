//! The samples of one frame: native, run-length encoded (PS3.5 annex G), JPEG.

use crate::data::decode::{MAX_BYTES, jpeg_complete};
use std::borrow::Cow;

/// How the samples of a frame are stored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Layout {
    pub columns: usize,
    pub rows: usize,
    /// 8 or 16.
    pub allocated: u32,
}

impl Layout {
    fn pixels(&self) -> usize {
        self.columns * self.rows
    }

    fn bytes(&self) -> usize {
        self.pixels() * (self.allocated / 8) as usize
    }
}

/// Uncompressed samples, little endian.
pub(super) fn native<'a>(bytes: &'a [u8], layout: Layout) -> Result<Cow<'a, [u8]>, String> {
    let short = || format!("truncated DICOM: pixel data of {} bytes; {} are needed", bytes.len(), layout.bytes());
    bytes.get(..layout.bytes()).map(Cow::Borrowed).ok_or_else(short)
}

/// Run-length encoded samples: for 16 bits one segment with the high bytes and one with the low ones.
pub(super) fn run_lengths(bytes: &[u8], layout: Layout) -> Result<Cow<'static, [u8]>, String> {
    let word = |i: usize| {
        let b = bytes.get(4 * i..4 * i + 4).ok_or("truncated DICOM: no header of the run lengths")?;
        Ok::<usize, String>(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    };
    let planes = (layout.allocated / 8) as usize;
    if word(0)? != planes {
        return Err(format!("damaged DICOM: {} segments of run lengths; {planes} are needed", word(0)?));
    }
    let mut out = vec![0; layout.bytes()];
    for segment in 0..planes {
        let end = if segment + 1 < planes { word(segment + 2)? } else { bytes.len() };
        let packed =
            bytes.get(word(segment + 1)?..end).ok_or("damaged DICOM: a segment of run lengths lies outside")?;
        // The most significant byte comes first, samples are little endian.
        let target = out[planes - 1 - segment..].iter_mut().step_by(planes);
        unpack(packed, target)?;
    }
    Ok(Cow::Owned(out))
}

/// PackBits into `target`; what comes after the last pixel is padding.
fn unpack<'t>(packed: &[u8], mut target: impl ExactSizeIterator<Item = &'t mut u8>) -> Result<(), String> {
    let missing = || "truncated DICOM: run lengths for fewer pixels than the image has".to_string();
    let mut at = 0;
    while target.len() > 0 {
        let head = *packed.get(at).ok_or_else(missing)? as i8;
        at += 1;
        if head >= 0 {
            let n = head as usize + 1;
            let literal = packed.get(at..at + n).ok_or_else(missing)?;
            target.by_ref().zip(literal).for_each(|(t, v)| *t = *v);
            at += n;
        } else if head != -128 {
            let value = *packed.get(at).ok_or_else(missing)?;
            target.by_ref().take((1 - isize::from(head)) as usize).for_each(|t| *t = value);
            at += 1;
        }
    }
    Ok(())
}

/// Bytes that the decoder of lossless JPEG holds for each pixel.
const LOSSLESS_BYTES: u64 = 6;

/// One JPEG image (baseline or extended of 8 bits, lossless of up to 16): samples of `layout.allocated` bits, little endian.
pub(super) fn jpeg(bytes: &[u8], layout: Layout) -> Result<Cow<'static, [u8]>, String> {
    use jpeg_decoder::{CodingProcess, Decoder, PixelFormat};
    let damaged = |e: jpeg_decoder::Error| format!("damaged DICOM: its JPEG image cannot be read: {e}");
    jpeg_complete(bytes)?;
    let mut decoder = Decoder::new(bytes);
    decoder.read_info().map_err(damaged)?;
    let info = decoder.info().ok_or("damaged DICOM: its JPEG image has no header")?;
    if (usize::from(info.width), usize::from(info.height)) != (layout.columns, layout.rows) {
        let m = format!("{} x {}; {} x {} are stated", info.width, info.height, layout.columns, layout.rows);
        return Err(format!("damaged DICOM: its JPEG image has {m}"));
    }
    let wide = match info.pixel_format {
        PixelFormat::L8 => false,
        PixelFormat::L16 => true,
        _ => return Err("a colour JPEG image; gray is needed".into()),
    };
    if info.coding_process == CodingProcess::Lossless && layout.pixels() as u64 * LOSSLESS_BYTES > MAX_BYTES {
        let most = MAX_BYTES / LOSSLESS_BYTES / 1_000_000;
        return Err(format!(
            "lossless JPEG of {} x {}; at most {most} megapixels are read",
            layout.columns, layout.rows
        ));
    }
    let samples = decoder.decode().map_err(damaged)?;
    if samples.len() != layout.pixels() * if wide { 2 } else { 1 } {
        return Err("damaged DICOM: its JPEG image has another number of samples than pixels".into());
    }
    let out: Vec<u8> = match (wide, layout.allocated) {
        (false, 8) => samples,
        (false, _) => samples.into_iter().flat_map(|v| [v, 0]).collect(),
        // The decoder writes numbers as this machine has them.
        (true, 16) => samples.as_chunks::<2>().0.iter().flat_map(|b| u16::from_ne_bytes(*b).to_le_bytes()).collect(),
        (true, n) => return Err(format!("damaged DICOM: a JPEG image of more than 8 bits where {n} are allocated")),
    };
    Ok(Cow::Owned(out))
}
