//! From stored values to gray in `[0, 1]`: modality, then values of interest (PS3.3 C.11.1 and C.11.2).

/// A lookup table (PS3.3 C.11.1.1 and C.11.2.1.1).
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Lut {
    /// The input that the first entry belongs to; what lies below has that entry, too.
    pub first: i32,
    /// Bits of an entry: the largest output is `2^bits - 1`.
    pub bits: u32,
    /// The entries.
    pub entries: Vec<u16>,
}

impl Lut {
    /// From descriptor (entries, first, bits) and the bytes of the data.
    pub fn new(descriptor: [u16; 3], signed: bool, data: &[u8]) -> Result<Lut, String> {
        let count = if descriptor[0] == 0 { 65536 } else { usize::from(descriptor[0]) };
        let first = if signed { i32::from(descriptor[1] as i16) } else { i32::from(descriptor[1]) };
        let bits = u32::from(descriptor[2]);
        if !(8..=16).contains(&bits) {
            return Err(format!("a lookup table of {bits} bits an entry; 8 to 16 are read"));
        }
        let entries: Vec<u16> = if data.len() >= 2 * count {
            data.as_chunks::<2>().0.iter().take(count).map(|b| u16::from_le_bytes(*b)).collect()
        } else if bits == 8 && data.len() >= count {
            data[..count].iter().map(|b| u16::from(*b)).collect()
        } else {
            return Err(format!("damaged DICOM: a lookup table of {count} entries in {} bytes", data.len()));
        };
        Ok(Lut { first, bits, entries })
    }

    fn most(&self) -> f64 {
        f64::from((1u32 << self.bits) - 1)
    }

    fn at(&self, value: f64) -> f64 {
        // What rescaling made of a whole number is rounded; `as` keeps NaN and infinity within the table.
        let index = (value.round() - f64::from(self.first)).clamp(0.0, (self.entries.len() - 1) as f64);
        f64::from(self.entries[index as usize]).min(self.most())
    }
}

/// Stored values to values of the modality.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Modality {
    /// `slope x + intercept`.
    Rescale { slope: f64, intercept: f64 },
    /// A table.
    Lut(Lut),
}

/// Values of interest to `[0, 1]`.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Interest {
    /// Nothing is said: the whole range that can be stored.
    Whole,
    /// C.11.2.1.2.1: `center`, `width` of at least 1.
    Linear { center: f64, width: f64 },
    /// C.11.2.1.3.2.
    LinearExact { center: f64, width: f64 },
    /// C.11.2.1.3.1.
    Sigmoid { center: f64, width: f64 },
    /// A table.
    Lut(Lut),
}

impl Interest {
    /// A window by the name of its function (0028,1056); an empty name is LINEAR.
    pub fn window(function: &str, center: f64, width: f64) -> Result<Interest, String> {
        let least = match function {
            "" | "LINEAR" => 1.0,
            _ => f64::MIN_POSITIVE,
        };
        if !center.is_finite() || !width.is_finite() || width < least {
            return Err(format!("a window of width {width} around {center} cannot be applied"));
        }
        match function {
            "" | "LINEAR" => Ok(Interest::Linear { center, width }),
            "LINEAR_EXACT" => Ok(Interest::LinearExact { center, width }),
            "SIGMOID" => Ok(Interest::Sigmoid { center, width }),
            _ => Err(format!("VOI LUT function {function:?}; LINEAR, LINEAR_EXACT and SIGMOID are read")),
        }
    }
}

/// All that happens to a stored value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Transform {
    pub modality: Modality,
    pub interest: Interest,
    /// MONOCHROME1: the least value is white. Applied last.
    pub invert: bool,
    /// Bits that are stored, 8 to 16.
    pub stored: u32,
    /// Whether stored values are signed.
    pub signed: bool,
}

impl Transform {
    /// Gray in `[0, 1]` of every stored value, from the least one up: at most 65,536 values, computed once instead of
    /// for each pixel.
    pub fn table(&self) -> Vec<f32> {
        let (low, high) = self.range();
        (low..=high).map(|v| self.gray(v)).collect()
    }

    /// The least and the largest value that can be stored.
    pub fn range(&self) -> (i32, i32) {
        let n = 1i32 << self.stored;
        if self.signed { (-n / 2, n / 2 - 1) } else { (0, n - 1) }
    }

    fn modality(&self, stored: i32) -> f64 {
        match &self.modality {
            Modality::Rescale { slope, intercept } => f64::from(stored) * slope + intercept,
            Modality::Lut(lut) => lut.at(f64::from(stored)),
        }
    }

    fn gray(&self, stored: i32) -> f32 {
        let x = self.modality(stored);
        let ramp = |x: f64, center: f64, width: f64| {
            if x <= center - width / 2.0 {
                0.0
            } else if x > center + width / 2.0 {
                1.0
            } else {
                (x - center) / width + 0.5
            }
        };
        let y = match &self.interest {
            Interest::Whole => match &self.modality {
                Modality::Lut(lut) => x / lut.most(),
                Modality::Rescale { slope, .. } => {
                    let (low, high) = self.range();
                    let share = f64::from(stored - low) / f64::from(high - low);
                    // A negative slope makes the largest stored value the least.
                    if *slope < 0.0 { 1.0 - share } else { share }
                }
            },
            Interest::Linear { center, width } => ramp(x, center - 0.5, width - 1.0),
            Interest::LinearExact { center, width } => ramp(x, *center, *width),
            Interest::Sigmoid { center, width } => 1.0 / (1.0 + (-4.0 * (x - center) / width).exp()),
            Interest::Lut(lut) => lut.at(x) / lut.most(),
        };
        let y = if self.invert { 1.0 - y } else { y };
        (y as f32).clamp(0.0, 1.0)
    }
}
