//! Lines of text, some in colour.

use anstyle::Style;

use super::style;
use crate::printable::printable;

/// Collects text for a terminal or a pipe. It escapes the text that it is given, so that only its own
/// styles control the terminal.
#[derive(Debug)]
pub struct Page {
    text: String,
    /// Spaces align the columns; otherwise tabs separate them.
    pub aligned: bool,
    colour: bool,
}

impl Page {
    /// An empty page.
    #[must_use]
    pub fn new(aligned: bool, colour: bool) -> Self {
        Self { text: String::new(), aligned, colour }
    }

    pub fn line(&mut self, text: impl AsRef<str>) {
        self.styled(&[(style::PLAIN, text.as_ref())]);
    }

    /// Adds a line of pieces, each in a style where there is colour.
    pub fn styled(&mut self, pieces: &[(Style, &str)]) {
        self.joined(pieces, "");
    }

    /// The same with a separator.
    pub fn joined(&mut self, pieces: &[(Style, &str)], by: &'static str) {
        let pieces: Vec<_> = pieces.iter().map(|(style, text)| self.paint(*style, text)).collect();
        self.text.push_str(pieces.join(by).trim_end());
        self.text.push('\n');
    }

    fn paint(&self, style: Style, text: &str) -> String {
        let text = printable(text);
        match self.colour && !text.is_empty() {
            true => format!("{style}{text}{style:#}"),
            false => text.into_owned(),
        }
    }

    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Whether the user of a terminal wants colour. See no-color.org: set and not empty.
#[must_use]
pub fn colour_is_wanted() -> bool {
    std::env::var_os("NO_COLOR").is_none_or(|set| set.is_empty())
}
