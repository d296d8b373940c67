//! One client of the control plane: the stream of an agent, which follows some services.
//!
//! It speaks the protocol by the state machine of our agents. Most clients do not decode resources: their
//! processor time would be the fleet's, and is not the control plane's.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io, mem,
    net::{Ipv4Addr, SocketAddr},
    sync::{Arc, atomic::AtomicU64, mpsc::Sender},
    time::Duration,
};

use http::uri::PathAndQuery;
use hyper_util::rt::TokioIo;
use tokio::{
    net::TcpSocket,
    sync::{mpsc, watch},
};
use tonic::{
    client::Grpc,
    codegen::tokio_stream::wrappers::UnboundedReceiverStream,
    transport::{Channel, Endpoint as Connector},
};
use tonic_prost::ProstCodec;
use xds::{
    Name,
    client::{DeltaClient, Event},
    proto::{
        envoy::{
            config::core::v3::Node,
            service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse},
        },
        google::protobuf::Any,
    },
    resource_type::{ASSIGNMENT, CLUSTER},
};

use super::{
    counted_io::CountedIo,
    large::Large,
    services::{LARGE, small},
};
use crate::{
    catalog::Endpoint,
    clock,
    discovery::{
        agent::{parts::whole_of, read},
        client::AGENT,
        proto::NAMESPACE,
    },
};

const METHOD: &str =
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources";
/// The largest response, as an agent has it.
const LARGEST: usize = 64 << 20;

/// What all clients have in common.
#[derive(Clone)]
pub(super) struct Plan {
    /// The services that each follows, the large one included.
    pub(super) followed: usize,
    /// How many small services there are.
    pub(super) small: usize,
    /// The pods of the large service.
    pub(super) pods: usize,
    /// The server tells the names of services, as our control plane does.
    pub(super) names: bool,
    /// One client in this many decodes what it gets.
    pub(super) decodes: usize,
}

/// What a client has learnt.
pub(super) enum News {
    /// There is a connection to the server of the moment.
    Connected,
    /// The client has all that it follows.
    Complete,
    /// The client has this version of the large service.
    Received { client: usize, version: u64, at: Duration },
    /// This version is the state after so many steps.
    Decoded { version: u64, steps: usize },
    /// The stream failed.
    Failed { client: usize, why: String },
}

pub(super) struct Client {
    number: usize,
    plan: Plan,
    machine: DeltaClient,
    /// The small services' assignments that have not come yet.
    missing: BTreeSet<Name>,
    large: Large,
    /// The client has all that it follows.
    complete: bool,
    news: Sender<News>,
    received: Arc<AtomicU64>,
}

impl Client {
    pub(super) fn new(
        number: usize,
        plan: Plan,
        news: Sender<News>,
        received: Arc<AtomicU64>,
    ) -> Self {
        let node = Node {
            id: format!("node-{number}"),
            cluster: AGENT.to_owned(),
            user_agent_name: AGENT.to_owned(),
            ..Node::default()
        };
        let mut machine = DeltaClient::new(node, plan.names.then_some(NAMESPACE));
        let some = (1..plan.followed).map(|n| small((number * plan.followed + n) % plan.small));
        let missing: BTreeSet<Name> = some.map(Name::from).collect();
        for name in &missing {
            machine.subscribe(CLUSTER, name.clone());
            machine.subscribe(ASSIGNMENT, name.clone());
        }
        // Its cluster says whether its assignment comes in parts.
        machine.subscribe(CLUSTER, LARGE);
        let large = Large::default();
        Self { number, plan, machine, missing, large, complete: false, news, received }
    }

    /// Follows the server of the moment, until there is an error.
    pub(super) async fn run(mut self, mut server: watch::Receiver<SocketAddr>) {
        loop {
            let address = *server.borrow_and_update();
            let why = tokio::select! {
                changed = server.changed() => match changed {
                    Ok(()) => continue,
                    Err(_) => return,
                },
                Err(why) = self.follow(address) => why.to_string(),
            };
            // The bench may be over.
            self.news.send(News::Failed { client: self.number, why }).ok();
            return;
        }
    }

    async fn follow(
        &mut self,
        address: SocketAddr,
    ) -> Result<Infallible, Box<dyn std::error::Error>> {
        let channel = self.connect(address).await?;
        self.news.send(News::Connected)?;
        let mut grpc = Grpc::new(channel).max_decoding_message_size(LARGEST);
        grpc.ready().await?;
        let (requests, sent) = mpsc::unbounded_channel();
        self.machine.connected();
        self.say(&requests)?;
        let codec: ProstCodec<DeltaDiscoveryRequest, DeltaDiscoveryResponse> =
            ProstCodec::default();
        let method = PathAndQuery::from_static(METHOD);
        let sent = tonic::Request::new(UnboundedReceiverStream::new(sent));
        let mut responses = grpc.streaming(sent, method, codec).await?.into_inner();
        while let Some(response) = responses.message().await? {
            self.hear(response)?;
            self.say(&requests)?;
        }
        Err("the server ended the stream".into())
    }

    /// From an address of its own, since the server limits what one address may have.
    async fn connect(&self, address: SocketAddr) -> Result<Channel, tonic::transport::Error> {
        let number = self.number + 256;
        let own = Ipv4Addr::new(127, 1 + (number >> 16) as u8, (number >> 8) as u8, number as u8);
        let received = self.received.clone();
        let connect = tower::service_fn(move |_| {
            let received = received.clone();
            async move {
                let socket = TcpSocket::new_v4()?;
                socket.set_nodelay(true)?;
                socket.bind((own, 0).into())?;
                let stream = socket.connect(address).await?;
                Ok::<_, io::Error>(TokioIo::new(CountedIo { stream, received }))
            }
        });
        Connector::from_static("http://localhost").connect_with_connector(connect).await
    }

    fn say(
        &mut self,
        requests: &mpsc::UnboundedSender<DeltaDiscoveryRequest>,
    ) -> Result<(), Box<dyn std::error::Error>> {
        while let Some(request) = self.machine.next_request(clock::now()) {
            requests.send(request).map_err(|_| "the server takes no more requests")?;
        }
        Ok(())
    }

    fn hear(&mut self, response: DeltaDiscoveryResponse) -> Result<(), Box<dyn std::error::Error>> {
        let at = clock::now();
        let decodes = self.number.is_multiple_of(self.plan.decodes);
        let events = self.machine.response(response, |type_url, name, body| {
            match decodes || (type_url, name) == (CLUSTER, LARGE) {
                true => decode(type_url, name, body),
                false => Ok(Decoded::None),
            }
        });
        let mut of_large = false;
        for event in events {
            match event {
                Event::Updated { resource: Decoded::Parts(count), name, .. } if &*name == LARGE => {
                    self.divide(count);
                }
                Event::Updated { type_url, name, version, resource } if type_url == ASSIGNMENT => {
                    self.missing.remove(&name);
                    let endpoints = match resource {
                        Decoded::Endpoints(endpoints) => endpoints,
                        _ => Vec::new(),
                    };
                    of_large |= self.large.came(&name, version, endpoints);
                }
                Event::Updated { .. } => {}
                // A part goes when their number changes.
                Event::Missing { name, .. } if whole_of(&name).is_some() => {}
                Event::Missing { name, .. } => return Err(format!("{name} is missing").into()),
                Event::Rejected { name, why, .. } => return Err(format!("{name}: {why}").into()),
            }
        }
        let version = self.large.version();
        if let Some(version) = version.filter(|_| of_large) {
            let steps = decodes.then(|| self.large.steps(self.plan.pods)).flatten();
            if let Some(steps) = steps {
                self.news.send(News::Decoded { version, steps })?;
            }
            self.news.send(News::Received { client: self.number, version, at })?;
        }
        if version.is_some() && self.missing.is_empty() && !mem::replace(&mut self.complete, true) {
            self.news.send(News::Complete)?;
        }
        Ok(())
    }

    fn divide(&mut self, count: u32) {
        let (new, gone) = self.large.divide(count);
        for name in gone {
            self.machine.unsubscribe(ASSIGNMENT, &name);
        }
        for name in new {
            self.machine.subscribe(ASSIGNMENT, name);
        }
    }
}

/// What a resource says that the bench needs.
enum Decoded {
    None,
    /// The parts of a cluster's assignment.
    Parts(u32),
    Endpoints(Vec<Endpoint>),
}

/// Decodes a resource as an agent does.
fn decode(type_url: &str, name: &str, body: &Any) -> Result<Decoded, String> {
    match type_url {
        NAMESPACE => read::namespace(name, body).map(|_| Decoded::None),
        CLUSTER => read::cluster(name, body).map(|info| Decoded::Parts(info.parts)),
        _ => read::assignment(name, body).map(Decoded::Endpoints),
    }
}
