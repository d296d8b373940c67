//! SIGHUP: the configuration file and the sources are read again.
//!
//! Policies, access and the log filter change while the agent runs. Other options need a new start.

use tracing::{error, info, warn};

use super::{
    logs,
    options::{Options, warn_of_access},
    systemd,
};
use crate::{
    publish::Tables,
    serve::{Agent, resolver::Resolver},
    source::Status,
};

pub struct Reload {
    pub read: Box<dyn Fn() -> Result<Options, String> + Send>,
    pub filter: logs::Filter,
}

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reload").finish_non_exhaustive()
    }
}

impl Reload {
    /// Reads everything again. A wrong configuration changes nothing.
    pub fn run<'a>(
        &self,
        now: &Options,
        tables: &Tables,
        agent: &Agent,
        sources: impl Iterator<Item = &'a Status>,
    ) {
        systemd::reloading();
        match (self.read)() {
            Ok(new) => {
                agent.configuration().set_problem(None);
                new.keep_configuration();
                self.apply(now, new, tables, agent.resolver());
            }
            Err(why) => {
                error!("the configuration stays as it was: {why}");
                agent.configuration().set_problem(Some(why));
            }
        }
        sources.for_each(Status::look_again);
        systemd::ready();
    }

    fn apply(&self, now: &Options, new: Options, tables: &Tables, resolver: &Resolver) {
        let fixed = [
            ("source", now.sources != new.sources),
            ("socket", now.socket != new.socket),
            ("socket-mode", now.socket_mode != new.socket_mode),
            ("socket-group", now.socket_group != new.socket_group),
            ("admin", now.admin != new.admin),
            ("zone, region or node", now.locality != new.locality),
            ("remove-taint", now.startup_taint != new.startup_taint),
            ("state", now.state != new.state),
            ("pods", now.pods != new.pods),
            ("events", now.events != new.events),
            ("endpoint-metrics", now.endpoint_metrics != new.endpoint_metrics),
        ];
        for (name, _) in fixed.into_iter().filter(|(_, differs)| *differs) {
            warn!("{name} has changed: it takes effect with the next start, or a take-over");
        }
        if let Err(why) = self.filter.set(&new.log) {
            error!("the log filter stays as it was: {why}");
        }
        let changed = new.policies != *tables.policies();
        if changed {
            tables.configure(new.policies);
        }
        warn_of_access(now.pods.as_deref(), &new.access);
        let access_changed = resolver.set_access(new.access);
        info!(policies_changed = changed, access_changed, "read the configuration again");
    }
}
