//! A client that only looks: what it subscribes to, and what it was told. Without IO.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use xds::{
    Name,
    client::{DeltaClient, Event},
    proto::envoy::{
        config::core::v3::Node,
        service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
    },
};

use super::{contents::Contents, resource_type::Type};
use crate::{
    catalog::{PortRef, ServiceName, ServiceRef},
    discovery::{
        agent::read::{Named, NamedPort},
        names::namespace_of,
    },
    suggest::{did_you_mean, similar},
};

/// No server says where a list of all resources ends, and a long one comes in several responses. So the observer also
/// asks for this name, which no resource has and which is behind those of all services: a server that answers in
/// order answers it last.
const END: &str = "~pointsman.dev/end";

/// What to subscribe to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Selection {
    /// All resources of these types.
    All(BTreeSet<Type>),
    /// The resources of one type with these names.
    Named(Type, Vec<Name>),
    /// The same, and what a client asks for after each of them.
    Following(Type, Vec<Name>),
    /// What an agent asks for to call these services.
    Services(Vec<ServiceRef>),
}

/// A resource as the server has told it.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Resource {
    pub(super) version: String,
    /// Of its body, in bytes.
    pub(super) size: usize,
    pub(super) contents: Contents,
}

/// What is known of a resource.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) enum State {
    /// The server has said nothing of it.
    #[default]
    Unknown,
    There(Box<Resource>),
    /// It does not exist.
    Missing,
    /// Why it can't be read.
    Unreadable(String),
}

pub(super) type Key = (Type, Name);

/// The server has told something of a resource.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    pub(super) key: Key,
    pub(super) before: State,
    pub(super) after: State,
}

#[derive(Debug)]
pub(super) struct Observer {
    client: DeltaClient,
    selection: Selection,
    states: BTreeMap<Key, State>,
    /// The names that the client subscribes to.
    subscribed: BTreeSet<Key>,
    /// The types of which all is subscribed to, and something was told.
    begun: BTreeSet<Type>,
}

impl Observer {
    pub(super) fn new(node: Node, selection: Selection) -> Self {
        let all: Vec<&str> = match &selection {
            Selection::All(types) => types.iter().map(|each| each.url()).collect(),
            _ => Vec::new(),
        };
        let mut observer = Self {
            client: DeltaClient::new(node, all),
            selection,
            states: BTreeMap::new(),
            subscribed: BTreeSet::new(),
            begun: BTreeSet::new(),
        };
        observer.subscribe();
        observer
    }

    // --- the stream

    pub(super) fn connected(&mut self) {
        self.client.connected();
    }

    pub(super) fn disconnected(&mut self) {
        self.client.disconnected();
    }

    pub(super) fn next_request(&mut self, now: Duration) -> Option<DeltaDiscoveryRequest> {
        self.client.next_request(now)
    }

    /// Returns what the response has changed.
    pub(super) fn response(&mut self, response: DeltaDiscoveryResponse) -> Vec<Change> {
        self.begun.extend(Type::of(&response.type_url));
        let events = self.client.response(response, |type_url, name, body| {
            let of_type = Type::of(type_url).ok_or("nothing of this type was asked for")?;
            Ok((body.value.len(), Contents::read(of_type, name, body)?))
        });
        let mut changes = Vec::new();
        for event in events {
            let (type_url, name) = event.resource();
            let Some(of_type) = Type::of(type_url) else { continue };
            let key = (of_type, name.clone());
            let after = match event {
                Event::Updated { version, resource: (size, contents), .. } => {
                    State::There(Box::new(Resource { version, size, contents }))
                }
                Event::Missing { .. } => State::Missing,
                Event::Rejected { why, .. } => State::Unreadable(why),
            };
            let before = self.states.insert(key.clone(), after.clone()).unwrap_or_default();
            if *key.1 != *END && before != after {
                changes.push(Change { key, before, after });
            }
        }
        self.subscribe();
        changes
    }

    /// Brings the subscriptions up to date with what was told.
    fn subscribe(&mut self) {
        let wanted = self.wanted();
        for (of_type, name) in wanted.difference(&self.subscribed) {
            self.client.subscribe(of_type.url(), name.clone());
        }
        for key in self.subscribed.difference(&wanted) {
            self.client.unsubscribe(key.0.url(), &key.1);
            self.states.remove(key);
        }
        self.subscribed = wanted;
    }

    fn wanted(&self) -> BTreeSet<Key> {
        match &self.selection {
            Selection::All(types) => types.iter().map(|each| (*each, END.into())).collect(),
            Selection::Named(of_type, names) => {
                names.iter().map(|name| (*of_type, name.clone())).collect()
            }
            Selection::Following(first, names) => {
                self.followed(names.iter().map(|name| (*first, name.clone())).collect())
            }
            Selection::Services(services) => {
                let mut open = Vec::new();
                for service in services {
                    open.push((Type::Namespace, namespace_of(&service.service).into()));
                    let ports = self.ports(service).into_iter().flatten();
                    open.extend(ports.map(|port| (Type::Cluster, port.cluster.clone())));
                }
                self.followed(open)
            }
        }
    }

    /// These resources, and all that they need.
    fn followed(&self, mut open: Vec<Key>) -> BTreeSet<Key> {
        let mut wanted = BTreeSet::new();
        while let Some(key) = open.pop() {
            if let Some(State::There(resource)) = self.states.get(&key)
                && !wanted.contains(&key)
            {
                open.extend(resource.contents.needs());
            }
            wanted.insert(key);
        }
        wanted
    }

    /// The services of a namespace; None: it is not there, or not yet.
    fn namespace(&self, service: &ServiceName) -> Option<&[Named]> {
        let state = self.states.get(&(Type::Namespace, namespace_of(service).into()))?;
        let State::There(resource) = state else { return None };
        match &resource.contents {
            Contents::Namespace(services) => Some(services),
            _ => None,
        }
    }

    /// The ports that a client means by this; None: there is no such service.
    fn ports(&self, asked: &ServiceRef) -> Option<impl Iterator<Item = &NamedPort>> {
        let services = self.namespace(&asked.service)?;
        let named = services.iter().find(|named| named.service == asked.service)?;
        Some(named.ports.iter().filter(move |port| match &asked.port {
            None => true,
            Some(PortRef::Number(number)) => port.number == Some(*number),
            Some(PortRef::Name(name)) => port.name.as_ref() == Some(name),
        }))
    }

    // --- what was told

    /// The resources that are there or can't be read, by type and name.
    pub(super) fn told(&self) -> impl Iterator<Item = (&Key, &State)> {
        let is_told = |state: &State| matches!(state, State::There(_) | State::Unreadable(_));
        self.states.iter().filter(move |(key, state)| *key.1 != *END && is_told(state))
    }

    pub(super) fn state(&self, key: &Key) -> Option<&State> {
        self.states.get(key)
    }

    /// What the server has said nothing of, for a person.
    pub(super) fn unanswered(&self) -> Vec<String> {
        let open = |key: &&Key| matches!(self.states.get(*key), None | Some(State::Unknown));
        let open = self.subscribed.iter().filter(open);
        open.map(|(of_type, name)| match (**name == *END, self.begun.contains(of_type)) {
            (true, true) => format!("the end of the list of type {}", of_type.word()),
            (true, false) => format!("everything of type {}", of_type.word()),
            (false, _) => format!("{} {name:?}", of_type.word()),
        })
        .collect()
    }

    /// Whether something of each was told that may be missing its end. Not every server answers a name that does
    /// not exist.
    pub(super) fn lacks_only_ends(&self) -> bool {
        let open = |key: &&Key| matches!(self.states.get(*key), None | Some(State::Unknown));
        let mut open = self.subscribed.iter().filter(open);
        open.all(|(of_type, name)| **name == *END && self.begun.contains(of_type))
    }

    /// What was asked for and does not exist, or can't be read, for a person.
    pub(super) fn absent(&self) -> Vec<String> {
        let mut absent = Vec::new();
        if let Selection::Services(services) = &self.selection {
            absent.extend(services.iter().filter_map(|asked| self.why_absent(asked)));
        }
        for (key, state) in &self.states {
            let (of_type, name) = key;
            let of_a_service =
                matches!(self.selection, Selection::Services(_)) && *of_type == Type::Namespace;
            match state {
                State::Missing
                    if !of_a_service && self.subscribed.contains(key) && **name != *END =>
                {
                    absent.push(format!("there is no {} {name:?}", of_type.word()));
                }
                State::There(resource) if resource.contents.is_no_service() && **name != *END => {
                    absent.push(format!(
                        "there is no service {name:?}: the control plane tells a listener that has no route"
                    ));
                }
                State::Unreadable(why) => {
                    absent.push(format!("{} {name:?} can't be read: {why}", of_type.word()));
                }
                _ => {}
            }
        }
        absent
    }

    /// None: the service is there, with the port that was asked for.
    fn why_absent(&self, asked: &ServiceRef) -> Option<String> {
        let ServiceRef { service, .. } = asked;
        let Some(services) = self.namespace(service) else {
            let namespace = namespace_of(service);
            return Some(format!(
                "there is no service \"{service}\", and no other in namespace {namespace:?}"
            ));
        };
        let Some(mut ports) = self.ports(asked) else {
            let names = services.iter().map(|named| &*named.service.name);
            let near = similar(&service.name, names).into_iter();
            let near: Vec<String> =
                near.map(|name| format!("{name}.{}", namespace_of(service))).collect();
            return Some(format!("there is no service \"{service}\"{}", did_you_mean(&near)));
        };
        match ports.next() {
            Some(_) => None,
            None => Some(format!("service \"{service}\" has no such port: \"{asked}\"")),
        }
    }
}
