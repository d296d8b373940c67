//! Watches the names of all services by their metadata, and the endpoints of those that callers ask
//! for.

use std::{collections::HashMap, sync::Arc};

use futures_util::{Stream, StreamExt};
use k8s_openapi::api::core::v1::Service;
use kube::{Api, Client, core::PartialObjectMeta};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tracing::{debug, error};

use super::{
    api_error::Resource,
    context::Context,
    object_cache::name_of,
    reflector::{Scope, follow},
    watch::{Selector, Update, watch, whole},
};
use crate::{
    catalog::{Change, ServiceName},
    clock,
    source::interest_end::until_nobody_asks,
};

/// Keeps the catalog up to date with the cluster, forever.
pub(super) async fn run(shared: &Arc<Context>) {
    let finder = "names of services".into();
    let slot = shared.slot(&finder).await;
    let mut names = Box::pin(names(&slot.client, shared));
    let mut asked = shared.catalog.interests().changes();
    let mut followed = FollowedServices::new(shared.clone());
    // Asks for the services of the earlier run. If they exceed the quota, callers will ask for
    // theirs.
    for name in shared.catalog.unconfirmed(shared.source) {
        if shared.catalog.interests().ask(None, &name).is_err() {
            break;
        }
    }
    loop {
        tokio::select! {
            Some(update) = names.next() => followed.update_names(update),
            // The catalog owns the sender, so this can't fail.
            _ = asked.changed() => {}
            Some(ended) = followed.tasks.join_next_with_id() => followed.ended(ended),
        }
        followed.follow_what_is_asked();
    }
}

/// The followed services, with a task each.
struct FollowedServices {
    shared: Arc<Context>,
    tasks: JoinSet<ServiceName>,
    by_name: HashMap<ServiceName, AbortHandle>,
}

impl FollowedServices {
    fn new(shared: Arc<Context>) -> Self {
        Self { shared, tasks: JoinSet::new(), by_name: HashMap::new() }
    }

    /// Applies an update of the names.
    fn update_names(&mut self, update: Update<PartialObjectMeta<Service>>) {
        let Context { catalog, source, .. } = &*self.shared;
        let name = |object: &PartialObjectMeta<Service>| {
            name_of(&object.metadata.name, &object.metadata.namespace)
        };
        match update {
            Update::Listed(objects) => {
                let names = objects.iter().filter_map(name).collect();
                catalog.apply(*source, Change::Names(names), clock::now());
                self.shared.synced();
            }
            Update::Applied(object) => {
                if let Some(name) = name(&object).filter(|name| !catalog.has(*source, name)) {
                    catalog.apply(*source, Change::Name(name), clock::now());
                }
            }
            Update::Deleted(object) => {
                if let Some(name) = name(&object) {
                    catalog.apply(*source, Change::Remove(name), clock::now());
                }
            }
            Update::Interrupted(why) | Update::Refused(why) => {
                catalog.excuse(*source, Some(why));
            }
            Update::Resumed | Update::Unchanged => {}
        }
        self.by_name.retain(|name, task| {
            let there = catalog.has(*source, name);
            if !there {
                task.abort();
            }
            there
        });
    }

    fn follow_what_is_asked(&mut self) {
        let Context { catalog, source, .. } = &*self.shared;
        for name in catalog.interests().all() {
            if catalog.has(*source, &name) && !self.by_name.contains_key(&name) {
                let task = self.tasks.spawn(while_asked_for(self.shared.clone(), name.clone()));
                self.by_name.insert(name, task);
            }
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ServiceName), JoinError>) {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(failed) => failed.id(),
        };
        if let Err(failed) = &ended
            && failed.is_panic()
        {
            error!("a bug of the agent ended the watch of a service; it starts again: {failed}");
        }
        // A service that went and returned has another task by now.
        self.by_name.retain(|_, task| task.id() != id);
    }
}

/// Follows a service until nobody asks for it any more.
async fn while_asked_for(shared: Arc<Context>, name: ServiceName) -> ServiceName {
    // The interest may end before this task begins.
    let Some(interest) = shared.catalog.interest(&name) else { return name };
    let scope = Scope::One(name.clone(), interest.clone());
    let _passing = shared.problems.of(scope.to_string());
    let following = async {
        let slot = shared.slot(&format!("connection of {scope}").into()).await;
        follow(&scope, &slot, &shared).await;
    };
    debug!(service = %name, "following");
    tokio::select! {
        () = following => {}
        () = until_nobody_asks(&shared.catalog, &name) => {}
    }
    debug!(service = %name, "nobody asks for it any more");
    let change = Change::Withdraw(name.clone());
    shared.catalog.answer(shared.source, &interest, change, clock::now());
    name
}

fn names(
    client: &Client,
    shared: &Context,
) -> impl Stream<Item = Update<PartialObjectMeta<Service>>> + Send + use<> {
    let subject = shared.subject(Resource::Services, "all, by name");
    let (problems, pace) = (shared.problems.clone(), shared.pace_of_all());
    watch(Api::all(client.clone()), whole, Selector::default(), subject, problems, pace)
}

#[cfg(test)]
mod order_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        catalog::{
            SourceId,
            sample::{endpoint, service},
        },
        source::{interest_end::FORGET_AFTER, kubernetes::sample::source},
    };

    /// An address without an API server.
    fn nowhere() -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_is_followed_until_nobody_asked_for_it_for_a_while() {
        let shared = source(&nowhere());
        let catalog = shared.catalog.clone();
        let cart: ServiceName = "cart.shop".parse().unwrap();
        catalog.apply(SourceId(0), Change::Names(vec![cart.clone()]), clock::now());
        catalog.apply(
            SourceId(0),
            Change::Upsert(service("cart.shop", [endpoint(1)])),
            clock::now(),
        );
        catalog.interests().ask(None, &cart).unwrap();
        let begin = tokio::time::Instant::now();
        let following = tokio::spawn(while_asked_for(shared.clone(), cart.clone()));
        tokio::time::sleep(FORGET_AFTER * 3 / 2).await;
        assert!(catalog.get(&cart).is_some(), "it was asked for at the beginning");
        catalog.interest(&cart).unwrap().renew();
        following.await.unwrap();
        assert!(begin.elapsed() > FORGET_AFTER * 3 && begin.elapsed() < FORGET_AFTER * 4);
        assert!(catalog.get(&cart).is_none());
        assert!(catalog.has(SourceId(0), &cart), "there still is such a service");
        let problems = shared.problems.shown();
        assert!(problems.is_empty(), "nobody waits for it any more: {problems:?}");
    }
}
