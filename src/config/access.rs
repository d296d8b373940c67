//! Who may ask for what, as the configuration says it.

use std::{collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use schemars::JsonSchema;
use serde::Deserialize;

use crate::source::document;

/// What some callers may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The callers' user ids.
    pub uids: RangeInclusive<u32>,
    /// The namespaces whose services they may list and pick; None: all.
    pub namespaces: Option<BTreeSet<Arc<str>>>,
}

/// The same as it is written.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Access")]
pub(super) struct AccessBlock {
    /// A user id (1000), a range of them (1000-1999), or any.
    #[schemars(with = "UidsShape")]
    uids: Uids,
    /// The namespaces whose services they may list and pick; all, if it is left out.
    namespaces: Option<BTreeSet<Arc<str>>>,
}

/// What `Uids` is read from, for the schema.
#[derive(JsonSchema)]
#[schemars(untagged, inline)]
#[expect(dead_code, reason = "only its shape is used")]
enum UidsShape {
    One(u32),
    Text(String),
}

document::from_text!(Uids(RangeInclusive<u32>), |text| {
    let range = match text.split_once('-') {
        _ if text == "any" => Some(0..=u32::MAX),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok()).map(|(a, b)| a..=b),
        None => text.parse().ok().map(|uid| uid..=uid),
    };
    range.filter(|range| !range.is_empty()).ok_or_else(|| {
        format!("\"{text}\" is no user id: write 1000, a range such as 1000-1999, or any")
    })
});

impl From<AccessBlock> for AccessEntry {
    fn from(block: AccessBlock) -> Self {
        Self { uids: block.uids.0, namespaces: block.namespaces }
    }
}
