//! Converts the node's locality to and from its record. An agent that starts while its cluster is
//! unreachable can ask nobody for it, and would send to all zones alike.

use std::sync::Arc;

use super::record;
use crate::catalog::Locality;

/// The record. None: the node has no name by which the next agent could recognize it.
#[must_use]
pub fn write(locality: &Locality) -> Option<record::Locality> {
    let text = |text: &Option<Arc<str>>| text.as_deref().unwrap_or_default().to_owned();
    locality.node.as_deref().map(|node| record::Locality {
        node: node.to_owned(),
        zone: text(&locality.zone),
        region: text(&locality.region),
    })
}

/// Completes an agent's locality. None: the record adds nothing. A node's locality never changes,
/// and the agent's own settings win.
#[must_use]
pub fn read(written: Option<&record::Locality>, locality: &Locality) -> Option<Locality> {
    let written = written.filter(|place| locality.node.as_deref() == Some(&place.node))?;
    let text = |text: &str| (!text.is_empty()).then(|| Arc::from(text));
    let found = Locality {
        zone: locality.zone.clone().or_else(|| text(&written.zone)),
        region: locality.region.clone().or_else(|| text(&written.region)),
        node: locality.node.clone(),
    };
    (found != *locality).then_some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn locality(node: Option<&str>, zone: Option<&str>, region: Option<&str>) -> Locality {
        let text = |text: Option<&str>| text.map(Arc::from);
        Locality { zone: text(zone), region: text(region), node: text(node) }
    }

    #[test]
    fn an_agent_of_the_same_node_is_where_the_last_one_was() {
        let known = locality(Some("n1"), Some("a"), Some("r"));
        let written = write(&known);
        let read = |now: &Locality| read(written.as_ref(), now);
        assert_eq!(read(&locality(Some("n1"), None, None)), Some(known.clone()));
        assert_eq!(read(&known), None);
        assert_eq!(read(&locality(Some("n2"), None, None)), None);
        assert_eq!(read(&locality(None, None, None)), None);
    }

    #[test]
    fn what_an_agent_is_told_itself_counts() {
        let written = write(&locality(Some("n1"), Some("a"), Some("r")));
        let found = read(written.as_ref(), &locality(Some("n1"), Some("b"), None));
        assert_eq!(found, Some(locality(Some("n1"), Some("b"), Some("r"))));
    }

    #[test]
    fn without_a_name_nothing_is_written() {
        assert_eq!(write(&locality(None, Some("a"), None)), None);
    }
}
