//! Augmentation in words: `rotation=10,mirror,noise=0.02`, or the name of a paper's; and in configuration files.

use super::{AugmentOptions, Border};
use crate::error::{Error, Result};
use crate::names::nearest;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// Names of augmentations and what they are; the first changes nothing.
pub const PRESETS: [(&str, AugmentOptions); 6] = [
    ("none", AugmentOptions::NONE),
    ("detl", AugmentOptions::DETL),
    ("hernandez", AugmentOptions::HERNANDEZ),
    ("balvinsson", AugmentOptions::BALVINSSON),
    ("zhong", AugmentOptions::ZHONG),
    ("gao-wang", AugmentOptions::GAO_WANG),
];

impl AugmentOptions {
    /// Basu & Mitra, "Deep Learning for Screening COVID-19 using Chest X-Ray Images", arXiv:2004.10507: rotation, scaling and
    /// mirroring. The paper gives no ranges; these are modest, and a little shift and brightness is ours.
    pub const DETL: AugmentOptions = AugmentOptions {
        rotation_degrees: 10.0,
        scale: 0.1,
        shift: 0.05,
        mirror: true,
        brightness: 0.05,
        ..AugmentOptions::NONE
    };

    /// Hernandez, Pereira & Georgieva (2020), §II.B: cropping, horizontal flipping and Gaussian noise (with OpenCV). The paper gives
    /// no ranges; these are modest.
    pub const HERNANDEZ: AugmentOptions =
        AugmentOptions { crop: 0.1, mirror: true, noise: 0.02, ..AugmentOptions::NONE };

    /// Balvinsson et al. (KTH, 2020), §3: Keras' `ImageDataGenerator` with shifts of 20 %, zoom of 10 % and rotation up to 50
    /// degrees, no flip and no brightness; border as Keras' default. One factor for both axes: Keras draws one for each.
    pub const BALVINSSON: AugmentOptions =
        AugmentOptions { rotation_degrees: 50.0, scale: 0.1, shift: 0.2, ..AugmentOptions::NONE };

    /// Zhong (2020), §3.2: horizontal flip, brightness, contrast, saturation and cropping, all by chance. The paper gives no
    /// ranges; these are modest. On gray images saturation changes nothing.
    pub const ZHONG: AugmentOptions = AugmentOptions {
        mirror: true,
        brightness: 0.1,
        contrast: 0.1,
        saturation: 0.1,
        crop: 0.1,
        ..AugmentOptions::NONE
    };

    /// Gao & Wang (2020), §3: scale, shift, rotation, salt-and-pepper noise and flip. The paper gives no ranges; these are modest.
    pub const GAO_WANG: AugmentOptions = AugmentOptions {
        rotation_degrees: 10.0,
        scale: 0.1,
        shift: 0.1,
        mirror: true,
        salt_pepper: 0.01,
        ..AugmentOptions::NONE
    };

    /// The augmentation of that name among [`PRESETS`].
    pub fn preset(name: &str) -> Option<AugmentOptions> {
        PRESETS.iter().find(|p| p.0 == name).map(|p| p.1)
    }

    /// Reads `rotation=10,scale=0.1,shift=0.05,mirror,noise=0.02,salt-pepper=0.01,fill=reflect`, or a name of [`PRESETS`], or such
    /// a name and what is to be other than there: `zhong,noise=0.02,mirror=no`. What is not named is 0; `fill` is `nearest`,
    /// `reflect` or a number from 0 (black) to 1 (white). Display writes what this reads.
    ///
    /// # Errors
    /// [`Error::Usage`] with the names nearest to an unknown one, for a name given twice, and for values out of range.
    pub fn parse(text: &str) -> Result<AugmentOptions> {
        let mut all = AugmentOptions::NONE;
        let mut seen: Vec<&str> = Vec::new();
        let of = |m: String| Error::Usage(format!("augmentation '{text}': {m}"));
        for (i, item) in text.split(',').map(str::trim).enumerate() {
            let (name, value) = match item.split_once('=') {
                Some((name, value)) => (name.trim(), Some(value.trim())),
                None => (item, None),
            };
            if let (0, None, Some(preset)) = (i, value, AugmentOptions::preset(name)) {
                all = preset;
                continue;
            }
            if seen.contains(&name) {
                return Err(of(format!("{name} is given twice")));
            }
            seen.push(name);
            all.set(name, value, i == 0).map_err(of)?;
        }
        all.check()?;
        Ok(all)
    }

    /// Sets what `name` names; the `first` of a list can also be a preset's name.
    fn set(&mut self, name: &str, value: Option<&str>, first: bool) -> std::result::Result<(), String> {
        if name == "mirror" {
            self.mirror = match value {
                None | Some("yes" | "true") => true,
                Some("no" | "false") => false,
                Some(other) => return Err(format!("mirror is yes or no, given was '{other}'")),
            };
            return Ok(());
        }
        let given = || value.filter(|v| !v.is_empty()).ok_or_else(|| format!("{name} needs a value, as in {name}=0.1"));
        if name == "fill" {
            self.fill = given()?.parse()?;
            return Ok(());
        }
        match self.numbers().into_iter().find(|n| n.0 == name) {
            Some((_, place)) => {
                let text = given()?;
                *place = text.parse().map_err(|_| format!("{name} is no number: '{text}'"))?;
                Ok(())
            }
            None if name.is_empty() => {
                Err("there is nothing between two commas, or nothing at all; 'none' is a name".into())
            }
            None => {
                let presets = PRESETS.iter().map(|p| p.0).filter(|_| first && value.is_none());
                let names: Vec<&str> = Self::NAMES.into_iter().chain(presets).collect();
                Err(format!("there is no '{name}'; {}", nearest(name, &names)))
            }
        }
    }

    /// What [`AugmentOptions::parse`] knows, in the order in which it is written.
    const NAMES: [&str; 11] = [
        "rotation",
        "scale",
        "shift",
        "mirror",
        "crop",
        "contrast",
        "brightness",
        "saturation",
        "noise",
        "salt-pepper",
        "fill",
    ];

    /// The numbers by name.
    fn numbers(&mut self) -> [(&'static str, &mut f32); 9] {
        [
            ("rotation", &mut self.rotation_degrees),
            ("scale", &mut self.scale),
            ("shift", &mut self.shift),
            ("crop", &mut self.crop),
            ("contrast", &mut self.contrast),
            ("brightness", &mut self.brightness),
            ("saturation", &mut self.saturation),
            ("noise", &mut self.noise),
            ("salt-pepper", &mut self.salt_pepper),
        ]
    }
}

impl FromStr for AugmentOptions {
    type Err = Error;

    fn from_str(text: &str) -> Result<AugmentOptions> {
        AugmentOptions::parse(text)
    }
}

impl fmt::Display for AugmentOptions {
    /// What differs from [`AugmentOptions::NONE`], or `none`.
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mut copy = *self;
        let number = |(name, v): (&str, &mut f32)| (*v != 0.0).then(|| format!("{name}={v}"));
        let mut items: Vec<String> = copy.numbers().into_iter().filter_map(number).collect();
        if self.mirror {
            items.push("mirror".into());
        }
        if self.fill != Border::Nearest {
            items.push(format!("fill={}", self.fill));
        }
        let place = |item: &String| Self::NAMES.iter().position(|n| item.split('=').next() == Some(*n));
        items.sort_by_key(place);
        if items.is_empty() { f.write_str("none") } else { f.write_str(&items.join(",")) }
    }
}

impl FromStr for Border {
    type Err = String;

    /// `nearest`, `reflect` or a number.
    fn from_str(text: &str) -> std::result::Result<Border, String> {
        match text {
            "nearest" => Ok(Border::Nearest),
            "reflect" => Ok(Border::Reflect),
            other => match other.parse::<f32>() {
                Ok(v) => Ok(Border::Constant(v)),
                Err(_) => Err(format!("fill is nearest, reflect or a number, given was '{other}'")),
            },
        }
    }
}

impl fmt::Display for Border {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match self {
            Border::Nearest => f.write_str("nearest"),
            Border::Reflect => f.write_str("reflect"),
            Border::Constant(v) => write!(f, "{v}"),
        }
    }
}

impl Serialize for Border {
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        match self {
            Border::Constant(v) => s.serialize_f64(short(*v)),
            other => s.serialize_str(&other.to_string()),
        }
    }
}

impl<'de> Deserialize<'de> for Border {
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<Border, D::Error> {
        struct Either;
        impl Visitor<'_> for Either {
            type Value = Border;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("\"nearest\", \"reflect\" or a number")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<Border, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_f64<E>(self, v: f64) -> std::result::Result<Border, E> {
                Ok(Border::Constant(v as f32))
            }

            fn visit_i64<E>(self, v: i64) -> std::result::Result<Border, E> {
                Ok(Border::Constant(v as f32))
            }

            fn visit_u64<E>(self, v: u64) -> std::result::Result<Border, E> {
                Ok(Border::Constant(v as f32))
            }
        }
        d.deserialize_any(Either)
    }
}

/// 0.2 for 0.2, not 0.20000000298: files and JSON values hold f64.
fn short(v: f32) -> f64 {
    v.to_string().parse().unwrap_or(f64::from(v))
}

/// The fields as they stand in files: named as in words.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields, default)]
struct Table {
    rotation: f64,
    scale: f64,
    shift: f64,
    mirror: bool,
    crop: f64,
    contrast: f64,
    brightness: f64,
    saturation: f64,
    noise: f64,
    salt_pepper: f64,
    fill: Border,
}

impl Default for Table {
    fn default() -> Self {
        AugmentOptions::NONE.into()
    }
}

impl From<AugmentOptions> for Table {
    fn from(o: AugmentOptions) -> Table {
        Table {
            rotation: short(o.rotation_degrees),
            scale: short(o.scale),
            shift: short(o.shift),
            mirror: o.mirror,
            crop: short(o.crop),
            contrast: short(o.contrast),
            brightness: short(o.brightness),
            saturation: short(o.saturation),
            noise: short(o.noise),
            salt_pepper: short(o.salt_pepper),
            fill: o.fill,
        }
    }
}

impl From<Table> for AugmentOptions {
    fn from(t: Table) -> AugmentOptions {
        AugmentOptions {
            rotation_degrees: t.rotation as f32,
            scale: t.scale as f32,
            shift: t.shift as f32,
            mirror: t.mirror,
            brightness: t.brightness as f32,
            contrast: t.contrast as f32,
            crop: t.crop as f32,
            saturation: t.saturation as f32,
            noise: t.noise as f32,
            salt_pepper: t.salt_pepper as f32,
            fill: t.fill,
        }
    }
}

impl Serialize for AugmentOptions {
    /// All fields, named as in [`AugmentOptions::parse`].
    fn serialize<S: Serializer>(&self, s: S) -> std::result::Result<S::Ok, S::Error> {
        Table::from(*self).serialize(s)
    }
}

impl<'de> Deserialize<'de> for AugmentOptions {
    /// A table of such fields, of which those that are missing are 0, or a text for [`AugmentOptions::parse`].
    fn deserialize<D: Deserializer<'de>>(d: D) -> std::result::Result<AugmentOptions, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = AugmentOptions;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("an augmentation: a table, or a text as in \"detl\" or \"rotation=10,mirror\"")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> std::result::Result<AugmentOptions, E> {
                AugmentOptions::parse(text).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> std::result::Result<AugmentOptions, A::Error> {
                let all: AugmentOptions = Table::deserialize(MapAccessDeserializer::new(map))?.into();
                all.check().map_err(A::Error::custom)?;
                Ok(all)
            }
        }
        d.deserialize_any(Either)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_written() {
        let text = "rotation=10,scale=0.1,shift=0.05,mirror,noise=0.02,salt-pepper=0.01,fill=reflect";
        let o = AugmentOptions::parse(text).unwrap();
        let want = AugmentOptions {
            rotation_degrees: 10.0,
            scale: 0.1,
            shift: 0.05,
            mirror: true,
            noise: 0.02,
            salt_pepper: 0.01,
            fill: Border::Reflect,
            ..AugmentOptions::NONE
        };
        assert_eq!((o, o.to_string().as_str()), (want, text));
        let rest = "mirror,crop=0.2,contrast=0.3,brightness=0.4,saturation=0.5,fill=-0.25";
        assert_eq!(
            AugmentOptions::parse(" crop = .2, contrast=0.3 ,brightness=0.4,saturation=0.5,fill=-0.25, mirror=yes")
                .unwrap()
                .to_string(),
            rest
        );
        for (name, o) in PRESETS {
            assert_eq!((AugmentOptions::parse(name).unwrap(), AugmentOptions::preset(name)), (o, Some(o)));
            assert_eq!(o.to_string().parse::<AugmentOptions>().unwrap(), o, "{name}");
            o.check().unwrap();
        }
        let changed = AugmentOptions::parse("zhong,noise=0.02,mirror=no,crop=0.25").unwrap();
        assert_eq!(changed, AugmentOptions { noise: 0.02, mirror: false, crop: 0.25, ..AugmentOptions::ZHONG });
        assert_eq!(AugmentOptions::NONE.to_string(), "none");
    }

    #[test]
    fn every_name_is_a_field() {
        let mut o = AugmentOptions::NONE;
        for name in AugmentOptions::NAMES {
            let before = o;
            o.set(
                name,
                Some(match name {
                    "mirror" => "yes",
                    _ => "0.5",
                }),
                false,
            )
            .unwrap();
            assert_ne!(o, before, "{name}");
        }
        assert_eq!(
            o.to_string().split(',').map(|i| i.split('=').next().unwrap()).collect::<Vec<_>>(),
            AugmentOptions::NAMES
        );
    }

    #[test]
    fn mistakes_are_named() {
        for (text, what) in [
            ("rotatoin=10", "there is no 'rotatoin'; did you mean 'rotation' or 'saturation'?"),
            ("zhnog", "did you mean 'zhong'?"),
            ("noise=0.1,zhong", "there is no 'zhong'; there is"),
            ("noise", "noise needs a value, as in noise=0.1"),
            ("noise=", "noise needs a value"),
            ("noise=lots", "noise is no number: 'lots'"),
            ("noise=0.1,noise=0.2", "noise is given twice"),
            ("mirror=maybe", "mirror is yes or no"),
            ("fill=white", "fill is nearest, reflect or a number, given was 'white'"),
            ("scale=1", "scale is 1, needed is less than 1"),
            ("crop=inf", "crop is inf"),
            ("noise=0.1,,mirror", "nothing between two commas"),
            ("", "'none' is a name"),
        ] {
            let e = AugmentOptions::parse(text).unwrap_err();
            assert!(e.exit_code() == 2 && e.to_string().contains(what), "{text}: {e}");
        }
    }

    #[test]
    fn files_hold_tables_or_words() {
        #[derive(Debug, PartialEq, Serialize, Deserialize)]
        struct Config {
            augment: AugmentOptions,
        }
        let read = |text: &str| toml::from_str::<Config>(text).map(|c| c.augment).map_err(|e| e.to_string());
        let table = "[augment]\nrotation = 10\nmirror = true\nsalt-pepper = 0.01\nfill = \"reflect\"";
        let words = AugmentOptions::parse("rotation=10,mirror,salt-pepper=0.01,fill=reflect").unwrap();
        assert_eq!(read(table), Ok(words));
        assert_eq!(
            read("augment = \"zhong,fill=0.5\""),
            Ok(AugmentOptions { fill: Border::Constant(0.5), ..AugmentOptions::ZHONG })
        );
        assert_eq!(
            read("augment = { fill = 1 }"),
            Ok(AugmentOptions { fill: Border::Constant(1.0), ..AugmentOptions::NONE })
        );
        for (text, what) in [
            ("augment = { rotate = 1 }", "unknown field `rotate`"),
            ("augment = { salt_pepper = 0.1 }", "unknown field `salt_pepper`"),
            ("augment = { scale = 2 }", "scale is 2"),
            ("augment = \"zhnog\"", "did you mean 'zhong'"),
            ("augment = 3", "a table, or a text"),
            ("augment = { fill = \"white\" }", "fill is nearest, reflect or a number"),
        ] {
            let e = read(text).unwrap_err();
            assert!(e.contains(what), "{text}: {e}");
        }
        for (_, o) in PRESETS {
            for o in [o, AugmentOptions { fill: Border::Constant(0.3), noise: 0.02, ..o }] {
                let (c, json) = (Config { augment: o }, serde_json::to_string(&o).unwrap());
                assert_eq!(toml::from_str::<Config>(&toml::to_string(&c).unwrap()).unwrap(), c);
                assert_eq!(serde_json::from_str::<AugmentOptions>(&json).unwrap(), o, "{json}");
                assert_eq!(serde_json::to_value(o).unwrap(), serde_json::from_str::<serde_json::Value>(&json).unwrap());
                assert!(json.len() < 180, "no figure is longer than it was given: {json}");
            }
        }
    }
}
