//! Policies by the names of namespaces and services, each name checked: what is under a name that there
//! can't be would hold for nobody, and say nothing.

use std::{collections::BTreeMap, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer};

use crate::{
    catalog::name::namespace,
    source::{policy_block::PolicyBlock, shape},
};

/// A namespace's name, checked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamespaceKey(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for NamespaceKey {
    fn deserialize<D: Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
        let text = String::deserialize(yaml)?;
        namespace(&text).map(Self).map_err(serde::de::Error::custom)
    }
}

/// Reads a block whose keys are namespaces.
pub(super) fn by_namespace<'de, D: Deserializer<'de>>(
    yaml: D,
) -> Result<BTreeMap<Arc<str>, PolicyBlock>, D::Error> {
    let checked = BTreeMap::<NamespaceKey, PolicyBlock>::deserialize(yaml)?;
    Ok(checked.into_iter().map(|(name, block)| (name.0, block)).collect())
}

/// A namespace's name, for the schema.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct NamespaceShape(#[schemars(regex(pattern = shape::NAMESPACE))] String);

/// A service's name, for the schema.
#[derive(JsonSchema)]
#[expect(dead_code, reason = "only its schema is used")]
pub(super) struct ServiceShape(#[schemars(regex(pattern = shape::SERVICE))] String);

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn error(text: &str) -> String {
        Config::parse(&"agent.yaml".into(), text).unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_no_namespace_can_have_is_named() {
        assert_eq!(
            error("policies:\n  namespaces:\n    cart.shop: {zone: off}\n"),
            "agent.yaml:3:5: policies.namespaces.cart.shop: \"cart.shop\": the namespace \
             \"cart.shop\" has '.': only a-z, 0-9 and '-' are allowed"
        );
        for access in ["{pods: {}, namespaces: [Shop]}", "{pods: {namespaces: [Shop]}}"] {
            let error = error(&format!("access:\n  - {access}\n"));
            assert!(error.contains("has an upper-case 'S': write \"shop\""), "{error}");
        }
    }
}
