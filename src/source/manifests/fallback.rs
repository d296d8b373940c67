//! The annotation that names the services which stand in for a Service.

use std::sync::Arc;

use crate::{
    catalog::{MOST_FALLBACKS, ServiceName},
    printable::printable,
};

/// Names services of the same namespace, such as `cart-other-zone, cart-small`. It is no setting of a
/// policy: the agent's configuration has none of another service's endpoints.
pub(super) const ANNOTATION: &str = "pointsman.dev/fallback";

/// The letters of a name that an error shows: those of the longest valid one.
const LONGEST: usize = 63;

/// The fallbacks of a Service in this namespace, and what is wrong with the annotation. A wrong one has no
/// effect: an error never sends requests somewhere new.
pub(super) fn read(text: &str, namespace: &Arc<str>) -> Result<Vec<ServiceName>, String> {
    let names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    let wrong = |why: String| {
        format!(
            "annotation {ANNOTATION} has no effect: {why}; write up to {MOST_FALLBACKS} names of services in the \
             same namespace, such as \"cart-other, cart-small\""
        )
    };
    let mut read: Vec<ServiceName> = Vec::new();
    for name in names {
        // A dot would begin a namespace.
        let fallback = match name.contains(['.', '@']) {
            true => Err("it is not the name of a service in this namespace".to_owned()),
            false => ServiceName::new(name, namespace, None).map_err(|error| error.to_string()),
        };
        let shown = || name.chars().take(LONGEST).collect::<String>();
        let fallback =
            fallback.map_err(|why| wrong(format!("\"{}\": {why}", printable(&shown()))))?;
        if !read.contains(&fallback) {
            read.push(fallback);
        }
        if read.len() > MOST_FALLBACKS {
            return Err(wrong(format!("it names more than {MOST_FALLBACKS} services")));
        }
    }
    Ok(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Result<Vec<String>, String> {
        let read = read(text, &"shop".into())?;
        Ok(read.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn an_annotation_names_services_of_its_namespace_in_order() {
        assert_eq!(names(" b, a ,,b").unwrap(), ["b.shop", "a.shop"]);
        assert_eq!(names(" , ").unwrap(), [""; 0]);
    }

    #[test]
    fn a_wrong_annotation_has_no_effect_and_a_note_says_what_would_be_right() {
        for (text, why) in [
            ("b.other", "\"b.other\": it is not the name of a service in this namespace"),
            ("b@east", "\"b@east\": it is not"),
            ("a, B_", "\"B_\": "),
            ("a,b,c,d,e", "it names more than 4 services"),
        ] {
            let error = names(text).unwrap_err();
            assert!(error.contains(why), "{error}");
            assert!(error.ends_with("such as \"cart-other, cart-small\""), "{error}");
        }
        let error = names(&"x".repeat(200_000)).unwrap_err();
        assert!(error.len() < 1000, "{} bytes", error.len());
    }
}
