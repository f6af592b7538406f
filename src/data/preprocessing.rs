//! What happens to an image between its file and the network: decoding, gray, size, crop; and the words for it.

use crate::data::decode::{Plane, decode};
use crate::data::resize::{MAX_SIDE, Resize, resize_by};
use crate::error::{Error, Result};
use std::path::Path;

/// The words of the default [`Preprocessing`]; hashed into the cache keys and written into weight files. Any change of
/// decoding or resizing that moves a value must change them.
pub const PREPROCESSING: &str = "radiograd-pre-1: gray by BT.601, EXIF orientation, bilinear with antialias to a square \
                                 (aspect not kept), scaled to [0, 1]";

const BEFORE: &str = "radiograd-pre-1: gray by BT.601, EXIF orientation, ";
const SQUARE: &str = " to a square (aspect not kept)";
const AFTER: &str = ", scaled to [0, 1]";

/// How a decoded image becomes a square of the network's side. The default is what the program did before there was a
/// choice: bilinear with antialias, nothing cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Preprocessing {
    /// Rule of resizing.
    pub resize: Resize,
    /// Pixels that are cut off each side after resizing: an image for a side of 224 with a cut of 38 is resized to
    /// 300 x 300 first. Letters and borders of the film lie there.
    pub cut: usize,
}

impl Preprocessing {
    /// Resizing to `before` x `before`, then the square of `side` x `side` in its middle, as in "resized to 300 x 300 and
    /// cropped to 224 x 224".
    ///
    /// # Errors
    /// [`Error::Usage`] when `side` is larger than `before` or the rest cannot be cut off both sides alike.
    pub fn centre(resize: Resize, before: usize, side: usize) -> Result<Preprocessing> {
        if side > before || !(before - side).is_multiple_of(2) {
            let m = format!("a centre of {side} x {side} in {before} x {before}: an even number of pixels must remain");
            return Err(Error::Usage(m));
        }
        Ok(Preprocessing { resize, cut: (before - side) / 2 })
    }

    /// The words that are hashed into cache keys and digests and written into weight files; those of the default are
    /// [`PREPROCESSING`]. The side is kept beside them.
    pub fn words(&self) -> String {
        let resize = rule(self.resize);
        match self.cut {
            0 => format!("{BEFORE}{resize}{SQUARE}{AFTER}"),
            n => format!("{BEFORE}{resize}{SQUARE}, {n} pixels cut off each side{AFTER}"),
        }
    }

    /// The preprocessing that `words` describe; none where they come from elsewhere or from another version.
    pub fn parse(words: &str) -> Option<Preprocessing> {
        let inner = words.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let (name, rest) = inner.split_once(SQUARE)?;
        let resize = Resize::ALL.into_iter().find(|r| rule(*r) == name)?;
        let cut = match rest {
            "" => 0,
            _ => rest.strip_prefix(", ")?.strip_suffix(" pixels cut off each side")?.parse().ok()?,
        };
        let found = Preprocessing { resize, cut };
        // "+0" and "007" are numbers, too, but not ours.
        (found.words() == words).then_some(found)
    }

    /// Checks that images of `side` x `side` can be made.
    ///
    /// # Errors
    /// [`Error::Usage`].
    pub fn check(&self, side: usize) -> Result<()> {
        let before = self.cut.checked_mul(2).and_then(|c| c.checked_add(side));
        if side > 0 && before.is_some_and(|b| b <= MAX_SIDE) {
            return Ok(());
        }
        let cut =
            if self.cut > 0 { format!(", with {} pixels on each side to cut off", self.cut) } else { String::new() };
        Err(Error::Usage(format!("image side {side}{cut}: 1 to {MAX_SIDE} is possible")))
    }

    /// A decoded plane as `[side, side]` values in `[0, 1]`, row-major.
    ///
    /// # Errors
    /// As [`Preprocessing::check`] and [`resize_by`].
    pub fn square(&self, plane: &Plane, side: usize) -> Result<Vec<f32>> {
        self.check(side)?;
        let before = side + 2 * self.cut;
        let mut all = resize_by(plane, before, self.resize)?;
        if self.cut > 0 {
            for y in 0..side {
                let from = (y + self.cut) * before + self.cut;
                all.copy_within(from..from + side, y * side);
            }
            all.truncate(side * side);
        }
        Ok(all)
    }

    /// The bytes of a file as a plane of `side` x `side` and its stored size: exactly what
    /// [`load_planes`](crate::data::planes::load_planes) does. `name` is for messages.
    ///
    /// # Errors
    /// As [`decode`] and [`Preprocessing::square`].
    pub fn apply(&self, bytes: &[u8], name: &Path, side: usize) -> Result<(Vec<f32>, (u32, u32))> {
        let plane = decode(bytes, name)?;
        Ok((self.square(&plane, side)?, (plane.width as u32, plane.height as u32)))
    }
}

/// How the words say it; never to be changed, for what was cached and trained under them.
fn rule(resize: Resize) -> &'static str {
    match resize {
        Resize::Nearest => "nearest",
        Resize::Bilinear => "bilinear without antialias",
        Resize::BilinearAntialias => "bilinear with antialias",
        Resize::Area => "area",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::resize::resize;

    fn plane(width: usize, height: usize) -> Plane {
        let data = (0..width * height).map(|i| ((i * i * 7 + 3 * i) % 251) as f32 / 250.0).collect();
        Plane { width, height, data }
    }

    #[test]
    fn the_default_words_stay_for_ever() {
        assert_eq!(Preprocessing::default().words(), PREPROCESSING);
        assert_eq!(
            PREPROCESSING,
            "radiograd-pre-1: gray by BT.601, EXIF orientation, bilinear with antialias to a square (aspect not kept), \
             scaled to [0, 1]"
        );
    }

    #[test]
    fn words_tell_all_and_are_read_back() {
        let mut seen = std::collections::HashSet::new();
        for resize in Resize::ALL {
            for cut in [0, 1, 38] {
                let p = Preprocessing { resize, cut };
                assert!(seen.insert(p.words()));
                assert_eq!(Preprocessing::parse(&p.words()), Some(p));
            }
        }
        let p = Preprocessing { cut: 38, ..Preprocessing::default() };
        for words in ["", "ToTensor()", &p.words().replace("38", "038"), &p.words().replace("radiograd-pre-1", "2")] {
            assert_eq!(Preprocessing::parse(words), None, "{words}");
        }
    }

    #[test]
    fn the_centre_is_cut_out_of_the_larger_square() {
        let p = Preprocessing::centre(Resize::BilinearAntialias, 30, 22).unwrap();
        assert_eq!(p.cut, 4);
        let image = plane(61, 47);
        let (large, got) = (resize(&image, 30).unwrap(), p.square(&image, 22).unwrap());
        let want: Vec<f32> = (0..22 * 22).map(|i| large[(i / 22 + 4) * 30 + i % 22 + 4]).collect();
        assert_eq!(got, want);
        assert_eq!(Preprocessing::default().square(&image, 30).unwrap(), large);
        assert_eq!(
            Preprocessing::centre(Resize::Area, 300, 224).unwrap(),
            Preprocessing { resize: Resize::Area, cut: 38 }
        );
        for (before, side) in [(300, 223), (200, 224)] {
            assert_eq!(Preprocessing::centre(Resize::Area, before, side).unwrap_err().exit_code(), 2);
        }
        for cut in [MAX_SIDE, usize::MAX] {
            let e = Preprocessing { cut, ..Preprocessing::default() }.square(&image, 4).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains("to cut off"), "{e}");
        }
    }
}
