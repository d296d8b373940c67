//! Services whose names resemble one that does not exist.

use super::name::ServiceName;
use crate::suggest::{Nearest, Pattern};

/// The services most similar to the one asked for, of those that are `visible` to the caller. The
/// same name in another namespace or cluster counts as one edit, since that is the most common
/// mistake.
pub(super) fn similar_services<'a>(
    asked: &ServiceName,
    services: impl IntoIterator<Item = &'a ServiceName>,
    visible: impl Fn(&ServiceName) -> bool,
) -> Vec<ServiceName> {
    let patterns = (Pattern::new(&asked.name), Pattern::new(&asked.namespace));
    let (Some(name), Some(namespace)) = patterns else { return Vec::new() };
    let mut nearest = Nearest::new();
    for service in services {
        let elsewhere = usize::from(asked.cluster != service.cluster);
        let edits = if asked.name == service.name {
            Some(usize::from(asked.namespace != service.namespace))
        } else {
            name.edits(&service.name, nearest.farthest()).and_then(|edits| {
                Some(edits + namespace.edits(&service.namespace, nearest.farthest())?)
            })
        };
        // Visibility is checked last, since few names are similar.
        if let Some(edits) = edits
            && nearest.takes(edits + elsewhere, &service)
            && visible(service)
        {
            nearest.add(edits + elsewhere, service);
        }
    }
    nearest.best().cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(asked: &str, known: &[&str]) -> Vec<String> {
        let known: Vec<ServiceName> = known.iter().map(|name| name.parse().unwrap()).collect();
        let near =
            similar_services(&asked.parse().unwrap(), &known, |name| *name.namespace != *"vault");
        near.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn two_swapped_letters_are_one_edit() {
        assert_eq!(services("crat.shop", &["cart.shop", "users.shop"]), ["cart.shop"]);
    }

    #[test]
    fn the_right_name_in_another_namespace_is_suggested() {
        assert_eq!(services("cart.default", &["cart.shop", "users.shop"]), ["cart.shop"]);
    }

    #[test]
    fn the_best_comes_first_and_there_are_at_most_three() {
        let known = ["carts.shop", "card.shop", "care.shop", "cart.shop", "bart.shop"];
        assert_eq!(services("cart.sho", &known), ["cart.shop", "bart.shop", "card.shop"]);
        let twice = ["cart.shop", "cart.shop", "card.shop"];
        assert_eq!(services("cart.sho", &twice), ["cart.shop", "card.shop"]);
    }

    #[test]
    fn what_may_not_be_seen_takes_no_place_of_what_may() {
        let known = ["cart.vault", "carts.vault", "card.vault", "cart.bank", "crat.shop"];
        assert_eq!(services("cart.shop", &known), ["cart.bank", "crat.shop"]);
    }

    #[test]
    fn nothing_is_suggested_where_nothing_is_near() {
        assert!(services("payments.bank", &["cart.shop", "users.shop"]).is_empty());
    }
}
