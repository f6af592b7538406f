//! Reading CSV tables as people have them, and the small pattern language of the manifests.

use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Component, Path, PathBuf};

/// How the bytes of a CSV file become text.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
pub enum Encoding {
    /// UTF-8, with or without a byte order mark; anything else is an error.
    #[default]
    #[serde(rename = "utf-8")]
    Utf8,
    /// ISO 8859-1: every byte is the code point of the same number, so nothing can fail.
    #[serde(rename = "latin-1")]
    Latin1,
}

/// Most bytes of a table that are read; CheXpert's of 224,000 images has some 20 MB.
pub const MAX_TABLE_BYTES: u64 = 256 << 20;
/// Most cells of a table, those that are added to short rows included: each takes at least 24 bytes of memory.
pub const MAX_CELLS: usize = 50_000_000;
/// Most bytes of a manifest that are read.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// The bytes of a file that people wrote or downloaded.
///
/// # Errors
/// [`Error::Io`] when it cannot be read; [`Error::Format`] when it is no file (a named pipe would block for ever) or has
/// more than `most` bytes.
pub fn read_at_most(path: &Path, most: u64) -> Result<Vec<u8>> {
    let meta = std::fs::metadata(path).map_err(Error::io(path, "cannot read"))?;
    if !meta.is_file() {
        return Err(Error::format(path, "not a file"));
    }
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(Error::io(path, "cannot read"))?;
    // Files of /proc say that they are empty, and a file may grow: the length that is read is what counts.
    file.take(most + 1).read_to_end(&mut bytes).map_err(Error::io(path, "cannot read"))?;
    if bytes.len() as u64 > most {
        return Err(Error::format(path, format!("more than {} MB; this is the most that is read", most >> 20)));
    }
    Ok(bytes)
}

/// A CSV file in memory: named columns, and rows of trimmed cells.
#[derive(Debug)]
pub struct Csv {
    /// The file, for messages.
    pub path: PathBuf,
    /// Column names, trimmed; empty names (a trailing comma) are kept in place.
    pub columns: Vec<String>,
    /// The rows; each has exactly `columns.len()` cells.
    pub rows: Vec<Vec<String>>,
}

impl Csv {
    /// Reads a whole table with a header line.
    ///
    /// # Errors
    /// [`Error::Io`] when the file cannot be read; [`Error::Format`] when it is larger than [`MAX_TABLE_BYTES`] or as
    /// [`Csv::parse`].
    pub fn read(path: &Path, encoding: Encoding) -> Result<Csv> {
        Csv::parse(path, &read_at_most(path, MAX_TABLE_BYTES)?, encoding)
    }

    /// Reads the bytes of a table; `path` is for messages.
    ///
    /// # Errors
    /// [`Error::Format`] when it is empty, not in the stated encoding, has more than [`MAX_CELLS`] cells or rows of another
    /// width than the header (their number and the first line are named; extra *empty* cells are fine).
    pub fn parse(path: &Path, bytes: &[u8], encoding: Encoding) -> Result<Csv> {
        Csv::parse_at_most(path, bytes, encoding, MAX_CELLS)
    }

    fn parse_at_most(path: &Path, bytes: &[u8], encoding: Encoding, cells: usize) -> Result<Csv> {
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        let text = match encoding {
            Encoding::Latin1 => bytes.iter().map(|&b| char::from(b)).collect(),
            Encoding::Utf8 => String::from_utf8(bytes.to_vec()).map_err(|e| {
                let line = 1 + bytes[..e.utf8_error().valid_up_to()].iter().filter(|&&b| b == b'\n').count();
                Error::format(
                    path,
                    format!("not UTF-8 (first at line {line}); a manifest can say encoding = \"latin-1\""),
                )
            })?,
        };
        let mut reader = csv::ReaderBuilder::new().flexible(true).trim(csv::Trim::All).from_reader(text.as_bytes());
        let columns: Vec<String> =
            reader.headers().map_err(|e| Error::format(path, e))?.iter().map(str::to_string).collect();
        if columns.iter().all(String::is_empty) {
            return Err(Error::format(path, "empty: a header line and rows are needed"));
        }
        let mut rows = Vec::new();
        let (mut odd, mut first) = (0, String::new());
        for record in reader.records() {
            let record = record.map_err(|e| Error::format(path, e))?;
            if (rows.len() + 1) * columns.len().max(record.len()) > cells {
                return Err(Error::format(path, format!("more than {cells} cells; this is the most that is read")));
            }
            let mut row: Vec<String> = record.iter().map(str::to_string).collect();
            while row.len() > columns.len() && row.last().is_some_and(String::is_empty) {
                row.pop();
            }
            // Some published tables leave out the last comma of a header that ends in one.
            while row.len() < columns.len() && columns[row.len()].is_empty() {
                row.push(String::new());
            }
            if row.len() != columns.len() {
                odd += 1;
                if odd == 1 {
                    let line = record.position().map_or(0, csv::Position::line);
                    first = format!("line {line} has {} cells", row.len());
                }
                continue;
            }
            rows.push(row);
        }
        if odd > 0 {
            return Err(Error::format(
                path,
                format!("{odd} rows do not fit the {} columns of the header ({first})", columns.len()),
            ));
        }
        Ok(Csv { path: path.to_path_buf(), columns, rows })
    }

    /// Index of the column `name` (case-insensitive).
    ///
    /// # Errors
    /// [`Error::Format`] that lists the columns there are.
    pub fn column(&self, name: &str) -> Result<usize> {
        self.optional(name).ok_or_else(|| {
            Error::format(&self.path, format!("no column {name:?}; there are: {}", self.columns.join(", ")))
        })
    }

    /// Index of the column `name` (case-insensitive) where there is one.
    pub fn optional(&self, name: &str) -> Option<usize> {
        self.columns.iter().position(|c| c.eq_ignore_ascii_case(name))
    }
}

/// Checks that a path from a table stays below its folder: relative, no `..`, no drive; returns it without `.`.
///
/// # Errors
/// The reason, without the path.
pub fn stay_below(path: &str) -> Result<PathBuf, String> {
    let mut clean = PathBuf::new();
    // A table written on Windows has backslashes; on Unix they would be one odd file name.
    for part in Path::new(&path.replace('\\', "/")).components() {
        match part {
            Component::Normal(p) => clean.push(p),
            Component::CurDir => {}
            Component::ParentDir => return Err("leaves its folder ('..')".into()),
            _ => return Err("is absolute; paths are relative to the data folder".into()),
        }
    }
    if clean.as_os_str().is_empty() || path.contains('\0') { Err("is empty".into()) } else { Ok(clean) }
}

/// Replaces `{name}` in `template` by `value(name)`.
///
/// # Errors
/// The reason: an unknown name or an unclosed brace.
pub fn fill(template: &str, value: impl Fn(&str) -> Option<String>) -> Result<String, String> {
    let mut out = String::new();
    let mut rest = template;
    while let Some(open) = rest.find('{') {
        let close = rest[open..].find('}').ok_or_else(|| format!("{template:?} has a '{{' without '}}'"))? + open;
        let name = &rest[open + 1..close];
        out += &rest[..open];
        out += &value(name).ok_or_else(|| format!("{template:?} names {{{name}}}, which there is not"))?;
        rest = &rest[close + 1..];
    }
    Ok(out + rest)
}

/// Matches `text` against a pattern of literals and `{name}` captures; a capture takes as few characters as the literal
/// after it allows (at least one), the last one takes the rest. Returns the captures, or nothing where it does not match.
pub fn capture(pattern: &str, text: &str) -> Option<BTreeMap<String, String>> {
    let mut found = BTreeMap::new();
    let (mut pattern, mut text) = (pattern, text);
    loop {
        let Some(open) = pattern.find('{') else {
            return (pattern == text).then_some(found);
        };
        text = text.strip_prefix(&pattern[..open])?;
        let close = pattern[open..].find('}')? + open;
        let name = pattern[open + 1..close].to_string();
        pattern = &pattern[close + 1..];
        let literal = &pattern[..pattern.find('{').unwrap_or(pattern.len())];
        let first = text.chars().next()?.len_utf8();
        let end = if literal.is_empty() { text.len() } else { text[first..].find(literal)? + first };
        found.insert(name, text[..end].to_string());
        text = &text[end..];
    }
}

/// Whether `name` fits `pattern`, in which `*` stands for any characters (one folder level, no regular expression).
pub fn glob(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|p| name.strip_prefix(p)) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(bytes: &[u8], encoding: Encoding) -> Result<Csv> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, bytes).unwrap();
        Csv::read(&path, encoding)
    }

    #[test]
    fn tables_as_published() {
        let t = csv(b"\xef\xbb\xbfa , B,\r\n1,\"x, y\",\r\n2,z\r\n", Encoding::Utf8).unwrap();
        assert_eq!(t.columns, ["a", "B", ""]);
        assert_eq!(t.rows, [["1", "x, y", ""], ["2", "z", ""]]);
        assert_eq!(t.column("b").unwrap(), 1);
        let e = t.column("finding").unwrap_err().to_string();
        assert!(e.contains("no column \"finding\"") && e.contains("a, B"), "{e}");
        assert_eq!(csv(b"a\n\xb0C\n", Encoding::Latin1).unwrap().rows, [["\u{b0}C"]]);
    }

    #[test]
    fn bad_tables_are_refused_with_line_and_count() {
        for (bytes, needle) in [
            (&b"a\nok\n\xb0C\n"[..], "not UTF-8 (first at line 3)"),
            (b"", "empty"),
            (b"a,b\n1,2\n1\n1,2,3\n", "2 rows do not fit the 2 columns of the header (line 3 has 1 cells)"),
        ] {
            let e = csv(bytes, Encoding::Utf8).unwrap_err();
            assert!(e.to_string().contains(needle) && e.exit_code() == 5, "{e}");
        }
        assert_eq!(Csv::read(Path::new("/nowhere/t.csv"), Encoding::Utf8).unwrap_err().exit_code(), 1);
    }

    #[test]
    fn files_have_limits() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("t.csv");
        std::fs::write(&path, "12345678").unwrap();
        assert_eq!(read_at_most(&path, 8).unwrap(), b"12345678");
        let e = read_at_most(&path, 7).unwrap_err();
        assert!(e.to_string().contains("t.csv: more than") && e.exit_code() == 5, "{e}");
        assert!(read_at_most(dir.path(), 7).unwrap_err().to_string().contains("not a file"));
        // A header of empty names makes every short row as long as itself: 1.2 kB of text, 100,100 cells.
        let bomb = format!("a{}\n{}", ",".repeat(1000), "1\n".repeat(100));
        let parse = |cells| Csv::parse_at_most(&path, bomb.as_bytes(), Encoding::Utf8, cells);
        assert_eq!(parse(100_100).unwrap().rows.len(), 100);
        let e = parse(100_099).unwrap_err();
        assert!(e.to_string().contains("more than 100099 cells"), "{e}");
    }

    #[test]
    fn paths_stay_below() {
        assert_eq!(stay_below("./a\\b.png").unwrap(), Path::new("a/b.png"));
        for bad in ["../x.png", "a/../../x", "/etc/passwd", "", ".", "a\\..\\b"] {
            assert!(stay_below(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn patterns() {
        let m = capture("person{n}_bacteria_{k}", "person12_bacteria_47").unwrap();
        assert_eq!((m["n"].as_str(), m["k"].as_str()), ("12", "47"));
        assert_eq!(capture("IM-{n}-{k}", "IM-0115-0001-0002").unwrap()["k"], "0001-0002");
        assert!(capture("person{n}_virus_{k}", "person12_bacteria_47").is_none());
        assert!(capture("a{n}", "a").is_none());
        assert_eq!(fill("{s}-P{n}", |k| (k != "x").then(|| k.to_uppercase())).unwrap(), "S-PN");
        assert!(fill("{x}", |_| None).is_err() && fill("{x", |_| None).is_err());
        assert!(glob("images_*", "images_001") && glob("*", "a") && glob("a", "a") && glob("a*b*c", "axxbyc"));
        assert!(!glob("images_*", "image_1") && !glob("a", "ab") && !glob("a*b*c", "acb"));
    }
}
