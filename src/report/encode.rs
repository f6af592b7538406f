//! Text for HTML: escaping, base64 for `data:` URIs, tables.

/// `text` with the five characters that mean something in HTML replaced, for element content and quoted attributes.
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// Base64 of RFC 4648 section 4, padded, in one line.
pub fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let word = three.iter().enumerate().fold(0u32, |w, (i, &b)| w | u32::from(b) << (16 - 8 * i));
        for i in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * i)) as usize & 63];
            out.push(if i <= three.len() { digit as char } else { '=' });
        }
    }
    out
}

/// A `data:` URI that holds a PNG file.
pub fn png_uri(png: &[u8]) -> String {
    format!("data:image/png;base64,{}", base64(png))
}

/// A table whose head and cells are HTML already.
pub fn table(head: &[&str], rows: &str) -> String {
    let head: String = head.iter().map(|h| format!("<th>{h}</th>")).collect();
    format!("<div class=\"scroll\"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n")
}

/// A row of cells that are HTML already; `attributes` is empty or begins with a space.
pub fn row(attributes: &str, cells: &[String]) -> String {
    let cells: String = cells.iter().map(|c| format!("<td>{c}</td>")).collect();
    format!("<tr{attributes}>{cells}</tr>\n")
}

/// A list of names and what they are; both are texts.
pub fn definitions<K: AsRef<str>>(pairs: &[(K, String)]) -> String {
    let item = |(k, v): &(K, String)| format!("<dt>{}</dt><dd>{}</dd>\n", escape(k.as_ref()), escape(v));
    format!("<dl>\n{}</dl>\n", pairs.iter().map(item).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_rfc() {
        let cases = ["", "f", "fo", "foo", "foob", "fooba", "foobar"];
        let want = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy"];
        for (text, want) in cases.iter().zip(want) {
            assert_eq!(base64(text.as_bytes()), want);
        }
        assert_eq!(base64(&[0xff, 0xfe, 0xfd, 0x00]), "//79AA==");
    }

    #[test]
    fn markup_is_escaped() {
        assert_eq!(escape("<a href=\"x\">'&'</a>"), "&lt;a href=&quot;x&quot;&gt;&#39;&amp;&#39;&lt;/a&gt;");
    }
}
