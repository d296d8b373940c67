//! `ListServices`: the known services, page by page.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

use super::Agent;
use crate::{
    api::v1,
    catalog::{Endpoint, Health, Port, Service, ServiceName},
    identity::Identity,
    policy,
    serve::{Error, Violation, limits},
};

/// Services of a page, unless the caller gives a number.
const DEFAULT_PAGE: u32 = 100;
/// The most services of a page.
pub(in crate::serve) const MAX_PAGE: u32 = 1000;

impl Agent {
    /// The services known, by name.
    ///
    /// # Errors
    /// A field is invalid, or no source has answered yet.
    pub async fn list_services(
        &self,
        identity: Identity,
        request: &v1::ListServicesRequest,
        deadline: Option<std::time::Duration>,
    ) -> Result<v1::ListServicesResponse, Error> {
        let size = match request.page_size {
            0 => DEFAULT_PAGE,
            size => limits::at_least_one("page_size", size, MAX_PAGE)?,
        };
        let after = after(&request.page_token)?;
        let catalog = self.resolver.catalog();
        let wait = limits::wait(None, deadline);
        let synced = catalog.wait_synced(wait).await;

        let names = self.resolver.listed().await;
        let first = after.as_ref().map_or(0, |after| names.partition_point(|name| name <= after));
        let wanted = |name: &&ServiceName| {
            (request.namespace.is_empty() || *request.namespace == *name.namespace)
                && self.resolver.allows(identity, &name.namespace)
        };
        let listed = names[first..].iter().filter(wanted);
        let mut page: Vec<_> =
            listed.filter_map(|name| self.summary_of(name)).take(size as usize + 1).collect();
        if page.is_empty() && after.is_none() && !synced {
            return Err(Error::NotAnswered {
                what: "the list of services".to_owned(),
                why: format!(
                    "not known yet: no answer so far from {}",
                    catalog.unanswered().join(", ")
                ),
                waited: wait,
            });
        }
        let more = page.len() > size as usize;
        page.truncate(size as usize);
        let next = page.last().filter(|_| more).map(|last| token(&last.service));
        Ok(v1::ListServicesResponse {
            services: page,
            next_page_token: next.unwrap_or_default(),
            configuration_wrong: self.configuration.problem().is_some(),
        })
    }

    /// The summary of a listed service. A source that loads services on demand may have given the name
    /// alone; then the summary has the name and the source. `None`: the service is gone by now.
    fn summary_of(&self, name: &ServiceName) -> Option<v1::ServiceSummary> {
        let catalog = self.resolver.catalog();
        if let Some(service) = catalog.get(name) {
            return Some(self.summary_of_known(&service));
        }
        let source = catalog.source_of(name)?.to_string();
        let service = name.to_string();
        Some(v1::ServiceSummary { service, source, ..v1::ServiceSummary::default() })
    }

    pub(in crate::serve) fn summary_of_known(&self, service: &Service) -> v1::ServiceSummary {
        let problems = policy::problems(&self.resolver.policies(), service);
        v1::ServiceSummary {
            service: service.name.to_string(),
            source: service.source.to_string(),
            version: service.version,
            stale: service.stale,
            ports: service.ports.iter().map(port).collect(),
            wrong_settings: u32::try_from(problems.count()).unwrap_or(u32::MAX),
            problems: problems.texts(),
        }
    }
}

fn token(last: &str) -> String {
    URL_SAFE_NO_PAD.encode(last)
}

fn after(token: &str) -> Result<Option<ServiceName>, Violation> {
    if token.is_empty() {
        return Ok(None);
    }
    let name = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    match name.map(|name| name.parse()) {
        Some(Ok(name)) => Ok(Some(name)),
        _ => Err(Violation::new(
            "page_token",
            format!(
                "{} is not a page token: send the next_page_token of the previous page, or leave \
                 it out",
                limits::quoted(token)
            ),
        )),
    }
}

fn port(port: &Port) -> v1::PortSummary {
    // The source removed a braked endpoint. It is kept as the last resort only.
    let ready = |endpoint: &&Endpoint| endpoint.health == Health::Ready && !endpoint.braked;
    let ready = port.endpoints.iter().filter(ready).count();
    v1::PortSummary {
        name: port.name.as_deref().unwrap_or_default().to_owned(),
        number: port.number.unwrap_or_default().into(),
        endpoints: count(port.endpoints.len()),
        ready: count(ready),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_brake_holds_is_an_endpoint_and_not_a_ready_one() {
        let at = |port| Endpoint::at(([10, 0, 0, 1], port).into());
        let held = Endpoint { braked: true, ..at(2) };
        let unready = Endpoint { health: Health::Unready, ..at(3) };
        let endpoints = [at(1), held, unready].into();
        let summary = port(&Port { name: None, number: Some(80), endpoints });
        assert_eq!((summary.endpoints, summary.ready), (3, 1));
    }

    #[test]
    fn a_page_token_reads_back_and_anything_else_is_refused() {
        let name = ServiceName::new("cart", "shop", Some("east")).unwrap();
        assert_eq!(after(&token(&name.to_string())).unwrap(), Some(name));
        assert_eq!(after("").unwrap(), None);
        for text in ["cart.shop", "!!", &URL_SAFE_NO_PAD.encode("no name")] {
            let violation = after(text).unwrap_err();
            assert_eq!(violation.field, "page_token", "{text}");
        }
    }
}
