//! A Service object, reduced to what a pick needs.

use std::{collections::BTreeSet, sync::Arc};

use k8s_openapi::api::core::v1 as api;

use super::{
    endpoint_slice::{Family, Protocol, SliceError},
    fallback,
};
use crate::{
    catalog::{ServiceName, Setting},
    policy::settings::{find, validated},
};

/// Settings on a Service object begin with this.
pub const ANNOTATION: &str = "pointsman.dev/";

/// Names the labels of the service's pods that its endpoints have, such as `shard,version`. It is no setting
/// of the agent's, so it is no row of [`crate::policy::settings`].
const POD_LABELS: &str = "pointsman.dev/pod-labels";

/// The most labels that a Service may name, and the longest name: a prefix of 253 bytes, a slash and 63
/// more.
const MOST_POD_LABELS: usize = 8;
const LONGEST_LABEL: usize = 317;

/// Limits on our annotations: their number (several times that of the settings), and the letters of
/// a value. A Service may have 256 KiB of annotations, and its author must not fill every agent's
/// memory.
const MOST_ANNOTATIONS: usize = 64;
const LONGEST_VALUE: usize = 64;

/// One Service object.
#[derive(Clone, Debug, PartialEq)]
pub struct KubeService {
    /// Its name and namespace.
    pub name: ServiceName,
    /// Its uid in the cluster; None: it is from a file.
    pub uid: Option<Arc<str>>,
    /// Its ports, those of TCP first, since each protocol may have a port of the same number.
    pub ports: Vec<KubePort>,
    /// The address families of its endpoints, the preferred one first; may be empty.
    pub families: Vec<Family>,
    /// An alias of a DNS name (ExternalName). It has no endpoints, even if slices remain from
    /// before.
    pub external: bool,
    /// Endpoints count as ready, whatever their conditions.
    pub publish_not_ready: bool,
    /// Only endpoints on the caller's node may be used.
    pub local: bool,
    /// The labels of its pods that its endpoints have.
    pub pod_labels: BTreeSet<Arc<str>>,
    /// The services that stand in for it.
    pub fallback: Vec<ServiceName>,
    /// Settings from its annotations and fields.
    pub settings: Vec<Setting>,
    /// Notes for a person.
    pub notes: Vec<String>,
}

/// One port of a Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KubePort {
    /// Needed where there are several.
    pub name: Option<Arc<str>>,
    /// The service's number.
    pub number: u16,
    /// Its protocol.
    pub protocol: Protocol,
}

impl KubeService {
    /// Reads a Service object.
    pub fn of(service: api::Service) -> Result<Self, SliceError> {
        let metadata = service.metadata;
        let spec = service.spec.unwrap_or_default();
        let namespace = metadata.namespace.as_deref().unwrap_or("default");
        let name = metadata.name.unwrap_or_default();
        let name = ServiceName::new(&name, namespace, None)
            .map_err(|error| SliceError { field: "metadata".into(), what: error.to_string() })?;
        let mut settings: Vec<Setting> =
            spec.traffic_distribution.as_deref().and_then(distribution).into_iter().collect();
        // Headless Services have "None"; to balance or not is no question there.
        let cluster_ip = spec.cluster_ip.filter(|ip| !matches!(ip.as_str(), "" | "None"));
        settings.extend(cluster_ip.map(|ip| Setting {
            implied: true,
            ..Setting::new("virtual_ip", ip, "spec.clusterIP")
        }));
        // Annotations come after fields: within a layer the last setting wins.
        let mut annotations = metadata.annotations.unwrap_or_default();
        let (pod_labels, ignored) = pod_labels(annotations.remove(POD_LABELS).as_deref());
        let fallback = annotations.remove(fallback::ANNOTATION).unwrap_or_default();
        let fallback = fallback::read(&fallback, &name.namespace);
        let mut written: Vec<Setting> = annotations.into_iter().filter_map(annotation).collect();
        let too_many = written.len() > MOST_ANNOTATIONS;
        // Known settings come first, so that unknown ones can't push them out.
        written.sort_by_key(|setting| find(&setting.key).is_none());
        written.truncate(MOST_ANNOTATIONS);
        settings.extend(validated(written));
        let mut notes = notes(
            spec.type_.as_deref(),
            spec.external_name.as_deref(),
            spec.session_affinity.as_deref(),
        );
        if too_many {
            notes.push(format!(
                "more than {MOST_ANNOTATIONS} annotations {ANNOTATION}...: the agent ignores the \
                 others"
            ));
        }
        notes.extend(ignored);
        let fallback = fallback.unwrap_or_else(|wrong| {
            notes.push(wrong);
            Vec::new()
        });
        let families = spec.ip_families.unwrap_or_default();
        Ok(Self {
            name,
            uid: metadata.uid.map(Into::into),
            ports: ports(spec.ports.unwrap_or_default())?,
            families: families.iter().filter_map(|family| self::family(family)).collect(),
            external: spec.type_.as_deref() == Some("ExternalName"),
            publish_not_ready: spec.publish_not_ready_addresses.unwrap_or(false),
            local: spec.internal_traffic_policy.as_deref() == Some("Local"),
            pod_labels,
            fallback,
            settings,
            notes,
        })
    }
}

fn annotation((key, mut value): (String, String)) -> Option<Setting> {
    let setting = key.strip_prefix(ANNOTATION)?;
    // No valid value is so long. A cut one stays invalid, and is kept for the error text only.
    if let Some((end, _)) = value.char_indices().nth(LONGEST_VALUE) {
        value.truncate(end);
        value.push('…');
    }
    Some(Setting::new(setting, value, format!("annotation {key}")))
}

/// The labels that an annotation names, and what is wrong with it.
fn pod_labels(annotation: Option<&str>) -> (BTreeSet<Arc<str>>, Option<String>) {
    let names = annotation.unwrap_or_default().split(',').map(str::trim);
    let (named, long): (BTreeSet<&str>, BTreeSet<&str>) =
        names.filter(|name| !name.is_empty()).partition(|name| name.len() <= LONGEST_LABEL);
    let wrong = !long.is_empty() || named.len() > MOST_POD_LABELS;
    let note = || {
        format!(
            "annotation {POD_LABELS}: a Service may name {MOST_POD_LABELS} labels of up to \
             {LONGEST_LABEL} bytes; the others are ignored"
        )
    };
    (named.into_iter().take(MOST_POD_LABELS).map(Arc::from).collect(), wrong.then(note))
}

fn family(text: &str) -> Option<Family> {
    match text {
        "IPv4" => Some(Family::Ipv4),
        "IPv6" => Some(Family::Ipv6),
        _ => None,
    }
}

fn ports(ports: Vec<api::ServicePort>) -> Result<Vec<KubePort>, SliceError> {
    let mut read = Vec::with_capacity(ports.len());
    for (index, port) in ports.into_iter().enumerate() {
        let number = u16::try_from(port.port).ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| SliceError {
            field: format!("spec.ports[{index}].port"),
            what: format!("{} is out of range: ports are 1 to 65535", port.port),
        })?;
        let name = port.name.filter(|name| !name.is_empty()).map(Into::into);
        read.push(KubePort { name, number, protocol: Protocol::of(port.protocol.as_deref()) });
    }
    read.sort_by_key(|port| port.protocol);
    Ok(read)
}

/// `trafficDistribution` as a setting. It is a preference, and zones are preferred by default, so
/// it wins only over weaker settings. The hints that come with it express a preference for the
/// node.
fn distribution(wanted: &str) -> Option<Setting> {
    matches!(wanted, "PreferClose" | "PreferSameZone" | "PreferSameNode").then(|| Setting {
        implied: true,
        ..Setting::new("zone", "prefer", format!("trafficDistribution {wanted}"))
    })
}

fn notes(kind: Option<&str>, external: Option<&str>, affinity: Option<&str>) -> Vec<String> {
    let mut notes = Vec::new();
    if kind == Some("ExternalName") {
        let name = external.unwrap_or("a DNS name");
        notes.push(format!("type ExternalName ({name}): there are no endpoints to pick from"));
    }
    if affinity == Some("ClientIP") {
        notes.push(
            "sessionAffinity ClientIP has no effect: each request is balanced by itself".to_owned(),
        );
    }
    notes
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn whoever_writes_annotations_without_end_fills_nothing() {
        let long = "\u{1F600}".repeat(10_000);
        let annotations: serde_json::Map<_, _> = (0..5_000)
            .map(|number| (format!("{ANNOTATION}key-{number:04}"), json!(long)))
            .chain([(format!("{ANNOTATION}zone"), json!("off")), ("other".into(), json!("1"))])
            .collect();
        let metadata = json!({ "name": "cart", "namespace": "shop", "annotations": annotations });
        let object = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        let service = KubeService::of(object).unwrap();
        assert_eq!(service.settings.len(), MOST_ANNOTATIONS);
        // Unknown annotations do not push out the known ones.
        assert_eq!(
            service.settings[0],
            Setting::new("zone", "off", "annotation pointsman.dev/zone")
        );
        let wrong = &service.settings[1];
        assert_eq!(wrong.value.chars().count(), LONGEST_VALUE + 1);
        assert!(wrong.wrong.as_ref().unwrap().why.contains("no setting \"key-0000\""));
        assert!(service.notes[0].starts_with("more than 64 annotations pointsman.dev/"));
    }

    fn annotated(pod_labels: &str) -> KubeService {
        let annotations = json!({ POD_LABELS: pod_labels });
        let metadata = json!({ "name": "cart", "namespace": "shop", "annotations": annotations });
        KubeService::of(serde_json::from_value(json!({ "metadata": metadata })).unwrap()).unwrap()
    }

    #[test]
    fn an_annotation_names_labels_of_pods_and_is_no_setting() {
        let service = annotated("version, example.com/shard,,version");
        let named: Vec<&str> = service.pod_labels.iter().map(|label| &**label).collect();
        assert_eq!(named, ["example.com/shard", "version"]);
        assert!(service.settings.is_empty() && service.notes.is_empty());
        assert!(annotated("").pod_labels.is_empty());
    }

    #[test]
    fn too_many_or_too_long_names_of_labels_are_ignored_and_a_note_says_so() {
        let many: Vec<String> = (0..100).map(|n| format!("label-{n:02}")).collect();
        for (text, kept) in
            [(many.join(","), MOST_POD_LABELS), (format!("a,{}", "x".repeat(318)), 1)]
        {
            let service = annotated(&text);
            assert_eq!(service.pod_labels.len(), kept);
            assert!(service.notes[0].contains("may name 8 labels"), "{:?}", service.notes);
        }
    }

    #[test]
    fn what_is_cut_off_makes_no_value_right() {
        let value = format!("on{}, but not really", " ".repeat(100));
        let annotations = json!({ "pointsman.dev/mode": value });
        let metadata = json!({ "name": "cart", "namespace": "shop", "annotations": annotations });
        let object = serde_json::from_value(json!({ "metadata": metadata })).unwrap();
        assert!(KubeService::of(object).unwrap().settings[0].wrong.is_some());
    }
}
