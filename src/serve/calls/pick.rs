//! `Pick`: endpoints for one request, a lease each.

use std::time::Duration;

use smallvec::SmallVec;
use tokio::time::sleep_until;
use tracing::debug;

use super::{
    Agent,
    pick_response::{Pick, Picked},
};
use crate::{
    api::v1,
    publish::{
        Course::{Balanced, Shadow},
        Want,
        leases::{DEFAULT_TTL, Holder, Undelivered},
    },
    serve::{Error, Violation, limits},
};

/// Logs that follow single requests; not written unless asked for (`--log pointsman::request=debug`).
pub(in crate::serve) const REQUESTS: &str = "pointsman::request";

impl Agent {
    /// Chooses endpoints. The leases end unused unless the answer is said to be delivered.
    ///
    /// # Errors
    /// When the request can't be right, or nothing can be picked.
    pub async fn pick(
        &self,
        holder: &Holder,
        request: &v1::PickRequest,
        deadline: Option<Duration>,
    ) -> Result<(Picked, Undelivered), Error> {
        let asked = Asked::check(request)?;
        let wait = limits::wait(asked.wait, deadline);
        let resolved =
            self.resolver.resolve(holder.identity, &request.service, asked.selector, wait).await?;
        // Of picks that nobody will report, the first alone counts.
        let counted = if request.no_report { 1 } else { asked.count };
        let permits: SmallVec<[_; 1]> = (0..counted)
            .map(|_| self.leases.permit(holder.identity, asked.cost))
            .collect::<Result<_, _>>()
            .map_err(|exhausted| Error::Exhausted {
                exhausted,
                right: "report leases when their requests end, or pick with a shorter lease_ttl or a \
                        lower cost",
            })?;
        let mut want = Want {
            exclude: &asked.exclude,
            key: (!request.hash_key.is_empty()).then_some(request.hash_key.as_bytes()),
            count: asked.count,
            cost: asked.cost,
            caller: holder.identity,
        };
        let virtual_ip;
        let mut live = &resolved.live;
        // Whoever selects by labels can't be sent to an address that stands for all endpoints.
        let course = if request.selector.is_empty() { live.course(want.key) } else { Balanced };
        if course != Balanced
            && let Some(instead) = self.resolver.virtual_ip(holder.identity, live)?
        {
            if course == Shadow {
                // It ends unused, and is counted where it would have gone.
                drop(live.pick(&want));
                resolved.tally.shadowed();
            }
            // The same address may lead elsewhere the next time.
            virtual_ip = instead;
            (live, want.exclude) = (&virtual_ip, &[]);
        }
        let picked = live.pick(&want);
        let picked = picked.map_err(|error| {
            resolved.tally.none();
            self.resolver.with_reason(error, live)
        })?;

        let mut picks = SmallVec::<[Pick; 1]>::with_capacity(picked.picks.len());
        let mut leases = SmallVec::with_capacity(picked.picks.len());
        let mut permits = permits.into_iter();
        for (index, held) in picked.picks.into_iter().enumerate() {
            let (endpoint, priority) = (held.endpoint.clone(), held.priority);
            let in_flight = index == 0;
            let lease = permits.next().map(|permit| match request.no_report {
                false => {
                    let ttl = asked.lease_ttl.unwrap_or(DEFAULT_TTL);
                    self.leases.give(permit, held, in_flight, holder, ttl, &resolved.tally)
                }
                true => {
                    let time = asked.lease_ttl.unwrap_or_else(|| live.usual_time());
                    self.leases.count(permit, held, holder.identity, time, &resolved.tally)
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
                caller = %holder.identity,
                service = request.service,
                endpoint = %pick.endpoint.address,
                lease = %pick.lease,
                plan = picked.plan,
                "picked"
            );
        }
        let response = Picked { picks, plan: picked.plan, stale: picked.stale };
        Ok((response, Undelivered::new(self.leases.clone(), leases)))
    }

    /// The pick of a request of its own: a caller that asks as fast as it can for what is not there would
    /// take others' time, so it hears of that at a pace.
    ///
    /// # Errors
    /// As [`Agent::pick`].
    pub(in crate::serve) async fn pick_at_pace(
        &self,
        holder: &Holder,
        request: &v1::PickRequest,
        deadline: Option<Duration>,
    ) -> Result<(Picked, Undelivered), Error> {
        let picked = self.pick(holder, request, deadline).await;
        if let Err(Error::NotFound(_)) = picked
            && let Some(until) = self.misses.refused(holder.identity)
        {
            // Apart, so that a pick that succeeds has no room for a timer.
            Box::pin(sleep_until(until)).await;
        }
        picked
    }
}

/// A request whose fields can be right.
struct Asked {
    exclude: Vec<std::net::SocketAddr>,
    selector: crate::catalog::Labels,
    count: u32,
    cost: u32,
    wait: Option<Duration>,
    lease_ttl: Option<Duration>,
}

impl Asked {
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
