//! What a client is, by what its node says.

use std::{collections::BTreeSet, sync::Arc};

use xds::{
    proto::{
        envoy::config::core::v3::Node,
        google::protobuf::{Struct, value::Kind},
    },
    server::limits::beginning,
};

/// How an agent calls itself.
pub const AGENT: &str = "pointsman";

/// The name of this host, which is a node's id where nobody gives it another.
pub fn host_name() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// The key in an Envoy's `node.metadata` with the namespaces whose services it wants as clusters.
pub const NAMESPACES: &str = "pointsman.dev/namespaces";

/// The most namespaces that an Envoy may list. One that serves more of a fleet wants all: `"*"`.
const MOST_NAMESPACES: usize = 256;

/// The longest text of an error in a name, in bytes.
const LONGEST_ERROR: usize = 256;

/// The kinds of client. Each gets services in another form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ClientKind {
    /// An agent of Pointsman.
    Agent,
    /// Stock gRPC, or another client that follows names from a listener to endpoints.
    #[default]
    Grpc,
    /// Envoy, whose clusters come from here, from its own bootstrap or from another control plane.
    Envoy,
}

impl ClientKind {
    pub fn text(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Grpc => "grpc",
            Self::Envoy => "envoy",
        }
    }
}

/// A client, as its node describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    pub kind: ClientKind,
    /// The namespaces whose clusters a wildcard stands for.
    pub namespaces: Namespaces,
}

/// Some namespaces.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Namespaces {
    /// None: nobody asked for any.
    #[default]
    None,
    These(BTreeSet<Arc<str>>),
    All,
}

impl Namespaces {
    /// Whether the cluster of this name, such as `cart.shop:80`, is of one of them.
    pub fn have(&self, cluster: &str) -> bool {
        let of = || {
            let service = cluster.split([':', '@']).next()?;
            service.split_once('.').map(|(_, namespace)| namespace)
        };
        match self {
            Self::None => false,
            Self::All => true,
            Self::These(these) => of().is_some_and(|namespace| these.contains(namespace)),
        }
    }
}

impl Client {
    /// Err: what is wrong with the node.
    pub fn of(node: &Node) -> Result<Self, String> {
        let kind = match node.user_agent_name.as_str() {
            AGENT => ClientKind::Agent,
            name if name.starts_with("envoy") => ClientKind::Envoy,
            _ => ClientKind::Grpc,
        };
        Ok(Self { kind, namespaces: node.metadata.as_ref().map_or(Ok(Namespaces::None), listed)? })
    }
}

/// A text, or a list of texts.
fn listed(metadata: &Struct) -> Result<Namespaces, String> {
    let Some(value) = metadata.fields.get(NAMESPACES) else { return Ok(Namespaces::None) };
    let wrong = || {
        format!("node.metadata {NAMESPACES:?} is not understood: write a list of names, or \"*\"")
    };
    let texts: Vec<&str> = match &value.kind {
        Some(Kind::StringValue(text)) => vec![text],
        Some(Kind::ListValue(list)) => (list.values.iter())
            .map(|value| match &value.kind {
                Some(Kind::StringValue(text)) => Ok(text.as_str()),
                _ => Err(wrong()),
            })
            .collect::<Result<_, _>>()?,
        _ => return Err(wrong()),
    };
    if texts.contains(&"*") {
        return Ok(Namespaces::All);
    }
    if texts.len() > MOST_NAMESPACES {
        return Err(format!(
            "node.metadata {NAMESPACES:?} lists {} namespaces, of {MOST_NAMESPACES} at most: write \
             \"*\" for all",
            texts.len()
        ));
    }
    let name = |text: &&str| {
        crate::catalog::name::namespace(text).map_err(|error| {
            // It quotes what the client sent.
            let error = beginning(&error.to_string(), LONGEST_ERROR);
            format!("node.metadata {NAMESPACES:?}: {error}")
        })
    };
    Ok(Namespaces::These(texts.iter().map(name).collect::<Result<_, _>>()?))
}

#[cfg(test)]
mod tests {
    use xds::proto::google::protobuf::{ListValue, Value};

    use super::*;

    fn node(agent: &str) -> Node {
        Node { user_agent_name: agent.into(), ..Node::default() }
    }

    fn text(text: &str) -> Value {
        Value { kind: Some(Kind::StringValue(text.into())) }
    }

    fn with(value: Value) -> Result<Namespaces, String> {
        let fields = [(NAMESPACES.to_owned(), value)].into();
        let node = Node { metadata: Some(Struct { fields }), ..node("envoy") };
        Client::of(&node).map(|client| client.namespaces)
    }

    #[test]
    fn a_client_is_known_by_its_user_agent() {
        let kind = |agent| Client::of(&node(agent)).unwrap().kind;
        assert_eq!(kind("envoy"), ClientKind::Envoy);
        assert_eq!(kind("pointsman"), ClientKind::Agent);
        for other in ["gRPC Go", "gRPC C-core linux", "", "another"] {
            assert_eq!(kind(other), ClientKind::Grpc, "{other}");
        }
    }

    #[test]
    fn namespaces_are_one_several_or_all() {
        assert_eq!(Client::of(&node("envoy")).unwrap().namespaces, Namespaces::None);
        let list = |texts: &[&str]| {
            let values = texts.iter().map(|it| text(it)).collect();
            Value { kind: Some(Kind::ListValue(ListValue { values })) }
        };
        let two = with(list(&["shop", "users"])).unwrap();
        assert!(two.have("cart.shop:80") && two.have("a.users@east:80") && two.have("b.users"));
        assert!(!two.have("cart.other:80") && !two.have("shop") && !two.have("a.shopping:1"));
        assert!(with(text("shop")).unwrap().have("cart.shop:80"));
        assert_eq!(with(list(&["shop", "*"])), Ok(Namespaces::All));
        assert_eq!(with(list(&[])), Ok(Namespaces::These(BTreeSet::new())));
    }

    #[test]
    fn what_is_no_namespace_is_refused() {
        for wrong in [Value { kind: Some(Kind::NumberValue(1.0)) }, text("Shop!"), text("")] {
            let why = with(wrong).unwrap_err();
            assert!(why.starts_with("node.metadata \"pointsman.dev/namespaces\""), "{why}");
        }
        let values = (0..=MOST_NAMESPACES).map(|n| text(&format!("n{n}"))).collect();
        let many = Value { kind: Some(Kind::ListValue(ListValue { values })) };
        assert!(with(many).unwrap_err().contains("257 namespaces, of 256 at most"));
    }
}
