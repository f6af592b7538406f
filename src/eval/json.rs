//! JSON as people read it: what fits into a line stays in a line, so that a confusion matrix has one line a row and a
//! history one line an epoch.
//! Order and numbers are serde's, so the same value always gives the same bytes.

use serde::Serialize;

/// `value` as JSON, indented by two spaces; arrays and objects that fit into 110 columns stay in one line, and so do
/// those without inner arrays and objects up to 250 columns.
///
/// # Errors
/// What serde_json reports, as for a map whose keys are not strings.
pub fn to_readable_string<T: Serialize + ?Sized>(value: &T) -> Result<String, serde_json::Error> {
    let compact = serde_json::to_string(value)?;
    let mut out = String::with_capacity(compact.len() * 2);
    write_value(&compact, 0, 0, &mut out);
    out.push('\n');
    Ok(out)
}

const LINE: usize = 110;
const LEAF_LINE: usize = 250;

/// Writes one compact JSON value that starts in column `column` of a line indented by `indent`.
fn write_value(text: &str, indent: usize, column: usize, out: &mut String) {
    let line = spaced(text);
    let container = text.starts_with(['[', '{']);
    let limit = if is_leaf(text) { LEAF_LINE } else { LINE };
    if !container || column + line.chars().count() <= limit || text.len() <= 2 {
        out.push_str(&line);
        return;
    }
    let pad = " ".repeat(indent + 2);
    out.push_str(&text[..1]);
    for (i, part) in split(&text[1..text.len() - 1], ',').into_iter().enumerate() {
        out.push_str(if i == 0 { "\n" } else { ",\n" });
        out.push_str(&pad);
        let mut column = indent + 2;
        let mut value = part;
        if text.starts_with('{')
            && let [key, rest] = split(part, ':')[..]
        {
            out.push_str(key);
            out.push_str(": ");
            column += key.chars().count() + 2;
            value = rest;
        }
        write_value(value, indent + 2, column, out);
    }
    out.push('\n');
    out.push_str(&" ".repeat(indent));
    out.push_str(&text[text.len() - 1..]);
}

/// Whether an array or object holds no other.
fn is_leaf(text: &str) -> bool {
    let mut inner = 0;
    scan(text, |_, c, in_string, _| inner += usize::from(!in_string && matches!(c, '[' | '{')));
    inner == 1
}

/// The compact text with a space after each `,` and `:` that is not inside a string.
fn spaced(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + text.len() / 4);
    scan(text, |_, c, in_string, _| {
        out.push(c);
        if !in_string && matches!(c, ',' | ':') {
            out.push(' ');
        }
    });
    out
}

/// The parts of `text` between separators that are outside strings and brackets.
fn split(text: &str, separator: char) -> Vec<&str> {
    let (mut parts, mut start) = (Vec::new(), 0);
    scan(text, |i, c, in_string, depth| {
        if c == separator && !in_string && depth == 0 {
            parts.push(&text[start..i]);
            start = i + 1;
        }
    });
    parts.push(&text[start..]);
    parts
}

/// Calls `visit(byte index, character, inside a string, bracket depth)` for each character.
fn scan(text: &str, mut visit: impl FnMut(usize, char, bool, usize)) {
    let (mut in_string, mut escaped, mut depth) = (false, false, 0usize);
    for (i, c) in text.char_indices() {
        if !in_string && matches!(c, ']' | '}') {
            depth = depth.saturating_sub(1);
        }
        visit(i, c, in_string, depth);
        if in_string {
            in_string = escaped || c != '"';
            escaped = !escaped && c == '\\';
        } else {
            in_string = c == '"';
            depth += usize::from(matches!(c, '[' | '{'));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn long_values_break_and_short_ones_do_not() {
        let value = json!({ "counts": [[350, 0, 0, 0], [0, 322, 0, 0], [0, 0, 300, 0], [0, 0, 0, 161]],
            "note": "a, \"quoted: [text]\" \\ that is long enough to make the object leave its line, so it breaks",
            "zempty": [], "zobject": {} });
        let text = to_readable_string(&value).unwrap();
        assert_eq!(serde_json::from_str::<serde_json::Value>(&text).unwrap(), value);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[1], "  \"counts\": [[350, 0, 0, 0], [0, 322, 0, 0], [0, 0, 300, 0], [0, 0, 0, 161]],");
        assert_eq!((lines[0], lines.len(), lines[5]), ("{", 6, "}"));
    }

    #[test]
    fn a_large_matrix_has_one_line_a_row_and_a_very_long_row_breaks() {
        let long: Vec<u32> = (0..100).collect();
        assert_eq!(to_readable_string(&long).unwrap().lines().count(), 102);
        let rows: Vec<Vec<u32>> = (0..3).map(|i| (0..20).map(|j| i * 1000 + j).collect()).collect();
        let text = to_readable_string(&rows).unwrap();
        assert_eq!(text.lines().count(), 5);
        assert!(text.lines().nth(2).unwrap().starts_with("  [1000, 1001, "));
        assert_eq!(serde_json::from_str::<Vec<Vec<u32>>>(&text).unwrap(), rows);
    }
}
