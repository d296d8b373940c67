//! The `access` block of the configuration: which callers may ask for which namespaces.

use std::{borrow::Cow, collections::BTreeSet, ops::RangeInclusive, sync::Arc};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_saphyr::Spanned;

use super::by_name::NamespaceKey;
use crate::source::{Problem, yaml::document};

/// What some callers may ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccessEntry {
    /// The callers that the entry fits.
    pub callers: Callers,
    /// The namespaces whose services they may list and pick; None: all.
    pub namespaces: Option<BTreeSet<Arc<str>>>,
    /// Each pod may list and pick services of its own namespace, too.
    pub own_namespace: bool,
}

/// Some callers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Callers {
    /// Processes of these users that came through the node's socket.
    Uids(RangeInclusive<u32>),
    /// Pods that came through a folder of their own.
    Pods {
        /// Of these namespaces; None: of all.
        namespaces: Option<BTreeSet<Arc<str>>>,
        /// With these ServiceAccounts; None: with any.
        service_accounts: Option<BTreeSet<Arc<str>>>,
    },
}

/// Some callers, and what they may ask for.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Access", extend("oneOf" = either()))]
pub(super) struct AccessBlock {
    /// A user id (1000), a range of them (1000-1999), or any. It matches processes that connect to the
    /// node's socket. Set either this or pods.
    uids: Option<Uids>,
    /// It matches pods that connect through a folder of their own. Set either this or uids.
    pods: Option<PodsBlock>,
    /// The namespaces whose services these callers may list and pick. All, if neither this nor
    /// own_namespace is set.
    namespaces: Option<BTreeSet<NamespaceKey>>,
    /// Whether each of these pods may list and pick the services of its own namespace.
    #[serde(default)]
    own_namespace: bool,
}

/// Which pods: all of them, if both fields are left out.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "AccessPods")]
struct PodsBlock {
    /// Pods of these namespaces; of all namespaces if left out.
    namespaces: Option<BTreeSet<NamespaceKey>>,
    /// Pods with these ServiceAccounts, by name; with any ServiceAccount if left out.
    service_accounts: Option<BTreeSet<Arc<str>>>,
}

impl JsonSchema for Uids {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Uids".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["integer", "string"],
            "minimum": 0,
            "maximum": u32::MAX,
            "pattern": "^(any|[0-9]+(-[0-9]+)?)$",
        })
    }
}

/// Uids or pods, for the schema: as [`entry`] has it.
fn either() -> serde_json::Value {
    serde_json::json!([
        {
            "required": ["uids"],
            "properties": {
                "uids": { "type": ["integer", "string"] },
                "pods": { "type": "null" },
                "own_namespace": { "const": false },
            },
        },
        {
            "required": ["pods"],
            "properties": { "pods": { "type": "object" }, "uids": { "type": "null" } },
        },
    ])
}

document::from_text!(Uids(RangeInclusive<u32>), |text| {
    let range = match text.split_once('-') {
        _ if text == "any" => Some(0..=u32::MAX),
        Some((first, last)) => first.parse().ok().zip(last.parse().ok()).map(|(a, b)| a..=b),
        None => text.parse().ok().map(|uid| uid..=uid),
    };
    range.filter(|range| !range.is_empty()).ok_or_else(|| {
        format!("\"{text}\" is not a user id: write 1000, a range such as 1000-1999, or any")
    })
});

/// Reads the entries of a file, in order.
///
/// # Errors
/// An entry fits no caller, or contradicts itself.
pub(super) fn entries(
    file: &Arc<str>,
    written: Vec<Spanned<AccessBlock>>,
) -> Result<Vec<AccessEntry>, Problem> {
    let entry = |(index, block): (usize, Spanned<AccessBlock>)| {
        let place = document::place(file, block.referenced);
        let problem = |what| Problem { place, field: format!("access[{index}]"), what };
        entry(block.value).map_err(|what| problem(what.to_owned()))
    };
    written.into_iter().enumerate().map(entry).collect()
}

fn entry(block: AccessBlock) -> Result<AccessEntry, &'static str> {
    let AccessBlock { uids, pods, namespaces, own_namespace } = block;
    let names = |keys: BTreeSet<NamespaceKey>| keys.into_iter().map(|key| key.0).collect();
    let callers = match (uids, pods) {
        (Some(uids), None) if !own_namespace => Callers::Uids(uids.0),
        (Some(_), None) => return Err("own_namespace is for pods: a uid has no namespace"),
        (None, Some(PodsBlock { namespaces, service_accounts })) => {
            Callers::Pods { namespaces: namespaces.map(names), service_accounts }
        }
        (None, None) => {
            return Err("the entry does not name any callers: write uids: any, or pods: {}");
        }
        (Some(_), Some(_)) => {
            return Err("an entry has either uids or pods: write two entries");
        }
    };
    // Without named namespaces, pods get only their own.
    let namespaces = namespaces.map(names).or_else(|| own_namespace.then(BTreeSet::new));
    Ok(AccessEntry { callers, namespaces, own_namespace })
}
