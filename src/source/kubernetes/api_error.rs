//! Explains an error of the API server to the person who has to fix it.

use std::time::Duration;

use kube::core::Status;

use super::error_chain::with_causes;

/// What the agent reads, and what it writes: the taints of its own node, and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Resource {
    Services,
    EndpointSlices,
    /// The agent's own.
    Nodes,
    /// All, for the places of endpoints.
    AllNodes,
    Pods,
    Taints,
    Events,
}

impl Resource {
    pub(super) fn plural(self) -> &'static str {
        match self {
            Self::Services => "services",
            Self::EndpointSlices => "endpointslices",
            Self::Nodes | Self::AllNodes | Self::Taints => "nodes",
            Self::Pods => "pods",
            Self::Events => "events",
        }
    }

    fn group(self) -> &'static str {
        match self {
            Self::EndpointSlices => "discovery.k8s.io",
            Self::Services
            | Self::Nodes
            | Self::AllNodes
            | Self::Pods
            | Self::Taints
            | Self::Events => "",
        }
    }

    /// The smallest sufficient set, as in docs/kubernetes.md and docs/control-plane.md.
    fn verbs(self) -> &'static str {
        match self {
            Self::Nodes => "get",
            Self::Taints => "get, patch",
            Self::Events => "create",
            Self::Services | Self::EndpointSlices | Self::Pods | Self::AllNodes => "list, watch",
        }
    }
}

/// A failed request: what is wrong, and how long the API server asks to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Failure {
    pub(super) what: String,
    pub(super) retry_after: Option<Duration>,
    /// The API server no longer has the changes since: list anew.
    pub(super) gone: bool,
    /// The agent has no right to it.
    pub(super) forbidden: bool,
}

/// Explains a failed call. `server`: the API server's URL.
pub(super) fn of_call(
    error: &kube::Error,
    verb: &str,
    resource: Resource,
    server: &str,
) -> Failure {
    let what = match error {
        kube::Error::Api(status) => return of_status(status, verb, resource, server),
        kube::Error::Service(error) => with_causes(&**error),
        error => with_causes(error),
    };
    plain(format!(
        "no answer from {server} to \"{verb} {}\": {what}; the last good state stays in force",
        resource.plural()
    ))
}

fn plain(what: String) -> Failure {
    Failure { what, retry_after: None, gone: false, forbidden: false }
}

fn of_status(status: &Status, verb: &str, resource: Resource, server: &str) -> Failure {
    let said = status.message.as_str();
    let of = resource.plural();
    let what = match status.code {
        401 => format!(
            "{server} does not accept the credentials (401 {said}): the token or certificate has \
             expired, or is for another cluster"
        ),
        403 if said.contains("User \"") => forbidden(said, verb, resource),
        410 => format!(
            "{server} no longer has the changes of {of} since the last one that the agent read"
        ),
        429 => format!(
            "{server} is too busy for \"{verb} {of}\" (429 {said}): the agent asks again later"
        ),
        code => format!("{server} answers \"{verb} {of}\" with {code} {said}"),
    };
    let seconds = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
    Failure {
        what,
        retry_after: (seconds > 0).then(|| Duration::from_secs(seconds.into())),
        gone: status.code == 410,
        forbidden: status.code == 403,
    }
}

/// Explains a 403 of RBAC, which names the user. Other 403s come from admission policies.
fn forbidden(said: &str, verb: &str, resource: Resource) -> String {
    let user = said.split("User \"").nth(1).and_then(|rest| rest.split('"').next());
    let user = user.map(|user| format!(" \"{user}\"")).unwrap_or_default();
    let of = resource.plural();
    let own = match resource {
        Resource::Nodes => "; or set --zone",
        Resource::AllNodes => {
            "; without it endpoints have no region, and the zone of their slice only"
        }
        Resource::Pods => "; without it endpoints have no labels and no ready time",
        Resource::Taints => "; or leave --remove-taint out",
        Resource::Events => "; or leave --events out",
        Resource::Services | Resource::EndpointSlices => "",
    };
    format!(
        "the user{user} may not {verb} {of} (403): its ClusterRole needs the rule \
         {{apiGroups: [\"{group}\"], resources: [{of}], verbs: [{verbs}]}}{own}",
        group = resource.group(),
        verbs = resource.verbs(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(code: u16, message: &str) -> Box<Status> {
        Status::failure(message, "").with_code(code).boxed()
    }

    fn said(code: u16, message: &str) -> Failure {
        let error = kube::Error::Api(status(code, message));
        of_call(&error, "watch", Resource::EndpointSlices, "https://10.0.0.1")
    }

    #[test]
    fn a_403_names_the_user_the_verb_the_resource_and_the_rule_that_would_be_right() {
        let failure = said(
            403,
            "endpointslices.discovery.k8s.io is forbidden: User \"system:serviceaccount:pointsman:\
             agent\" cannot watch resource \"endpointslices\" in API group \"discovery.k8s.io\" in \
             the namespace \"shop\"",
        );
        assert_eq!(
            failure.what,
            "the user \"system:serviceaccount:pointsman:agent\" may not watch endpointslices \
             (403): its ClusterRole needs the rule {apiGroups: [\"discovery.k8s.io\"], resources: \
             [endpointslices], verbs: [list, watch]}"
        );
    }

    #[test]
    fn a_410_starts_from_a_new_list() {
        assert!(said(410, "too old resource version").gone);
        assert!(!said(500, "").gone);
    }

    #[test]
    fn a_429_says_how_long_the_server_wants_to_be_left_alone() {
        let mut status = status(429, "too many requests");
        status.details = Some(kube::core::response::StatusDetails {
            name: String::new(),
            group: String::new(),
            kind: String::new(),
            uid: String::new(),
            causes: Vec::new(),
            retry_after_seconds: 7,
        });
        let error = kube::Error::Api(status);
        let failure = of_call(&error, "list", Resource::Services, "https://10.0.0.1");
        assert_eq!(failure.retry_after, Some(Duration::from_secs(7)));
        assert!(failure.what.contains("is too busy for \"list services\""), "{}", failure.what);
    }
}
