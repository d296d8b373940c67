//! Policies by the names of namespaces and services. Each name is checked, because a block under an
//! impossible name would have no effect, and nobody would notice.

use std::{collections::BTreeMap, fmt, marker::PhantomData, sync::Arc};

use serde::{
    Deserialize, Deserializer,
    de::{Error, MapAccess, Visitor},
};

use crate::{
    catalog::{ServiceName, name::namespace},
    source::yaml::{document, patterns, policy_block::PolicyBlock},
};

/// A namespace's name, checked.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct NamespaceKey(pub(super) Arc<str>);

impl<'de> Deserialize<'de> for NamespaceKey {
    fn deserialize<D: Deserializer<'de>>(yaml: D) -> Result<Self, D::Error> {
        let text = String::deserialize(yaml)?;
        namespace(&text).map(Self).map_err(Error::custom)
    }
}

document::schema_of_text!(NamespaceKey, patterns::NAMESPACE);

document::from_text!(pub(super) ServiceKey(ServiceName), |text| text
    .parse()
    .map_err(|error| format!("{error}")));
document::schema_of_text!(ServiceKey, patterns::SERVICE);

/// Reads a block whose keys are namespaces.
pub(super) fn by_namespace<'de, D: Deserializer<'de>>(
    yaml: D,
) -> Result<BTreeMap<Arc<str>, PolicyBlock>, D::Error> {
    yaml.deserialize_map(BlocksVisitor(|key: NamespaceKey| key.0, PhantomData))
}

/// Reads a block whose keys are services.
pub(super) fn by_service<'de, D: Deserializer<'de>>(
    yaml: D,
) -> Result<BTreeMap<ServiceName, PolicyBlock>, D::Error> {
    yaml.deserialize_map(BlocksVisitor(|key: ServiceKey| key.0, PhantomData))
}

/// Reads blocks by the meaning of their keys. A service has several names; with two blocks under
/// two names, one would have no effect.
struct BlocksVisitor<K, N>(fn(K) -> N, PhantomData<K>);

impl<'de, K: Deserialize<'de>, N: Ord + fmt::Display> Visitor<'de> for BlocksVisitor<K, N> {
    type Value = BTreeMap<N, PolicyBlock>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings by name (name: {setting: value})")
    }

    // A key with nothing but comments under it.
    fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
        Ok(BTreeMap::new())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut blocks = BTreeMap::new();
        while let Some(key) = map.next_key::<K>()? {
            let name = self.0(key);
            if blocks.contains_key(&name) {
                let what =
                    format!("\"{name}\" stands here twice, under two of its names: keep one block");
                return Err(Error::custom(what));
            }
            blocks.insert(name, map.next_value()?);
        }
        Ok(blocks)
    }
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn error(text: &str) -> String {
        Config::parse(&"agent.yaml".into(), text).unwrap_err().to_string()
    }

    #[test]
    fn a_service_by_two_of_its_names_is_refused() {
        for other in ["cart.shop.svc.cluster.local", "cart.shop.svc", "cart.shop."] {
            let two = format!("services: {{cart.shop: {{mode: off}}, {other}: {{choices: 3}}}}");
            for text in
                [format!("policies: {{{two}}}"), format!("policies: {{override: {{{two}}}}}")]
            {
                let error = error(&text);
                assert!(error.contains("\"cart.shop\" stands here twice"), "{error}");
            }
        }
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
