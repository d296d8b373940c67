//! A Pod, reduced to what its endpoints take from it. A Pod has 6 KB or more, and a cluster has 100,000.

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    num::NonZeroU64,
    sync::Arc,
    time::SystemTime,
};

use k8s_openapi::{NamespaceResourceScope, apimachinery::pkg::apis::meta::v1::ObjectMeta};
use kube::core::Resource;
use serde::{Deserialize, Deserializer};

use crate::{
    catalog::{Interner, Labels},
    source::manifests::slice_union::pod_key,
};

/// The labels to keep of Pods, by namespace: those that a Service there names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::source::kubernetes) struct WantedLabels(
    pub(in crate::source::kubernetes) BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
);

impl WantedLabels {
    /// Whether these are all among `others`.
    pub(in crate::source::kubernetes) fn are_in(&self, others: &Self) -> bool {
        let known = |namespace, keys: &BTreeSet<_>| {
            others.0.get(namespace).is_some_and(|known| keys.is_subset(known))
        };
        self.0.iter().all(|(namespace, keys)| known(namespace, keys))
    }
}

/// What endpoints take from a Pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source::kubernetes) struct PodFacts {
    /// Of the Pod's uid, as [`crate::catalog::Endpoint::pod`].
    pub(super) key: Option<NonZeroU64>,
    /// None: it has none of those that are kept.
    pub(super) labels: Option<Arc<Labels>>,
    /// Since when it is ready; None: it is not.
    pub(super) ready_since: Option<SystemTime>,
}

/// Reduces Pods. Equal labels are kept once.
pub(in crate::source::kubernetes) struct PodReader {
    wanted: Arc<WantedLabels>,
    interner: Interner,
}

impl PodReader {
    pub(in crate::source::kubernetes) fn new(wanted: Arc<WantedLabels>) -> Self {
        Self { wanted, interner: Interner::new() }
    }

    pub(in crate::source::kubernetes) fn read(&mut self, pod: Pod) -> PodFacts {
        let Pod { metadata, ready_since } = pod;
        let wanted = metadata.namespace.as_deref().and_then(|it| self.wanted.0.get(it));
        let of = metadata.labels.unwrap_or_default();
        let kept = wanted.into_iter().flatten().filter_map(|key| {
            let value = of.get(&**key)?;
            Some((key.clone(), value.as_str().into()))
        });
        let labels: Labels = kept.collect();
        let labels = (!labels.is_empty()).then(|| {
            let mut labels = Arc::new(labels);
            self.interner.share_labels(&mut labels);
            labels
        });
        PodFacts { key: metadata.uid.as_deref().map(pod_key), labels, ready_since }
    }
}

/// The fields of a Pod that are read. The others are skipped while the text is parsed.
#[derive(Clone, Debug)]
pub(in crate::source::kubernetes) struct Pod {
    metadata: ObjectMeta,
    ready_since: Option<SystemTime>,
}

impl Resource for Pod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}

impl<'de> Deserialize<'de> for Pod {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Read { metadata, status } = Read::deserialize(deserializer)?;
        let ReadMetadata { name, namespace, uid, resource_version, labels } = metadata;
        let metadata =
            ObjectMeta { name, namespace, uid, resource_version, labels, ..ObjectMeta::default() };
        let conditions = status.and_then(|status| status.conditions).unwrap_or_default();
        let ready = conditions.into_iter().find(|it| it.type_ == "Ready" && it.status == "True");
        let since = ready.and_then(|ready| ready.last_transition_time);
        // Without a valid time the Pod is known all the same.
        let ready_since = since.and_then(|time| humantime::parse_rfc3339(&time).ok());
        Ok(Self { metadata, ready_since })
    }
}

#[derive(Deserialize)]
struct Read {
    metadata: ReadMetadata,
    status: Option<ReadStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadMetadata {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Deserialize)]
struct ReadStatus {
    conditions: Option<Vec<ReadCondition>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ReadCondition {
    #[serde(rename = "type")]
    type_: String,
    status: String,
    last_transition_time: Option<String>,
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;

    fn wanted(namespace: &str, keys: &[&str]) -> WantedLabels {
        let keys = keys.iter().map(|key| Arc::from(*key)).collect();
        WantedLabels([(namespace.into(), keys)].into())
    }

    fn pod(fields: Value) -> Pod {
        serde_json::from_value(fields).unwrap()
    }

    fn full() -> Value {
        json!({
            "kind": "Pod", "apiVersion": "v1",
            "metadata": {
                "name": "cart-1", "namespace": "shop", "uid": "u-1", "resourceVersion": "7",
                "labels": { "shard": "3", "app": "cart", "version": "b" },
                "annotations": { "large": "x".repeat(5000) },
                "managedFields": [{ "manager": "kubelet", "fieldsV1": { "f:status": {} } }]
            },
            "spec": { "containers": [{ "name": "cart", "image": "cart:1" }] },
            "status": { "podIP": "10.1.0.1", "conditions": [
                { "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z" },
                { "type": "Ready", "status": "True", "lastTransitionTime": "1970-01-01T00:01:40Z" }
            ] }
        })
    }

    #[test]
    fn of_a_pod_only_the_labels_that_its_namespace_wants_are_kept_and_its_ready_time() {
        let read = pod(full());
        assert_eq!(read.metadata.resource_version.as_deref(), Some("7"));
        assert!(read.metadata.annotations.is_none() && read.metadata.managed_fields.is_none());
        let facts = |namespace: &str, keys: &[&str]| {
            PodReader::new(wanted(namespace, keys).into()).read(pod(full()))
        };
        let kept = facts("shop", &["shard", "version", "absent"]);
        let labels = [("shard", "3"), ("version", "b")].map(|(k, v)| (k.into(), v.into()));
        assert_eq!(kept.labels.as_deref(), Some(&Labels::from(labels)));
        assert_eq!(kept.key, Some(pod_key("u-1")));
        assert_eq!(kept.ready_since, Some(SystemTime::UNIX_EPOCH + Duration::from_secs(100)));
        assert_eq!(facts("other", &["shard"]).labels, None, "another namespace's Service names it");
    }

    #[test]
    fn a_pod_that_is_not_ready_or_says_less_is_read_too() {
        let mut unready = full();
        unready["status"]["conditions"][1]["status"] = "False".into();
        let mut reader = PodReader::new(Arc::default());
        assert_eq!(reader.read(pod(unready)).ready_since, None);
        let mut wrong = full();
        wrong["status"]["conditions"][1]["lastTransitionTime"] = "yesterday".into();
        assert_eq!(reader.read(pod(wrong)).ready_since, None);
        let least = reader.read(pod(json!({ "metadata": { "labels": null } })));
        assert_eq!(least, PodFacts { key: None, labels: None, ready_since: None });
    }

    #[test]
    fn equal_labels_of_many_pods_are_kept_once() {
        let mut reader = PodReader::new(wanted("shop", &["shard"]).into());
        let labels = [(); 2].map(|()| reader.read(pod(full())).labels.unwrap());
        assert!(Arc::ptr_eq(&labels[0], &labels[1]));
    }

    #[test]
    fn wanted_labels_are_in_others_if_each_namespace_has_them() {
        let few = wanted("shop", &["shard"]);
        assert!(few.are_in(&wanted("shop", &["shard", "version"])));
        assert!(!few.are_in(&wanted("other", &["shard"])));
        assert!(!wanted("shop", &["shard", "version"]).are_in(&few));
        assert!(WantedLabels::default().are_in(&WantedLabels::default()));
    }
}
