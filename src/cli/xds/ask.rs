//! What a command asks a control plane for, and as which kind of client.

use std::time::Duration;

use xds::{
    Name,
    proto::{
        envoy::config::core::v3::Node,
        google::protobuf::{ListValue, Struct, Value, value::Kind as ValueKind},
    },
};

use super::{observer::Selection, resource_type::Type};
use crate::{
    catalog::ServiceRef,
    cli::{
        exit::{Failure, Kind as ExitKind},
        format::parse_duration,
    },
    discovery::client::{AGENT, NAMESPACES, host_name},
};

/// The options of every command that asks.
#[derive(Clone, Debug, clap::Args)]
pub(super) struct Ask {
    /// A service, with a port or without, such as cart.shop:8080. With --type, the name of a resource. Repeat it for
    /// several. Default: all resources of the type.
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// The kind of client to ask as. Each kind is told another form of the same services.
    #[arg(long = "as", value_enum, default_value_t, value_name = "CLIENT")]
    client: Client,
    /// The type of the resources. Default: without a NAME what such a client asks for first, and with one all that it
    /// needs to call that service.
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    resource_type: Option<Type>,
    /// A namespace of the clusters that an Envoy wants. Repeat it for several. Default: all.
    #[arg(long = "namespace", value_name = "NAMESPACE", value_parser = super::bootstrap::namespace)]
    namespaces: Vec<String>,
    /// The name to ask under. Default: this host's name, and -xds behind it.
    #[arg(long, value_name = "ID")]
    node_id: Option<String>,
}

/// How long a command waits for an answer.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Patience {
    /// How long to wait for the whole answer.
    #[arg(long, value_name = "DURATION", default_value = "10s", value_parser = parse_duration)]
    pub(super) timeout: Duration,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
enum Client {
    /// An agent of Pointsman.
    #[default]
    Agent,
    /// A gRPC program.
    Grpc,
    /// An Envoy.
    Envoy,
}

impl Ask {
    /// What to subscribe to.
    ///
    /// # Errors
    /// A name is not that of a service.
    pub(super) fn selection(&self) -> Result<Selection, Failure> {
        self.selection_of(self.first_type())
    }

    /// The same, but without a name and a type it is all that such a client may be told.
    ///
    /// # Errors
    /// A name is not that of a service.
    pub(super) fn whole_selection(&self) -> Result<Selection, Failure> {
        if !self.names.is_empty() || self.resource_type.is_some() {
            return self.selection();
        }
        let types: &[Type] = match self.client {
            Client::Agent => &[Type::Namespace, Type::Cluster, Type::Assignment],
            Client::Grpc => &[Type::Listener, Type::Cluster, Type::Assignment],
            Client::Envoy => &[Type::Cluster, Type::Assignment],
        };
        Ok(Selection::All(types.iter().copied().collect()))
    }

    fn first_type(&self) -> Type {
        match self.client {
            Client::Agent => Type::Namespace,
            Client::Grpc => Type::Listener,
            Client::Envoy => Type::Cluster,
        }
    }

    fn selection_of(&self, first: Type) -> Result<Selection, Failure> {
        let names = || self.names.iter().map(|name| Name::from(name.as_str())).collect();
        Ok(match (self.resource_type, self.client) {
            _ if self.names.is_empty() => {
                Selection::All([self.resource_type.unwrap_or(first)].into())
            }
            (Some(of_type), _) => Selection::Named(of_type, names()),
            (None, Client::Agent) => Selection::Services(self.services()?),
            (None, Client::Grpc | Client::Envoy) => Selection::Following(first, names()),
        })
    }

    fn services(&self) -> Result<Vec<ServiceRef>, Failure> {
        let service = |name: &String| {
            name.parse().map_err(|error| {
                let message = format!("{error}; for a resource of another name, add --type");
                Failure::new(ExitKind::Usage, message)
            })
        };
        self.names.iter().map(service).collect()
    }

    /// The client, as the control plane sees it.
    pub(super) fn node(&self) -> Node {
        let user_agent = match self.client {
            Client::Agent => AGENT,
            Client::Grpc => "gRPC",
            Client::Envoy => "envoy",
        };
        Node {
            id: self.node_id.clone().unwrap_or_else(|| format!("{}-xds", host_name())),
            cluster: AGENT.to_owned(),
            user_agent_name: user_agent.to_owned(),
            metadata: (self.client == Client::Envoy).then(|| self.metadata()),
            ..Node::default()
        }
    }

    fn metadata(&self) -> Struct {
        let text = |text: &str| Value { kind: Some(ValueKind::StringValue(text.to_owned())) };
        let namespaces = match &*self.namespaces {
            [] => text("*"),
            some => {
                let values = some.iter().map(|namespace| text(namespace)).collect();
                Value { kind: Some(ValueKind::ListValue(ListValue { values })) }
            }
        };
        Struct { fields: [(NAMESPACES.to_owned(), namespaces)].into() }
    }
}
