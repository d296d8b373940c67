//! `Pick`: endpoints for one request, each with a lease.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::sleep_until;
use tracing::debug;

use super::{
    Agent,
    pick_response::{Pick, PickResponse},
};
use crate::{
    api::v1,
    leases::{DEFAULT_TTL, Holder, Undelivered},
    publish::{PickOptions, Routing},
    serve::{Error, Violation, limits},
};

/// The log target of single requests, which `--log pointsman::request=debug` turns on.
pub(in crate::serve) const REQUESTS: &str = "pointsman::request";

impl Agent {
    /// Chooses endpoints. The leases end unused unless [`Undelivered::delivered`] is called.
    ///
    /// # Errors
    /// The request is invalid, or nothing can be picked.
    pub async fn pick(
        &self,
        holder: &Holder,
        request: &v1::PickRequest,
        deadline: Option<Duration>,
    ) -> Result<(PickResponse, Undelivered), Error> {
        let parameters = PickParameters::check(request)?;
        let caller = holder.owner.identity();
        let wait = limits::wait(parameters.wait, deadline);
        let resolved =
            self.resolver.resolve(caller, &request.service, parameters.selector, wait).await?;
        // With no_report only the first endpoint counts as in flight.
        let counted = if request.no_report { 1 } else { parameters.count };
        let permits: SmallVec<[_; 1]> = (0..counted)
            .map(|_| holder.owner.permit(parameters.cost))
            .collect::<Result<_, _>>()
            .map_err(|exhausted| Error::Exhausted {
                exhausted,
                right: "report leases when their requests end, or pick with a shorter lease_ttl or a \
                        lower cost",
            })?;
        let want = PickOptions {
            exclude: &parameters.exclude,
            key: (!request.hash_key.is_empty()).then_some(request.hash_key.as_bytes()),
            count: parameters.count,
            cost: parameters.cost,
            caller,
        };
        let live = &resolved.live;
        let picked = live.pick(&want, || self.resolver.virtual_ip(caller, live));
        let picked = picked.map_err(|error| match error {
            Error::NoEndpoint(error) => {
                resolved.tally.none();
                self.resolver.with_reason(error, live).into()
            }
            error => error,
        })?;
        if picked.routing == Routing::Shadow {
            resolved.tally.shadowed();
        }

        let mut picks = SmallVec::<[Pick; 1]>::with_capacity(picked.picks.len());
        let mut leases = SmallVec::with_capacity(picked.picks.len());
        let mut permits = permits.into_iter();
        for (index, held) in picked.picks.into_iter().enumerate() {
            let (endpoint, priority) = (held.endpoint.clone(), held.priority);
            let in_flight = index == 0;
            let lease = permits.next().map(|permit| match request.no_report {
                false => {
                    let ttl = parameters.lease_ttl.unwrap_or(DEFAULT_TTL);
                    let connection = holder.connection.as_ref();
                    self.leases.give(permit, held, in_flight, connection, ttl, &resolved.tally)
                }
                true => {
                    let time = parameters.lease_ttl.unwrap_or_else(|| held.usual_time());
                    self.leases.count(permit, held, time, &resolved.tally)
                }
            });
            leases.extend(lease);
            picks.push(Pick::new(endpoint, priority, lease.filter(|_| !request.no_report)));
        }
        if request.no_report {
            resolved.tally.unreported();
        }
        resolved.tally.picked(picks.len() as u64, picked.elsewhere);
        for pick in &picks {
            debug!(
                target: REQUESTS,
                %caller,
                service = request.service,
                endpoint = %pick.endpoint.address,
                lease = %pick.lease,
                plan = picked.plan,
                "picked"
            );
        }
        let response = PickResponse { picks, plan: picked.plan, stale: picked.stale };
        Ok((response, Undelivered::new(self.leases.clone(), leases)))
    }

    /// A pick by a unary request. The error of an unknown name is delayed if this caller has had many: one
    /// that asks for such names as fast as it can would take processor time from others.
    ///
    /// # Errors
    /// As [`Agent::pick`].
    pub(in crate::serve) async fn pick_rate_limited(
        &self,
        holder: &Holder,
        request: &v1::PickRequest,
        deadline: Option<Duration>,
    ) -> Result<(PickResponse, Undelivered), Error> {
        let picked = self.pick(holder, request, deadline).await;
        if let Err(Error::NotFound(_)) = picked
            && let Some(until) = self.misses.refused(holder.owner.identity())
        {
            // Boxed, so that the future of a successful pick has no room for a timer.
            Box::pin(sleep_until(until)).await;
        }
        picked
    }
}

/// The checked parameters of a request.
struct PickParameters {
    exclude: Vec<std::net::SocketAddr>,
    selector: crate::catalog::Labels,
    count: u32,
    cost: u32,
    wait: Option<Duration>,
    lease_ttl: Option<Duration>,
}

impl PickParameters {
    fn check(request: &v1::PickRequest) -> Result<Self, Error> {
        if request.hash_key.len() > limits::MAX_HASH_KEY {
            let most = limits::MAX_HASH_KEY;
            let length = request.hash_key.len();
            let wrong = format!("has {length} bytes: it may have at most {most}");
            return Err(Violation::new("hash_key", wrong).into());
        }
        Ok(Self {
            exclude: limits::exclude(&request.exclude)?,
            selector: limits::selector(request.selector.iter())?,
            count: limits::at_least_one("count", request.count, limits::MAX_COUNT)?,
            cost: limits::at_least_one("cost", request.cost, limits::MAX_COST)?,
            wait: limits::duration(|| "wait".to_owned(), request.wait.as_ref(), limits::MAX_WAIT)?,
            lease_ttl: limits::lease_ttl(|| "lease_ttl".to_owned(), request.lease_ttl.as_ref())?,
        })
    }
}
