//! Reads a request's path and query strictly: each parameter at most once, and no unknown ones.

use std::{
    collections::{BTreeMap, HashMap},
    convert::Infallible,
};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};

use crate::serve::{Error, Violation, limits};

pub(super) struct ServiceName(pub(super) Result<String, Error>);

impl<S: Send + Sync> FromRequestParts<S> for ServiceName {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let name = Path::<String>::from_request_parts(parts, state).await;
        Ok(Self(name.map(|Path(name)| name).map_err(|_| {
            Violation::new("service", "is not UTF-8 after its %-escapes are decoded").into()
        })))
    }
}

pub(super) struct Query(pub(super) QueryParameters);

/// The parameters not yet taken.
pub(super) struct QueryParameters(Result<BTreeMap<String, String>, Violation>);

impl<S: Send + Sync> FromRequestParts<S> for Query {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        let query = axum::extract::Query::<Vec<(String, String)>>::from_request_parts(parts, state);
        Ok(Self(QueryParameters(match query.await {
            Ok(axum::extract::Query(pairs)) => once_each(pairs),
            Err(rejection) => Err(Violation::new("", format!("the query: {rejection}"))),
        })))
    }
}

fn once_each(pairs: Vec<(String, String)>) -> Result<BTreeMap<String, String>, Violation> {
    let mut parameters = BTreeMap::new();
    for (key, value) in pairs {
        if parameters.insert(key.clone(), value).is_some() {
            return Err(Violation::new(limits::quoted(&key), "is given twice"));
        }
    }
    Ok(parameters)
}

impl QueryParameters {
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
