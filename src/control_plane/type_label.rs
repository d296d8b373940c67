//! The types of resources that metrics and pages name. A client chooses the text of others.

use xds::resource_type::{ASSIGNMENT, CLUSTER, LISTENER, ROUTES};

use crate::discovery::proto::NAMESPACE;

/// Each with its label.
pub(super) const TYPES: [(&str, &str); 5] = [
    (NAMESPACE, "namespace"),
    (CLUSTER, "cluster"),
    (ASSIGNMENT, "assignment"),
    (LISTENER, "listener"),
    (ROUTES, "routes"),
];

/// None: it is another type.
pub(super) fn type_label(type_url: &str) -> Option<&'static str> {
    TYPES.iter().find(|(url, _)| *url == type_url).map(|(_, label)| *label)
}
