//! Matches the ports of a service before and after a change.
//!
//! What the brake holds belongs to a port. If the port gets another name or number, the held
//! endpoints move along. If the port is gone, they go with it: nobody can ask for that port any
//! more, and a service that still showed it would seem to have several ports to callers that name
//! none.

use std::{collections::HashMap, sync::Arc};

use crate::catalog::model::{Port, Service};

/// A port's name and number.
pub(super) type PortKey = (Option<Arc<str>>, Option<u16>);

pub(super) fn key(port: &Port) -> PortKey {
    (port.name.clone(), port.number)
}

/// Whether a service has only the unnamed port that stands in where its source tells no ports.
pub(super) fn is_placeholder(service: &Service) -> bool {
    let empty = matches!(&service.ports[..], [Port { name: None, number: None, endpoints }] if endpoints.is_empty());
    empty && !service.eligibility.ports_said
}

/// Maps each old port that still exists to its new key.
///
/// Two ports are the same if name and number are equal, else if the name is (endpoints refer to
/// it), else if the number is. A service's only port stays its only port, whatever it is called.
pub(super) fn followed(
    before: impl IntoIterator<Item = PortKey>,
    after: &Service,
) -> HashMap<PortKey, PortKey> {
    let mut left: Vec<PortKey> = before.into_iter().collect();
    left.sort();
    left.dedup();
    if is_placeholder(after) {
        return left.into_iter().map(|port| (port.clone(), port)).collect();
    }
    let only = left.len() == 1 && after.ports.len() == 1;
    // If the source tells that there are no ports, the service shows one without a number.
    let is_one = |port: &&Port| port.number.is_some() || !after.eligibility.ports_said;
    let mut free: Vec<PortKey> = after.ports.iter().filter(is_one).map(key).collect();
    let mut followed = HashMap::new();
    let same: [fn(&PortKey, &PortKey) -> bool; 3] = [
        |old, new| old == new,
        |old, new| old.0 == new.0,
        |old, new| old.1.is_some() && old.1 == new.1,
    ];
    for same in same {
        left.retain(|old| {
            let Some(index) = free.iter().position(|new| same(old, new)) else { return true };
            followed.insert(old.clone(), free.swap_remove(index));
            false
        });
    }
    if only {
        followed.extend(left.pop().zip(free.pop()));
    }
    followed
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::sample::{port, with_ports};

    fn keys(ports: &[(&str, u16)]) -> Vec<PortKey> {
        ports.iter().map(|(name, number)| key(&port(name, *number, []))).collect()
    }

    /// Names of ports before and after, as "http>web".
    fn follow(before: &[(&str, u16)], after: &[(&str, u16)]) -> Vec<String> {
        let ports = after.iter().map(|(name, number)| port(name, *number, [])).collect();
        let followed = followed(keys(before), &with_ports("cart.shop", ports));
        let name = |key: &PortKey| key.0.clone().unwrap();
        let mut all: Vec<String> =
            followed.iter().map(|(old, new)| format!("{}>{}", name(old), name(new))).collect();
        all.sort();
        all
    }

    #[test]
    fn a_port_is_followed_by_its_name_then_by_its_number() {
        assert_eq!(follow(&[("a", 1), ("b", 2)], &[("a", 1), ("b", 2)]), ["a>a", "b>b"]);
        assert_eq!(follow(&[("a", 1), ("b", 2)], &[("b", 1), ("a", 2)]), ["a>a", "b>b"]);
        assert_eq!(follow(&[("a", 1), ("b", 2)], &[("a", 3), ("c", 2)]), ["a>a", "b>c"]);
        // One port does not become two, and two do not become one.
        assert_eq!(follow(&[("http", 80), ("https", 443)], &[("https", 80)]), ["https>https"]);
        assert_eq!(follow(&[("a", 1), ("b", 2)], &[("c", 3)]), [""; 0]);
        assert_eq!(follow(&[("a", 1)], &[("c", 3), ("d", 4)]), [""; 0]);
        assert_eq!(follow(&[("a", 1)], &[("c", 3)]), ["a>c"], "the only one");
    }

    #[test]
    fn where_the_source_says_no_ports_they_stay_and_where_it_says_none_there_are_none() {
        let none = Port { name: None, number: None, endpoints: Arc::from([]) };
        let mut service = with_ports("cart.shop", vec![none]);
        assert_eq!(followed(keys(&[("a", 1), ("b", 2)]), &service).len(), 2);
        service.eligibility.ports_said = true;
        assert!(followed(keys(&[("a", 1), ("b", 2)]), &service).is_empty());
        assert!(followed([(None, Some(1))], &service).is_empty());
    }
}
