//! Walking the data elements of a DICOM file (PS3.5 sections 7 and 8, little endian).
//!
//! The walk borrows from the file's bytes and hands out what the caller asks for by tag; everything else, names and numbers
//! of patients among it, is stepped over by its length and never copied. Every length is checked against what is left of
//! the file before it is used.

/// Group and element number.
pub(super) type Tag = (u16, u16);

const ITEM: Tag = (0xfffe, 0xe000);
const ITEM_END: Tag = (0xfffe, 0xe00d);
const SEQUENCE_END: Tag = (0xfffe, 0xe0dd);
const UNDEFINED: u32 = u32::MAX;

/// Sequences in sequences that are followed; real files have a handful.
const MAX_DEPTH: usize = 32;

/// A data element.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element<'a> {
    pub tag: Tag,
    /// Two letters; zeros in implicit VR.
    pub vr: [u8; 2],
    pub value: Value<'a>,
}

/// What an element holds.
#[derive(Clone, Copy, Debug)]
pub(super) enum Value<'a> {
    /// Bytes of a stated length (of a sequence: its items).
    Bytes(&'a [u8]),
    /// The items of a sequence, or the fragments of compressed pixel data, of undefined length; without the end mark.
    Items(&'a [u8]),
}

/// The elements of a data set, one after the other.
pub(super) struct Elements<'a> {
    bytes: &'a [u8],
    at: usize,
    explicit: bool,
}

impl<'a> Elements<'a> {
    pub fn new(bytes: &'a [u8], explicit: bool) -> Elements<'a> {
        Elements { bytes, at: 0, explicit }
    }

    /// Bytes that were walked over.
    pub fn position(&self) -> usize {
        self.at
    }

    /// The tag of the next element, without going there.
    pub fn peek(&self) -> Option<Tag> {
        let b = self.bytes.get(self.at..self.at + 4)?;
        Some((u16::from_le_bytes([b[0], b[1]]), u16::from_le_bytes([b[2], b[3]])))
    }

    /// The next element, or nothing at the end.
    pub fn next(&mut self) -> Result<Option<Element<'a>>, String> {
        self.next_at(0)
    }

    fn next_at(&mut self, depth: usize) -> Result<Option<Element<'a>>, String> {
        if self.at >= self.bytes.len() {
            return Ok(None);
        }
        let start = self.at;
        let tag = self.tag()?;
        let mut vr = [0, 0];
        // Items and end marks have no VR in either encoding.
        let length = if !self.explicit || tag.0 == 0xfffe {
            self.u32()?
        } else {
            vr = self.take(2)?.try_into().map_err(|_| "no VR")?;
            match &vr {
                b"OB" | b"OD" | b"OF" | b"OL" | b"OV" | b"OW" | b"SQ" | b"SV" | b"UC" | b"UN" | b"UR" | b"UT"
                | b"UV" => {
                    self.take(2)?;
                    self.u32()?
                }
                [b'A'..=b'Z', b'A'..=b'Z'] => u32::from(self.u16()?),
                _ => return Err(format!("damaged DICOM: no value representation at byte {start} of the data set")),
            }
        };
        let value = if length == UNDEFINED {
            // PS3.5 6.2.2: what is unknown is encoded as in implicit VR, whatever is around it.
            let explicit = self.explicit && &vr != b"UN";
            let from = self.at;
            let end = self.skip_items(explicit, depth)?;
            Value::Items(&self.bytes[from..end])
        } else {
            Value::Bytes(self.take(length as usize)?)
        };
        Ok(Some(Element { tag, vr, value }))
    }

    /// Steps over items up to and with the mark that ends them; returns where the mark begins.
    fn skip_items(&mut self, explicit: bool, depth: usize) -> Result<usize, String> {
        if depth >= MAX_DEPTH {
            return Err(format!("damaged DICOM: sequences more than {MAX_DEPTH} deep"));
        }
        loop {
            let start = self.at;
            match (self.tag()?, self.u32()?) {
                (SEQUENCE_END, _) => return Ok(start),
                (ITEM, UNDEFINED) => {
                    let mut inner = Elements { bytes: self.bytes, at: self.at, explicit };
                    loop {
                        match inner.next_at(depth + 1)? {
                            Some(e) if e.tag == ITEM_END => break,
                            Some(_) => {}
                            None => return Err(truncated(self.bytes.len())),
                        }
                    }
                    self.at = inner.at;
                }
                (ITEM, length) => {
                    self.take(length as usize)?;
                }
                (tag, _) => return Err(format!("damaged DICOM: {tag:04x?} where an item must be")),
            }
        }
    }

    fn take(&mut self, n: usize) -> Result<&'a [u8], String> {
        let end = self.at.checked_add(n).filter(|end| *end <= self.bytes.len());
        let end = end.ok_or_else(|| truncated(self.bytes.len()))?;
        let taken = &self.bytes[self.at..end];
        self.at = end;
        Ok(taken)
    }

    fn u16(&mut self) -> Result<u16, String> {
        let b = self.take(2)?;
        Ok(u16::from_le_bytes([b[0], b[1]]))
    }

    fn u32(&mut self) -> Result<u32, String> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn tag(&mut self) -> Result<Tag, String> {
        Ok((self.u16()?, self.u16()?))
    }
}

fn truncated(length: usize) -> String {
    format!("truncated DICOM: an element is longer than what is left of its {length} bytes")
}

/// The first item of a sequence as a data set; nothing when the sequence is empty.
pub(super) fn first_item<'a>(element: &Element<'a>, explicit: bool) -> Result<Option<Elements<'a>>, String> {
    let (Value::Bytes(bytes) | Value::Items(bytes)) = element.value;
    let explicit = explicit && &element.vr != b"UN";
    let mut items = Elements::new(bytes, explicit);
    if bytes.is_empty() {
        return Ok(None);
    }
    match (items.tag()?, items.u32()?) {
        // Where the item's length is not stated, the data set ends at the mark, which no caller asks for.
        (ITEM, UNDEFINED) => Ok(Some(Elements::new(&bytes[items.at..], explicit))),
        (ITEM, length) => Ok(Some(Elements::new(items.take(length as usize)?, explicit))),
        (tag, _) => Err(format!("damaged DICOM: {tag:04x?} where an item must be")),
    }
}

/// The fragments of compressed pixel data, without the table of offsets that comes first.
pub(super) fn fragments(bytes: &[u8]) -> Result<Vec<&[u8]>, String> {
    let mut walk = Elements::new(bytes, true);
    let mut all = Vec::new();
    while walk.at < bytes.len() {
        match (walk.tag()?, walk.u32()?) {
            (ITEM, length) if length != UNDEFINED => all.push(walk.take(length as usize)?),
            (tag, _) => return Err(format!("damaged DICOM: {tag:04x?} where a fragment must be")),
        }
    }
    if all.len() < 2 {
        return Err("damaged DICOM: compressed pixel data without a fragment".into());
    }
    all.remove(0);
    Ok(all)
}
