//! The parts of an agent that run before it has the socket.

use std::sync::Arc;

use tokio::{runtime::Runtime, sync::watch};
use tracing::info;

use super::{
    brake_log,
    options::{Options, warn_of_access},
    reload::Reload,
    start_error::{StartError, system},
    systemd, wrong_settings,
};
use crate::{
    catalog::{Catalog, Locality},
    publish::Tables,
    serve::Agent,
    source::{
        self, Spec, Status,
        kubernetes::events::{self, Events},
    },
    state::{Keeper, Origins},
};

pub(super) struct Components {
    pub(super) options: Options,
    pub(super) reload: Reload,
    pub(super) catalog: Arc<Catalog>,
    pub(super) tables: Tables,
    pub(super) agent: Arc<Agent>,
    pub(super) origins: Origins,
    pub(super) keeper: Option<Keeper>,
    pub(super) sources: Vec<(Spec, Status)>,
}

impl Components {
    pub(super) fn start(
        options: Options,
        reload: Reload,
        seed: u32,
        ending: watch::Receiver<bool>,
        runtime: &Runtime,
    ) -> Result<Self, StartError> {
        let names: Vec<String> = options.sources.iter().map(Spec::to_string).collect();
        let node = options.locality.node.clone();
        let catalog = Arc::new(Catalog::new(names.iter().cloned()).on_node(node));
        let tables = Tables::start(
            catalog.clone(),
            options.policies.clone(),
            options.locality.clone(),
            seed,
        )
        .map_err(system("the publishing thread"))?;
        let origins = Origins { sources: names, catalog: catalog.clone(), tables: tables.clone() };
        let keeper = options.state.as_deref().map(|folder| Keeper::load(folder, origins.clone()));
        runtime.spawn(brake_log::run(catalog.clone(), catalog.follow_brake()));
        // Started after the state is loaded, so that the sources overwrite it.
        let locality = watch::Sender::new(options.locality.clone());
        runtime.spawn(follow_locality(locality.subscribe(), tables.clone()));
        let sources =
            source::start(&options.sources, &locality, &catalog, &ending, runtime.handle());
        warn_of_access(options.pods.as_deref(), &options.access);
        let agent = Arc::new(Agent::new(catalog.clone(), tables.clone(), options.access.clone()));
        agent.configuration().set_problem(options.file.problem.clone());
        let (leases, holds) = (agent.leases().clone(), catalog.clone());
        runtime.spawn(async move { leases.run().await });
        runtime.spawn(async move { holds.end_holds().await });
        runtime.spawn(systemd::watchdog());
        let events = options.events.clone().map(|cluster| {
            let (events, waiting) = Events::new(&cluster);
            runtime.spawn(events::write(cluster, options.locality.node.clone(), waiting));
            events
        });
        runtime.spawn(wrong_settings::run(catalog.clone(), tables.clone(), events));
        Ok(Self { options, reload, catalog, tables, agent, origins, keeper, sources })
    }
}

/// Follows the node's zone and region, which a source finds out.
async fn follow_locality(mut locality: watch::Receiver<Locality>, tables: Tables) {
    while locality.changed().await.is_ok() {
        let found = locality.borrow_and_update().clone();
        info!(
            zone = found.zone.as_deref(),
            region = found.region.as_deref(),
            "this node's zone and region"
        );
        tables.locate(found);
    }
}
