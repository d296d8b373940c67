//! The two variants of the protocol, as a stream sees them.

use std::time::Duration;

use xds::{
    Published,
    proto::envoy::{
        config::core::v3::Node,
        service::discovery::v3::{
            DeltaDiscoveryRequest, DeltaDiscoveryResponse, DiscoveryRequest, DiscoveryResponse,
        },
    },
    resource_type::ASSIGNMENT,
    server::{
        Answer, DeltaStream, InPieces, RequestError, SotwStream, SubscriptionStatus,
        limits::{self, beginning},
    },
};

/// What the pages show of a stream.
pub(super) trait Subscriptions: Send {
    /// By type URL.
    fn status(&self) -> Vec<(String, SubscriptionStatus)>;
}

/// A state machine of the crate `xds`.
pub(super) trait Machine: Subscriptions + Default + 'static {
    type Request: prost::Message + Default + Send + 'static;
    type Response: InPieces + Default + Send + 'static;
    /// The name of the variant, for metrics and the log.
    const VARIANT: &'static str;

    fn request(&mut self, request: Self::Request) -> Result<Option<Answer>, RequestError>;
    fn next(&mut self, published: &impl Published, now: Duration) -> Option<Self::Response>;
    /// The names that the stream holds.
    fn names(&self) -> usize;
    fn node(request: &mut Self::Request) -> Option<Node>;
    fn type_url(request: &mut Self::Request) -> &mut String;
    fn response_type(response: &Self::Response) -> &str;
}

// The two variants have equal methods of their own, and messages with equal fields.
macro_rules! machine {
    ($machine:ty, $variant:literal, $request:ty, $response:ty) => {
        impl Subscriptions for $machine {
            fn status(&self) -> Vec<(String, SubscriptionStatus)> {
                Self::status(self).map(|(type_url, status)| (type_url.to_owned(), status)).collect()
            }
        }

        impl Machine for $machine {
            type Request = $request;
            type Response = $response;
            const VARIANT: &'static str = $variant;

            fn request(&mut self, request: $request) -> Result<Option<Answer>, RequestError> {
                Self::request(self, request)
            }

            fn next(&mut self, published: &impl Published, now: Duration) -> Option<$response> {
                Self::next(self, published, now)
            }

            fn names(&self) -> usize {
                Self::names(self)
            }

            fn node(request: &mut $request) -> Option<Node> {
                request.node.take()
            }

            fn type_url(request: &mut $request) -> &mut String {
                &mut request.type_url
            }

            fn response_type(response: &$response) -> &str {
                &response.type_url
            }
        }
    };
}

machine!(DeltaStream, "delta", DeltaDiscoveryRequest, DeltaDiscoveryResponse);
machine!(SotwStream, "sotw", DiscoveryRequest, DiscoveryResponse);

/// Which types a stream may ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// All, in one order.
    Aggregated,
    /// Assignments alone, which need no type in the request.
    Endpoints,
}

impl Scope {
    /// Completes the type of a request. Err: why the stream ends.
    pub(super) fn check(self, type_url: &mut String) -> Result<(), String> {
        if self == Self::Aggregated {
            return Ok(());
        }
        if type_url.is_empty() {
            ASSIGNMENT.clone_into(type_url);
        }
        match type_url == ASSIGNMENT {
            true => Ok(()),
            false => Err(format!(
                "type_url is {:?}: a stream of the endpoint discovery service has only {ASSIGNMENT}",
                beginning(type_url, limits::LONGEST_TYPE_URL)
            )),
        }
    }
}
