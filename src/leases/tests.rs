//! Tests leases with a real table, on tokio's paused time.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use super::{lock::lock, *};
use crate::{
    catalog::{Catalog, Change, Endpoint, Labels, Locality, Port, Service, ServiceName, SourceId},
    identity::Identity,
    policy::ConfigPolicies,
    publish::{Outcome, PickOptions, ServiceTable, Tables, Target},
};

mod adoption;
mod connections;
mod expiry;
mod handing_over;
mod owners;
mod reports;
mod undelivered;

const ME: Identity = Identity::Uid(1000);
const OTHER: Identity = Identity::Uid(1001);
const SECOND: Duration = Duration::from_secs(1);

/// One service of two endpoints, and leases that expire.
struct World {
    leases: Arc<Leases>,
    live: Arc<ServiceTable>,
    tables: Tables,
    tally: Arc<Tally>,
}

impl World {
    fn new() -> Self {
        let name = ServiceName::new("cart", "shop", None).unwrap();
        let endpoint = |last: u8| Endpoint {
            ready_since: Some(SystemTime::UNIX_EPOCH),
            ..Endpoint::at(([10, 0, 0, last], 80).into())
        };
        let service = Service::new(
            name.clone(),
            "test",
            vec![Port {
                name: None,
                number: Some(80),
                endpoints: [endpoint(1), endpoint(2)].into(),
            }],
        );
        let catalog = Arc::new(Catalog::new(["test"]));
        catalog.apply(SourceId(0), Change::Replace(vec![service]), Duration::ZERO);
        catalog.apply(SourceId(0), Change::Synced, Duration::ZERO);
        let tables =
            Tables::start(catalog, ConfigPolicies::default(), Locality::default(), 1).unwrap();
        let target = Target {
            service: name.clone(),
            port: (None, Some(80)),
            selector: Labels::new(),
            way: Default::default(),
        };
        let live = tables.open(&target).unwrap().unwrap();
        let leases = Leases::new();
        let running = leases.clone();
        tokio::spawn(async move { running.run().await });
        Self { leases, live, tables, tally: Arc::new(Tally::new(name)) }
    }

    fn pick(&self, holder: &Holder, ttl: Duration) -> LeaseId {
        self.pick_many(holder, ttl, 1).remove(0)
    }

    fn pick_many(&self, holder: &Holder, ttl: Duration, count: u32) -> Vec<LeaseId> {
        let want = PickOptions {
            exclude: &[],
            key: None,
            count,
            cost: 1,
            caller: holder.owner.identity(),
        };
        let picked = self.live.pick_endpoints(&want).unwrap();
        let give = |(index, held)| {
            let (permit, connection) =
                (holder.owner.permit(1).unwrap(), holder.connection.as_ref());
            self.leases.give(permit, held, index == 0, connection, ttl, &self.tally)
        };
        picked.picks.into_iter().enumerate().map(give).collect()
    }

    /// A pick that nobody will report.
    fn count(&self, time: Duration) -> LeaseId {
        let want = PickOptions { exclude: &[], key: None, count: 1, cost: 1, caller: ME };
        let held = self.live.pick_endpoints(&want).unwrap().picks.remove(0);
        self.leases.count(self.leases.owner(ME).permit(1).unwrap(), held, time, &self.tally)
    }

    fn report(&self, identity: Identity, lease: LeaseId, event: Event) -> Reported {
        self.leases.report(identity, lease, &Report { event, load: None, retry: false })
    }

    /// Waits, in real time, until the table has `expected` requests in flight.
    fn in_flight_is(&self, expected: u32) {
        for _ in 0..400 {
            if self.live.endpoints().iter().map(|each| each.in_flight).sum::<u32>() == expected {
                return;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("in flight: {:?}, not {expected}", self.live.endpoints());
    }

    fn ended(&self, outcome: Outcome) -> u64 {
        let index = OUTCOMES.iter().position(|each| *each == outcome).unwrap();
        self.tally.count_ended()[index]
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.tables.stop();
    }
}

fn on_any_connection(world: &World) -> Holder {
    Holder { owner: world.leases.owner(ME), connection: None }
}

fn on(world: &World, connection: &Arc<Connection>) -> Holder {
    Holder { owner: world.leases.owner(ME), connection: Some(connection.clone()) }
}

const SUCCESS: Event = Event::Ended(Outcome::Success, Some(Duration::from_millis(3)));

/// Adopts a lease as a successor does.
fn adopt(world: &World, successor: &Leases, lease: HandedLease) -> bool {
    let HandedLease { id, identity, address, cost, in_flight, no_report, ttl, .. } = lease;
    let held = world.live.adopt(address, cost, in_flight, identity).unwrap();
    let adopted = AdoptedLease { in_flight, no_report, ttl, tally: &world.tally };
    successor.adopt(id, held, identity, adopted)
}
