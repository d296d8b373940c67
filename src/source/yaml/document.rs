//! Reads YAML that a person wrote, whole or not at all. Errors name file, line, column and field,
//! and say what would be valid.

use std::{fs, io, path, sync::Arc};

use serde::de::DeserializeOwned;
use serde_path_to_error::{Deserializer, Path, Segment, Track};
use serde_saphyr::{Error, Location};

use crate::{
    source::problem::{Place, Problem},
    suggest::{did_you_mean, similar},
};

/// How many nodes aliases may add to a file: far more than anyone shares by hand, and far fewer
/// than a "billion laughs" attack needs. Range 1,000 to 10,000,000.
const ALIASED_NODES: usize = 250_000;

/// Deepest nesting. A services file needs 8, a Kubernetes manifest about 30.
const DEPTH: usize = 64;

/// Defines a type that is read from a scalar's text, with an error that says what would be valid
/// (serde's own errors name Rust types).
macro_rules! from_text {
    ($vis:vis $type:ident($inner:ty), $parse:expr) => {
        $vis struct $type($inner);

        impl<'de> serde::Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
                let text = String::deserialize(yaml)?;
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(&text).map($type).map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use from_text;

/// Has the JSON Schema of a type accept texts that match a pattern.
macro_rules! schema_of_text {
    ($type:ident, $pattern:expr) => {
        impl schemars::JsonSchema for $type {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($type).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}
pub(crate) use schema_of_text;

/// One of the documents of a file.
#[derive(Clone, Copy, Debug)]
pub struct Document<'a> {
    /// The file, as errors call it.
    pub file: &'a Arc<str>,
    /// Lines of the file before it.
    pub lines_before: u64,
    /// Its text, including the `---` at its beginning.
    pub text: &'a str,
}

/// The documents of a file that are not empty. A line that begins with `---` separates them
/// wherever it is (YAML 1.2, 9.1.2), so finding them needs no parser.
pub fn documents<'a>(file: &'a Arc<str>, text: &'a str) -> Vec<Document<'a>> {
    let mut documents = vec![Document { file, lines_before: 0, text: "" }];
    let mut start = 0;
    let mut end = 0;
    for (number, line) in text.split_inclusive('\n').enumerate() {
        let rest = line.strip_prefix("---");
        let separates =
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']));
        let directives = || text[start..end].lines().all(|line| line.starts_with(['%', '#']));
        if separates && !(text[start..end].starts_with('%') && directives()) {
            start = end;
            documents.push(Document { file, lines_before: number as u64, text: "" });
        }
        end += line.len();
        if let Some(last) = documents.last_mut() {
            last.text = &text[start..end];
        }
    }
    let blank = |line: &str| {
        let line = line.strip_prefix("---").unwrap_or(line).trim();
        line.is_empty() || line.starts_with('#') || line == "..." || line == "\u{feff}"
    };
    documents.retain(|document| !document.text.lines().all(blank));
    documents
}

impl Document<'_> {
    /// Reads it as a whole.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Problem> {
        let mut track = Track::new();
        let options = options(self.text.len());
        serde_saphyr::with_deserializer_from_str_with_options(self.text, options, |yaml| {
            T::deserialize(Deserializer::new(yaml, &mut track))
        })
        .map_err(|error| {
            let mut problem = explain(self.file, &error, &track.path());
            problem.place.line = problem.place.line.map(|line| line + self.lines_before);
            problem
        })
    }

    /// A place within it.
    pub(crate) fn place(&self, location: Location) -> Place {
        let place = place(self.file, location);
        Place { line: place.line.map(|line| line + self.lines_before), ..place }
    }
}

/// Reads a file of one document.
pub fn read<T: DeserializeOwned>(file: &Arc<str>, text: &str) -> Result<T, Problem> {
    Document { file, lines_before: 0, text }.read()
}

/// The bytes of a file, at most `most`.
///
/// # Errors
/// The file can't be read, or is no regular file: reading a pipe or a device might never end.
pub(crate) fn bytes(path: &path::Path, most: u64) -> io::Result<Vec<u8>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::other("this is not a regular file"));
    }
    if metadata.len() > most {
        let most = most >> 20;
        return Err(io::Error::other(format!("the file is larger than {most} MiB: split it")));
    }
    fs::read(path)
}

/// Decodes UTF-8.
pub fn text<'a>(file: &Arc<str>, bytes: &'a [u8]) -> Result<&'a str, Problem> {
    std::str::from_utf8(bytes).map_err(|error| {
        let before = &bytes[..error.valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() as u64 + 1;
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let column = String::from_utf8_lossy(&before[start..]).chars().count() as u64 + 1;
        Problem {
            place: Place { file: file.clone(), line: Some(line), column: Some(column) },
            field: String::new(),
            what: format!(
                "the byte 0x{:02x} is not UTF-8: save the file as UTF-8",
                bytes[error.valid_up_to()]
            ),
        }
    })
}

/// A place within a document.
pub(crate) fn place(file: &Arc<str>, location: Location) -> Place {
    // Line 0 is the parser's "unknown".
    let known = (location.line() > 0).then_some(location);
    Place {
        file: file.clone(),
        line: known.map(|at| at.line()),
        column: known.map(|at| at.column()),
    }
}

fn options(bytes: usize) -> serde_saphyr::Options {
    // Every node except an alias takes at least one byte of the file. So a large valid file is not
    // refused.
    let nodes = bytes + ALIASED_NODES;
    serde_saphyr::options! {
        with_snippet: false,
        emit_comments: false,
        // `zone: off` and `outlier: on` are words, not booleans.
        strict_booleans: true,
        budget: serde_saphyr::budget! {
            max_nodes: nodes,
            max_events: nodes.saturating_mul(2),
            max_total_scalar_bytes: bytes.saturating_mul(2).max(1 << 20),
            max_depth: DEPTH,
        },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: ALIASED_NODES },
    }
}

fn explain(file: &Arc<str>, error: &Error, path: &Path) -> Problem {
    let error = error.without_snippet();
    let place = place(file, error.location().unwrap_or(Location::UNKNOWN));
    let mut field = field(path);
    if let Error::SerdeUnknownField { field: unknown, .. } = error {
        // The path ends with the unknown field, which the text names already.
        field.truncate(field.len().saturating_sub(unknown.len()));
        let parent = field.trim_end_matches('.').len();
        field.truncate(parent);
    }
    Problem { place, field, what: what(error) }
}

/// The path as in `services[0].ports.http`, without segments that exist only in our types.
pub(crate) fn field(path: &Path) -> String {
    let mut field = String::new();
    for segment in path.iter() {
        match segment {
            Segment::Seq { index } => field.push_str(&format!("[{index}]")),
            // `value` is inside of `Spanned`, and no field of a document.
            Segment::Map { key } if key != "value" => {
                if !field.is_empty() {
                    field.push('.');
                }
                field.push_str(key);
            }
            _ => {}
        }
    }
    field
}

fn what(error: &Error) -> String {
    match error {
        Error::AliasError { error, .. } => what(error),
        Error::SerdeUnknownField { field, expected, .. } => {
            let near = similar(field, expected.iter().copied());
            match near.is_empty() {
                true => {
                    format!("unknown field \"{field}\"; the fields are {}", expected.join(", "))
                }
                false => format!("unknown field \"{field}\"{}", did_you_mean(&near)),
            }
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let near = similar(variant, expected.iter().copied());
            format!("\"{variant}\" is none of {}{}", expected.join(", "), did_you_mean(&near))
        }
        Error::SerdeMissingField { field, .. } => format!("the field \"{field}\" is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("\"{key}\" stands twice here: keep one of them")
        }
        Error::Unexpected { expected, .. } => format!("this must be {}", node(expected)),
        Error::InvalidScalar { ty, .. } => format!("this must be {}", scalar(ty)),
        Error::NullIntoString { .. } => "this must be a text; write \"\" for none".to_owned(),
        Error::Eof { .. } => "the file is empty".to_owned(),
        Error::AliasReplayLimitExceeded { .. } | Error::Budget { .. } => format!(
            "the file has too many aliases or levels, or is too large (at most {ALIASED_NODES} \
             values by aliases, {DEPTH} levels): write it out, or split the file"
        ),
        Error::MultipleDocuments { .. } => {
            "a second document begins here (---): only Kubernetes manifests may have several"
                .to_owned()
        }
        Error::ExternalMessage { msg, .. } if msg.contains("tabs") => {
            format!("{msg}: indent with spaces")
        }
        Error::ExternalMessage { msg, .. } | Error::Message { msg, .. } => msg.clone(),
        other => {
            let text = other.to_string();
            // The place stands before the text already.
            let end = text.rfind(" at line ").unwrap_or(text.len());
            text[..end].to_owned()
        }
    }
}

fn node(expected: &str) -> String {
    match expected {
        "mapping start" => "fields (name: value)".to_owned(),
        "sequence start" => "a list (\"- item\" on each line, or [])".to_owned(),
        "string scalar" => "a text".to_owned(),
        other => other.to_owned(),
    }
}

fn scalar(ty: &str) -> String {
    match ty {
        "u8" => "a whole number of 0 to 255".to_owned(),
        "u16" => "a whole number of 0 to 65535".to_owned(),
        "u32" => "a whole number of 0 to 4294967295".to_owned(),
        "i32" => "a whole number of -2147483648 to 2147483647".to_owned(),
        "boolean" | "bool" => "true or false".to_owned(),
        "floating point" => "a number".to_owned(),
        other => format!("a value of type {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_size_of_an_honest_file_is_no_reason_to_refuse_it() {
        let text = format!("[{}]", "1,".repeat(ALIASED_NODES + 10_000));
        assert_eq!(read::<Vec<u8>>(&"s.yaml".into(), &text).unwrap().len(), ALIASED_NODES + 10_000);
    }

    #[test]
    fn documents_are_found_with_the_lines_before_them() {
        let file: Arc<str> = "s.yaml".into();
        let found = |text| -> Vec<(u64, String)> {
            let of = |it: Document<'_>| (it.lines_before, it.text.to_owned());
            documents(&file, text).into_iter().map(of).collect()
        };
        assert_eq!(found("a: 1\n"), [(0, "a: 1\n".to_owned())]);
        assert_eq!(found("# no\n---\na: 1\n")[0], (1, "---\na: 1\n".to_owned()));
        assert_eq!(
            found("a: |\n  ---\n---\n# no\n---  \nb: 1\n---"),
            [(0, "a: |\n  ---\n".to_owned()), (4, "---  \nb: 1\n".to_owned())]
        );
        assert_eq!(found("%YAML 1.2\n---\na: 1\n"), [(0, "%YAML 1.2\n---\na: 1\n".to_owned())]);
        assert_eq!(found("a: 1\n----\n")[0].1, "a: 1\n----\n");
        assert!(found("").is_empty());
    }
}
