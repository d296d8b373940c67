//! Reads and writes messages in proto3 JSON. Requests are read strictly; errors name the place.

use bytes::Bytes;
use serde::{Serialize, de::DeserializeOwned};
use serde_path_to_error::Segment;

use self::rare_forms::RareForms;
use crate::serve::{Error, Violation};

mod rare_forms;

/// The duration fields, in both spellings.
const DURATIONS: [&str; 4] = ["latency", "wait", "lease_ttl", "leaseTtl"];

/// Bytes of a usual answer: one pick with a few labels.
const USUAL: usize = 512;

/// Reads a message. The error has the line, the column and the field.
pub(super) fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let text = std::str::from_utf8(body).map_err(|error| {
        let wrong = format!("the body is not UTF-8: byte {} can't be read", error.valid_up_to());
        Violation::new("", wrong)
    })?;
    // Support for rare forms and for field paths doubles the time, so that it is tried second.
    serde_json::from_str(text).or_else(|_| read_again(text))
}

/// Reads a message in any form that proto3 JSON allows. The error names the field.
#[cold]
fn read_again<T: DeserializeOwned>(text: &str) -> Result<T, Error> {
    if text.trim_ascii().is_empty() {
        let wrong =
            "the body is empty: send the request as JSON, such as {\"service\": \"cart.shop\"}";
        return Err(Violation::new("", wrong).into());
    }
    let mut json = serde_json::Deserializer::from_str(text);
    match serde_path_to_error::deserialize(RareForms::new(&mut json)) {
        // There may be more text after the message.
        Ok(message) => json.end().map(|()| message).map_err(|more| wrong(String::new(), &more)),
        Err(error) => Err(wrong(field(error.path()), error.inner())),
    }
}

/// The last field of a path that has a name; empty at the root.
fn field(path: &serde_path_to_error::Path) -> String {
    let text = path.to_string();
    match path.iter().next_back() {
        None => String::new(),
        Some(Segment::Unknown) => text.trim_end_matches('?').trim_end_matches('.').to_owned(),
        Some(_) => text,
    }
}

/// Writes a message as a line.
pub(super) fn line(message: &impl Serialize) -> Bytes {
    line_of(|line| write(line, message))
}

/// A line that `fill` writes.
pub(super) fn line_of(fill: impl FnOnce(&mut Vec<u8>)) -> Bytes {
    let mut line = Vec::with_capacity(USUAL);
    fill(&mut line);
    line.push(b'\n');
    line.into()
}

fn write(line: &mut Vec<u8>, value: &(impl Serialize + ?Sized)) {
    // Can't fail: messages have strings and numbers only.
    serde_json::to_writer(line, value).unwrap_or_default();
}

/// Writes a JSON object field by field, faster than serde: for the answers of picks.
pub(super) struct Object<'a> {
    line: &'a mut Vec<u8>,
    /// The byte before the next field.
    before: u8,
}

impl<'a> Object<'a> {
    pub(super) fn begin(line: &'a mut Vec<u8>) -> Self {
        Self { line, before: b'{' }
    }

    pub(super) fn end(self) {
        if self.before == b'{' {
            self.line.push(b'{');
        }
        self.line.push(b'}');
    }

    /// A text, unless it is empty.
    pub(super) fn text(&mut self, name: &'static str, text: &str) {
        if !text.is_empty() {
            self.name(name);
            match plain(text) {
                true => self.quote(text),
                false => write(self.line, text),
            }
        }
    }

    pub(super) fn value<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) {
        self.name(name);
        write(self.line, value);
    }

    /// A number as a text.
    pub(super) fn quoted(&mut self, name: &'static str, number: u64) {
        self.name(name);
        self.line.push(b'"');
        write(self.line, &number);
        self.line.push(b'"');
    }

    pub(super) fn array<T>(
        &mut self,
        name: &'static str,
        items: &[T],
        write: impl Fn(&T, &mut Vec<u8>),
    ) {
        self.name(name);
        self.line.push(b'[');
        for (index, item) in items.iter().enumerate() {
            if index > 0 {
                self.line.push(b',');
            }
            write(item, self.line);
        }
        self.line.push(b']');
    }

    fn name(&mut self, name: &'static str) {
        self.line.push(std::mem::replace(&mut self.before, b','));
        self.quote(name);
        self.line.push(b':');
    }

    fn quote(&mut self, text: &str) {
        self.line.push(b'"');
        self.line.extend_from_slice(text.as_bytes());
        self.line.push(b'"');
    }
}

/// Whether a text needs no escapes in JSON. Looking at all bytes is faster than stopping early.
fn plain(text: &str) -> bool {
    let escaped = |byte: u8| (byte < b' ') | (byte == b'"') | (byte == b'\\');
    !text.bytes().fold(false, |any, byte| any | escaped(byte))
}

fn wrong(field: String, error: &serde_json::Error) -> Error {
    // serde_json puts the place at the end of its message; it reads better in front.
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = text.strip_suffix(&place).unwrap_or(&text);
    let text = match field.rsplit('.').next() {
        Some(name) if error.is_data() && DURATIONS.contains(&name) => {
            "it must be seconds in a string that ends with s, such as \"0.031s\""
        }
        // pbjson's messages for a value that is no number, plain or in a string.
        _ if text.ends_with("untagged enum Content") || text == "invalid digit found in string" => {
            "it must be a number, and a count must be a whole number"
        }
        _ => text,
    };
    let wrong = format!("line {} column {}: {text}", error.line(), error.column());
    Violation::new(field, wrong).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1::{PickRequest, Report, ReportRequest, ServerLoad};

    fn violation<T: DeserializeOwned + std::fmt::Debug>(body: impl AsRef<[u8]>) -> Violation {
        match read::<T>(body.as_ref()).unwrap_err() {
            Error::Invalid(mut violations) => violations.remove(0),
            other => panic!("{other}"),
        }
    }

    #[test]
    fn a_request_may_use_either_form_of_a_name() {
        for name in ["leaseTtl", "lease_ttl"] {
            let body = format!(r#"{{"service":"cart.shop","{name}":"90s"}}"#);
            let request: PickRequest = read(body.as_bytes()).unwrap();
            assert_eq!(request.lease_ttl.unwrap().seconds, 90);
        }
    }

    #[test]
    fn an_unknown_field_is_refused_with_its_place() {
        let violation = violation::<PickRequest>("{\n  \"servcie\": \"cart.shop\"}");
        assert_eq!(violation.field, "servcie");
        assert!(violation.wrong.starts_with("line 2 column "), "{violation:?}");
        assert!(violation.wrong.contains("unknown field `servcie`"), "{violation:?}");
    }

    #[test]
    fn a_field_is_named_as_it_was_written() {
        assert_eq!(violation::<PickRequest>(r#"{"what?":1}"#).field, "what?");
        assert_eq!(violation::<ReportRequest>(r#"{"reports":[{"a.":1}]}"#).field, "reports[0].a.");
    }

    #[test]
    fn every_duration_of_a_request_is_known_as_one() {
        let proto = include_str!("../../../proto/pointsman/v1/agent.proto");
        let requests = proto.split("\nmessage ").filter(|message| {
            ["PickRequest", "Report "].iter().any(|name| message.starts_with(name))
        });
        let fields: Vec<&str> = requests
            .flat_map(|message| message.split("google.protobuf.Duration ").skip(1))
            .filter_map(|field| field.split(' ').next())
            .collect();
        assert!(fields.contains(&"wait") && fields.contains(&"latency"), "{fields:?}");
        assert!(fields.iter().all(|field| DURATIONS.contains(field)), "{fields:?}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_names_its_path() {
        let violation =
            violation::<ReportRequest>(r#"{"reports":[{"lease":"x"},{"latency":"soon"}]}"#);
        assert_eq!(violation.field, "reports[1].latency");
        assert!(violation.wrong.starts_with("line 1 column"), "{violation:?}");
    }

    #[test]
    fn a_negative_count_is_refused_by_name() {
        for count in ["-1", "1.5", "true", "[]"] {
            let body = format!(r#"{{"service":"a.b","count":{count}}}"#);
            let violation = violation::<PickRequest>(body);
            assert_eq!(violation.field, "count");
            assert!(violation.wrong.contains("must be a number"), "{violation:?}");
        }
    }

    #[test]
    fn what_is_no_duration_is_told_what_one_looks_like() {
        for wait in
            ["31", "true", "{}", "\"\"", "\"s\"", "\"1m\"", "\"1e3s\"", "\"1.2.3s\"", "\" 1s\""]
        {
            for name in ["wait", "leaseTtl", "lease_ttl"] {
                let body = format!(r#"{{"service":"a.b","{name}":{wait}}}"#);
                let violation = violation::<PickRequest>(body);
                assert_eq!(violation.field, name, "{wait}");
                assert!(violation.wrong.ends_with("such as \"0.031s\""), "{wait}: {violation:?}");
            }
            let body = format!(r#"{{"reports":[{{"lease":"x","latency":{wait}}}]}}"#);
            let violation = violation::<ReportRequest>(body);
            assert_eq!(violation.field, "reports[0].latency");
            assert!(violation.wrong.ends_with("such as \"0.031s\""), "{wait}: {violation:?}");
        }
        let cut_off = violation::<PickRequest>(r#"{"service":"a.b","wait":"1"#);
        assert!(cut_off.wrong.contains("EOF"), "{cut_off:?}");
    }

    #[test]
    fn what_breaks_off_before_a_field_has_the_place_alone() {
        assert_eq!(violation::<PickRequest>("{").field, "");
        assert_eq!(violation::<ReportRequest>(r#"{"reports":[{"#).field, "reports[0]");
    }

    #[test]
    fn null_stands_for_the_default_of_any_field() {
        let all = r#"{"service":"a.b","selector":null,"hash_key":null,"exclude":null,"count":null,
                      "cost":null,"wait":null,"leaseTtl":null}"#;
        let request: PickRequest = read(all.as_bytes()).unwrap();
        assert_eq!(request, PickRequest { service: "a.b".to_owned(), ..PickRequest::default() });
        let all = r#"{"reports":[{"lease":"x","event":null,"outcome":null,"latency":null,
                      "leaseTtl":null,"retry":null,"load":{"utilization":null,"costs":null}}]}"#;
        let request: ReportRequest = read(all.as_bytes()).unwrap();
        let report = &request.reports[0];
        let load = Some(ServerLoad::default());
        assert_eq!(*report, Report { lease: "x".to_owned(), load, ..Report::default() });
        let none: ReportRequest = read(br#"{"reports":null}"#).unwrap();
        assert!(none.reports.is_empty());
    }

    #[test]
    fn null_is_no_item_no_value_of_a_map_and_no_message() {
        for (body, field) in [
            (r#"{"service":"a.b","exclude":[null]}"#, "exclude[0]"),
            (r#"{"service":"a.b","selector":{"shard":null}}"#, "selector.shard"),
            (r#"{"service":"a.b","servcie":null}"#, "servcie"),
            ("null", ""),
        ] {
            assert_eq!(violation::<PickRequest>(body).field, field, "{body}");
        }
        let body = r#"{"reports":[null]}"#;
        assert_eq!(violation::<ReportRequest>(body).field, "reports[0]");
    }

    #[test]
    fn a_whole_number_may_be_written_with_a_fraction_or_an_exponent() {
        for count in ["10", "1e1", "10.0", "1E+1", "100e-1", "\"10\"", "\"1e1\"", "\"10.00\""] {
            let body = format!(r#"{{"service":"a.b","count":{count}}}"#);
            let request: PickRequest = read(body.as_bytes()).unwrap();
            assert_eq!(request.count, 10, "{count}");
        }
        let body = r#"{"reports":[{"lease":"1e1","event":2.0,"outcome":1e0,"latency":"1.0s"}]}"#;
        let request: ReportRequest = read(body.as_bytes()).unwrap();
        let report = &request.reports[0];
        assert_eq!((report.event, report.outcome), (2, 1));
        assert_eq!(report.lease, "1e1", "a text is left as it is");
    }

    #[test]
    fn numbers_with_a_part_or_beyond_their_bounds_are_refused_by_name() {
        for count in [
            "1.5",
            "15e-1",
            "-1.0",
            "4294967296.0",
            "1e10",
            "1e300",
            "\"1.5\"",
            "\" 1e1\"",
            "\"1.\"",
            "\"\"",
            "\"0x1\"",
            "\"NaN\"",
            "18446744073709551616",
        ] {
            let body = format!(r#"{{"service":"a.b","count":{count}}}"#);
            assert_eq!(violation::<PickRequest>(body).field, "count", "{count}");
        }
        let body = r#"{"reports":[{"lease":"x","event":1.5}]}"#;
        assert_eq!(violation::<ReportRequest>(body).field, "reports[0].event");
    }

    #[test]
    fn nonsense_is_refused_and_never_panics() {
        for body in
            ["", " ", "{", "[]", "null", "{\"service\": ", "{}x", "\"x\"", "{\"service\":1}"]
        {
            assert!(violation::<PickRequest>(body).wrong.len() < 400, "{body}");
        }
        assert!(violation::<PickRequest>([b'{', 0xff, b'}']).wrong.contains("UTF-8"));
        assert!(violation::<PickRequest>("[".repeat(100_000)).wrong.contains("line 1"));
    }
}
