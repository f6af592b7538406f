//! The WGSL preprocessor: real `.wgsl` files with five line directives, described in `shaders/README.md`.
//!
//! `#import NAME` · `#param NAME = default` · `#if EXPR` … `#else` … `#end` · `#for I in A..B` … `#end` with `{expr}`.
//! Injected constants are WGSL `const`s, not pipeline `override`s, because naga rejects function-local arrays whose size
//! is an override. `#for` exists because `subgroupBroadcast` wants a constant lane and because register tiles that are
//! plain variables compile faster in software Vulkan's LLVM than arrays that it must first take apart.

use std::collections::HashMap;

/// A shader file as it is embedded in the program.
#[derive(Clone, Copy, Debug)]
pub struct Source {
    /// File name, for messages: `conv.wgsl`.
    pub file: &'static str,
    /// The text, directives included.
    pub text: &'static str,
}

/// Names the host gives to a kernel's `#param`s.
pub type Overrides<'a> = &'a [(&'a str, i64)];

/// Expands `source` for the entry point `entry`.
///
/// The entry point's own name counts as a parameter of value 1 in `#if`; all other unknown names are 0 there, so that the
/// kernels of one family share a file.
///
/// # Errors
/// A message with file and line: an unknown directive, an unbalanced `#end`, an import that does not exist, an override
/// that names no parameter of the file.
pub fn expand(
    source: Source,
    entry: &str,
    overrides: Overrides,
    prelude: &dyn Fn(&str) -> Option<&'static str>,
) -> Result<String, String> {
    let mut e =
        Expander { entry, overrides, prelude, values: HashMap::new(), imported: Vec::new(), out: String::new() };
    e.values.insert(entry.to_string(), 1);
    let lines: Vec<&str> = source.text.lines().collect();
    e.block(source.file, &lines, 0, &[])?;
    for (name, _) in overrides {
        if !e.values.contains_key(*name) {
            return Err(format!("{}: the host sets {name}, but no #param of that name is declared", source.file));
        }
    }
    Ok(e.out)
}

struct Expander<'a> {
    entry: &'a str,
    overrides: Overrides<'a>,
    prelude: &'a dyn Fn(&str) -> Option<&'static str>,
    values: HashMap<String, i64>,
    imported: Vec<String>,
    out: String,
}

impl Expander<'_> {
    /// Expands `lines` (all of a file or the inside of a block); `first` is the number of the line before, for messages.
    fn block(&mut self, file: &str, lines: &[&str], first: usize, vars: &[(String, i64)]) -> Result<(), String> {
        let mut i = 0;
        while i < lines.len() {
            let line = lines[i];
            let at = |m: String| format!("{file}:{}: {m}", first + i + 1);
            let Some(directive) = line.trim_start().strip_prefix('#') else {
                let text = self.substitute(line, vars).map_err(at)?;
                self.out.push_str(&text);
                self.out.push('\n');
                i += 1;
                continue;
            };
            let (word, rest) = directive.split_once(char::is_whitespace).unwrap_or((directive, ""));
            let rest = rest.split("//").next().unwrap_or("").trim();
            match word {
                "import" => {
                    if !self.imported.iter().any(|n| n == rest) {
                        self.imported.push(rest.to_string());
                        let text = (self.prelude)(rest).ok_or_else(|| at(format!("no prelude {rest}")))?;
                        let inner: Vec<&str> = text.lines().collect();
                        self.block(&format!("prelude/{rest}.wgsl"), &inner, 0, &[])?;
                    }
                    i += 1;
                }
                "param" => {
                    let (name, default) =
                        rest.split_once('=').ok_or_else(|| at("expected #param NAME = default".into()))?;
                    let (name, default) = (name.trim(), default.trim());
                    let value = match self.overrides.iter().find(|(n, _)| *n == name) {
                        Some((_, v)) => *v,
                        None => self.eval(default, vars).map_err(at)?,
                    };
                    if !self.values.contains_key(name) {
                        self.values.insert(name.to_string(), value);
                        self.out.push_str(&format!("const {name}: u32 = {value}u;\n"));
                    }
                    i += 1;
                }
                "if" | "for" => {
                    let (otherwise, end) = block_end(lines, i).ok_or_else(|| at(format!("#{word} without #end")))?;
                    let body_end = otherwise.unwrap_or(end);
                    if word == "if" {
                        if self.eval(rest, vars).map_err(at)? != 0 {
                            self.block(file, &lines[i + 1..body_end], first + i + 1, vars)?;
                        } else if let Some(e) = otherwise {
                            self.block(file, &lines[e + 1..end], first + e + 1, vars)?;
                        }
                    } else {
                        let (name, range) =
                            rest.split_once(" in ").ok_or_else(|| at("expected #for I in A..B".into()))?;
                        let (a, b) = range.split_once("..").ok_or_else(|| at("expected A..B".into()))?;
                        let (a, b) = (self.eval(a, vars).map_err(at)?, self.eval(b, vars).map_err(at)?);
                        for v in a..b {
                            let mut inner = vars.to_vec();
                            inner.push((name.trim().to_string(), v));
                            self.block(file, &lines[i + 1..body_end], first + i + 1, &inner)?;
                        }
                    }
                    i = end + 1;
                }
                _ => return Err(at(format!("unknown directive #{word}"))),
            }
        }
        Ok(())
    }

    /// Replaces `{expr}` where `expr` uses at least one `#for` variable or is all names and numbers; WGSL's own braces
    /// never enclose such an expression on one line.
    fn substitute(&self, line: &str, vars: &[(String, i64)]) -> Result<String, String> {
        if vars.is_empty() || !line.contains('{') {
            return Ok(line.to_string());
        }
        let mut out = String::with_capacity(line.len());
        let mut rest = line;
        while let Some(open) = rest.find('{') {
            out.push_str(&rest[..open]);
            let tail = &rest[open + 1..];
            let inside = tail.find('}').map(|c| &tail[..c]).filter(|s| mentions(s, vars));
            match inside {
                Some(expr) => {
                    out.push_str(&self.eval(expr, vars)?.to_string());
                    rest = &tail[expr.len() + 1..];
                }
                None => {
                    out.push('{');
                    rest = tail;
                }
            }
        }
        out.push_str(rest);
        Ok(out)
    }

    fn eval(&self, text: &str, vars: &[(String, i64)]) -> Result<i64, String> {
        let lookup = |name: &str| {
            vars.iter()
                .rev()
                .find(|(n, _)| n == name)
                .map(|(_, v)| *v)
                .or_else(|| self.values.get(name).copied())
                .unwrap_or(0)
        };
        let mut p = Parser { text: text.as_bytes(), at: 0, lookup: &lookup };
        let v = p.binary(0)?;
        p.space();
        if p.at != p.text.len() {
            return Err(format!("cannot read the expression '{text}' (entry point {})", self.entry));
        }
        Ok(v)
    }
}

/// Whether `text` is an expression (names, numbers, operators) that uses one of `vars`.
fn mentions(text: &str, vars: &[(String, i64)]) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || b"_+-*/%() ".contains(&b))
        && text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').any(|w| vars.iter().any(|(n, _)| n == w))
}

/// Index of the `#else` (if any) and `#end` that belong to the block opened at `lines[start]`.
fn block_end(lines: &[&str], start: usize) -> Option<(Option<usize>, usize)> {
    let (mut depth, mut otherwise) = (0, None);
    for (i, line) in lines.iter().enumerate().skip(start) {
        let Some(d) = line.trim_start().strip_prefix('#') else { continue };
        match d.split_whitespace().next().unwrap_or("") {
            "if" | "for" => depth += 1,
            "else" if depth == 1 => otherwise = Some(i),
            "end" => {
                depth -= 1;
                if depth == 0 {
                    return Some((otherwise, i));
                }
            }
            _ => {}
        }
    }
    None
}

/// Integer expressions: `|| && == != < > <= >= + - * / % !` and parentheses.
struct Parser<'a> {
    text: &'a [u8],
    at: usize,
    lookup: &'a dyn Fn(&str) -> i64,
}

const LEVELS: [&[&str]; 6] = [&["||"], &["&&"], &["==", "!="], &["<=", ">=", "<", ">"], &["+", "-"], &["*", "/", "%"]];

impl Parser<'_> {
    fn space(&mut self) {
        while self.text.get(self.at).is_some_and(|b| b.is_ascii_whitespace()) {
            self.at += 1;
        }
    }

    fn binary(&mut self, level: usize) -> Result<i64, String> {
        let Some(operators) = LEVELS.get(level) else { return self.unary() };
        let mut a = self.binary(level + 1)?;
        loop {
            self.space();
            let Some(op) = operators.iter().find(|o| self.text[self.at..].starts_with(o.as_bytes())) else {
                return Ok(a);
            };
            self.at += op.len();
            let b = self.binary(level + 1)?;
            a = match *op {
                "||" => (a != 0 || b != 0) as i64,
                "&&" => (a != 0 && b != 0) as i64,
                "==" => (a == b) as i64,
                "!=" => (a != b) as i64,
                "<" => (a < b) as i64,
                ">" => (a > b) as i64,
                "<=" => (a <= b) as i64,
                ">=" => (a >= b) as i64,
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a.checked_div(b).ok_or("division by zero")?,
                _ => a.checked_rem(b).ok_or("division by zero")?,
            };
        }
    }

    fn unary(&mut self) -> Result<i64, String> {
        self.space();
        match self.text.get(self.at) {
            Some(b'!') => {
                self.at += 1;
                Ok((self.unary()? == 0) as i64)
            }
            Some(b'-') => {
                self.at += 1;
                Ok(-self.unary()?)
            }
            Some(b'(') => {
                self.at += 1;
                let v = self.binary(0)?;
                self.space();
                if self.text.get(self.at) != Some(&b')') {
                    return Err("missing )".into());
                }
                self.at += 1;
                Ok(v)
            }
            Some(b) if b.is_ascii_alphanumeric() || *b == b'_' => {
                let start = self.at;
                while self.text.get(self.at).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_') {
                    self.at += 1;
                }
                let word = std::str::from_utf8(&self.text[start..self.at]).map_err(|e| e.to_string())?;
                if word.as_bytes()[0].is_ascii_digit() {
                    word.trim_end_matches('u').parse().map_err(|_| format!("'{word}' is no number"))
                } else {
                    Ok((self.lookup)(word))
                }
            }
            _ => Err("expected a name, a number or (".into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(text: &'static str, entry: &str, o: Overrides) -> Result<String, String> {
        expand(Source { file: "t.wgsl", text }, entry, o, &|n| (n == "grid").then_some("fn grid() {}\n"))
    }

    #[test]
    fn params_become_constants_and_overrides_win() {
        assert_eq!(
            run("#param A = 4\n#param B = A*2 // doubled\nx", "main", &[("A", 8)]).unwrap(),
            "const A: u32 = 8u;\nconst B: u32 = 16u;\nx\n"
        );
    }

    #[test]
    fn conditions_follow_parameters_and_the_entry_point() {
        let t = "#param A = 2\n#if A > 1 && !fwd\nbig\n#else\nsmall\n#end\n#if fwd\nforward\n#end\n";
        assert_eq!(run(t, "fwd", &[]).unwrap(), "const A: u32 = 2u;\nsmall\nforward\n");
        assert_eq!(run(t, "bwd", &[]).unwrap(), "const A: u32 = 2u;\nbig\n");
    }

    #[test]
    fn loops_nest_and_leave_wgsl_braces_alone() {
        let t = "#for I in 0..2\n#for J in I..2\nlet a{I}_{J*4+1} = vec4<f32>(); if x { y(); }\n#end\n#end\nstruct S { a: u32 }";
        let out = run(t, "main", &[]).unwrap();
        assert_eq!(out.matches("if x { y(); }").count(), 3);
        assert!(
            out.contains("a0_1") && out.contains("a0_5") && out.contains("a1_5") && out.contains("struct S { a: u32 }")
        );
    }

    #[test]
    fn imports_come_once_and_mistakes_name_the_line() {
        assert_eq!(run("#import grid\n#import grid\n", "main", &[]).unwrap(), "fn grid() {}\n");
        assert!(run("a\n#wrong\n", "main", &[]).unwrap_err().contains("t.wgsl:2"));
        assert!(run("#import nothing\n", "main", &[]).unwrap_err().contains("no prelude nothing"));
        assert!(run("#if A\n", "main", &[]).unwrap_err().contains("without #end"));
        assert!(run("x\n", "main", &[("Z", 1)]).unwrap_err().contains("host sets Z"));
    }
}
