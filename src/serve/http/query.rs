//! Reads a request's path and query strictly: each parameter at most once, and no unknown ones.

use std::collections::{BTreeMap, HashMap};

use http::Uri;
use percent_encoding::percent_decode_str;

use crate::serve::{Error, Violation, limits};

/// The name in a path, without its %-escapes.
///
/// # Errors
/// It is not UTF-8.
pub(super) fn service_name(escaped: &str) -> Result<String, Error> {
    match percent_decode_str(escaped).decode_utf8() {
        Ok(name) => Ok(name.into_owned()),
        Err(_) => {
            Err(Violation::new("service", "is not UTF-8 after its %-escapes are decoded").into())
        }
    }
}

/// The parameters not yet taken.
pub(super) struct QueryParameters(Result<BTreeMap<String, String>, Violation>);

impl QueryParameters {
    pub(super) fn of(uri: &Uri) -> Self {
        let mut parameters = BTreeMap::new();
        let query = uri.query().unwrap_or_default().as_bytes();
        for (key, value) in form_urlencoded::parse(query).into_owned() {
            if parameters.contains_key(&key) {
                return Self(Err(Violation::new(limits::quoted(&key), "is given twice")));
            }
            parameters.insert(key, value);
        }
        Self(Ok(parameters))
    }

    pub(super) fn take(&mut self, key: &str) -> Option<String> {
        self.0.as_mut().ok()?.remove(key)
    }

    /// Takes all parameters whose key has this prefix, which is removed.
    pub(super) fn take_below(&mut self, prefix: &str) -> HashMap<String, String> {
        let Ok(parameters) = &mut self.0 else { return Default::default() };
        let below = parameters.extract_if(.., |key, _| key.starts_with(prefix));
        below.map(|(key, value)| (key[prefix.len()..].to_owned(), value)).collect()
    }

    /// Fails if a parameter was not taken.
    pub(super) fn end(self, right: &str) -> Result<(), Violation> {
        match self.0?.into_keys().next() {
            Some(key) => Err(Violation::new(
                limits::quoted(&key),
                format!("is not a parameter of this path, which takes {right}"),
            )),
            None => Ok(()),
        }
    }
}
