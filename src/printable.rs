//! Escapes text of others for a log and a terminal.
//!
//! A terminal obeys some characters instead of showing them (CWE-150). A line feed ends a log line
//! (CWE-117). Direction marks change the order in which text appears (CVE-2021-42574).

use std::{
    borrow::Cow,
    fmt::{self, Write},
};

/// Escapes characters that a terminal would obey, such as `\n` and `\u{1b}`. It does not escape a
/// backslash, so that a second call changes nothing.
pub fn printable(text: &str) -> Cow<'_, str> {
    match text.contains(is_obeyed) {
        true => escaped(text).into(),
        false => text.into(),
    }
}

/// The same for a text of several lines.
pub fn printable_lines(text: &str) -> Cow<'_, str> {
    match text.contains(|c| c != '\n' && is_obeyed(c)) {
        true => text.lines().map(escaped).collect::<Vec<_>>().join("\n").into(),
        false => text.into(),
    }
}

/// Escapes these characters as JSON does, so that a program reads the same JSON.
pub fn printable_json(json: &str) -> Cow<'_, str> {
    let obeyed = |c: char| c != '\n' && is_obeyed(c);
    if !json.contains(obeyed) {
        return json.into();
    }
    let mut all = String::with_capacity(json.len());
    for c in json.chars() {
        match obeyed(c) {
            true => {
                let mut units = [0; 2];
                let units = c.encode_utf16(&mut units).iter();
                all.extend(units.map(|unit| format!("\\u{unit:04x}")));
            }
            false => all.push(c),
        }
    }
    all.into()
}

fn escaped(text: &str) -> String {
    let mut all = Printable(String::with_capacity(text.len() + 16));
    // Writing to a string does not fail.
    all.write_str(text).ok();
    all.0
}

/// Escapes what is written to it.
#[derive(Debug)]
pub struct Printable<W>(pub W);

impl<W: Write> Write for Printable<W> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut rest = text;
        while let Some((at, c)) = rest.char_indices().find(|(_, c)| is_obeyed(*c)) {
            self.0.write_str(&rest[..at])?;
            match c {
                '\n' | '\r' | '\t' => write!(self.0, "{}", c.escape_default())?,
                _ => write!(self.0, "{}", c.escape_unicode())?,
            }
            rest = &rest[at + c.len_utf8()..];
        }
        self.0.write_str(rest)
    }
}

/// Control characters, and of Unicode 17 the categories Cf (format), Zl and Zp (ends of lines).
fn is_obeyed(c: char) -> bool {
    c.is_control()
        || !c.is_ascii()
            && matches!(c,
                '\u{ad}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{2064}'
                | '\u{2066}'..='\u{206f}'
                | '\u{feff}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0001}'
                | '\u{e0020}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_obeyed_is_shown_and_all_else_stays_as_it_is() {
        let plain = r#"mode is "ten percent" \n ä 日本語 😀 é"#;
        assert!(matches!(printable(plain), Cow::Borrowed(same) if same == plain));
        let forged = "x\n2030 ERROR\r\t\u{1b}[2J\u{7}\0\u{7f}\u{9b}1m\u{202e}txet\u{2066}\u{200b}";
        let shown =
            r"x\n2030 ERROR\r\t\u{1b}[2J\u{7}\u{0}\u{7f}\u{9b}1m\u{202e}txet\u{2066}\u{200b}";
        assert_eq!(printable(forged), shown);
        assert_eq!(printable(&printable(forged)), shown);
        assert_eq!(printable_lines("a\nb\u{1b}c"), "a\nb\\u{1b}c");
    }

    #[test]
    fn json_means_the_same_after_it() {
        let text = "x\u{1b}\u{7f}\u{9b}\u{202e}\u{e0041}\n";
        let json = serde_json::to_string_pretty(&[text]).unwrap();
        let printable = printable_json(&json);
        assert!(printable.chars().all(|c| c == '\n' || !is_obeyed(c)), "{printable:?}");
        assert_eq!(serde_json::from_str::<[String; 1]>(&printable).unwrap(), [text]);
    }

    /// The standard library knows which characters can be seen, of this and more categories.
    #[test]
    fn what_is_escaped_is_what_can_not_be_seen() {
        for c in (char::MIN..=char::MAX).filter(|c| is_obeyed(*c)) {
            let shown = format!("x{c}").escape_debug().to_string();
            assert!(shown.starts_with("x\\"), "{c:?} {:x}", u32::from(c));
        }
    }
}
