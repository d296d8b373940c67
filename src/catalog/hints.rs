//! Applies topology hints: the zones or nodes from which the source wants an endpoint to be used.
//! Hints set a preference; they are no filter.

use std::sync::Arc;

use super::model::{Endpoint, Health, Hints};

/// The indices of the endpoints that the source prefers for a caller on this node, of those with their indices;
/// None: the hints do not apply.
///
/// As in kube-proxy, the ready endpoints need hints all or none: one without a hint means that
/// nobody maintains the hints any more. Hints by node count if every ready endpoint has them and
/// one names this node; else hints by zone, likewise; else none.
pub fn preferred<'a>(
    endpoints: impl Iterator<Item = (usize, &'a Endpoint)> + Clone,
    node: Option<&str>,
    zone: Option<&str>,
) -> Option<Vec<usize>> {
    let by_node = by(endpoints.clone(), node, |hints| &hints.nodes);
    by_node.or_else(|| by(endpoints, zone, |hints| &hints.zones))
}

fn by<'a>(
    endpoints: impl Iterator<Item = (usize, &'a Endpoint)>,
    here: Option<&str>,
    places: impl Fn(&Hints) -> &Vec<Arc<str>>,
) -> Option<Vec<usize>> {
    let here = here?;
    let mut found = Vec::new();
    for (index, endpoint) in endpoints {
        if endpoint.health != Health::Ready || endpoint.braked {
            continue;
        }
        let places = endpoint.hints.as_deref().map(&places).filter(|it| !it.is_empty())?;
        if places.iter().any(|place| **place == *here) {
            found.push(index);
        }
    }
    (!found.is_empty()).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::endpoint;

    fn preferred(
        endpoints: &[Endpoint],
        node: Option<&str>,
        zone: Option<&str>,
    ) -> Option<Vec<usize>> {
        super::preferred(endpoints.iter().enumerate(), node, zone)
    }

    fn hinted(last: u8, zones: &[&str], nodes: &[&str]) -> Endpoint {
        let texts = |of: &[&str]| of.iter().map(|text| Arc::from(*text)).collect();
        let hints = Hints { zones: texts(zones), nodes: texts(nodes) };
        Endpoint { hints: Some(Arc::new(hints)), ..endpoint(last) }
    }

    #[test]
    fn zone_hints_prefer_the_endpoints_for_the_callers_zone() {
        let endpoints = [hinted(1, &["a"], &[]), hinted(2, &["b"], &[]), hinted(3, &["a"], &[])];
        assert_eq!(preferred(&endpoints, None, Some("a")), Some(vec![0, 2]));
        assert_eq!(preferred(&endpoints, None, Some("c")), None);
        assert_eq!(preferred(&endpoints, None, None), None);
    }

    #[test]
    fn one_ready_endpoint_without_hints_makes_all_hints_void() {
        let unready = Endpoint { health: Health::Unready, ..endpoint(9) };
        let mut endpoints = vec![hinted(1, &["a"], &[]), unready];
        assert_eq!(preferred(&endpoints, None, Some("a")), Some(vec![0]));
        endpoints.push(endpoint(2));
        assert_eq!(preferred(&endpoints, None, Some("a")), None);
    }

    #[test]
    fn node_hints_win_over_zone_hints_where_one_matches() {
        let endpoints = [hinted(1, &["a"], &["n1"]), hinted(2, &["a"], &["n2"])];
        assert_eq!(preferred(&endpoints, Some("n2"), Some("a")), Some(vec![1]));
        assert_eq!(preferred(&endpoints, Some("n3"), Some("a")), Some(vec![0, 1]));
    }
}
