//! What was probably meant: near misses of a name, best first.

use strsim::damerau_levenshtein;

use super::name::ServiceName;

/// Most suggestions an error carries; more would bury the right one.
const MOST: usize = 3;

/// Most edits between what was asked and a suggestion: a third of the letters, at least one, so
/// that short names don't all suggest each other.
fn most_edits(asked: &str) -> usize {
    (asked.chars().count() / 3).clamp(1, 4)
}

/// The candidates nearest to what was asked, best first, at most three.
pub fn near<'a>(asked: &str, candidates: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    let mut found: Vec<(usize, &str)> = candidates
        .into_iter()
        .filter_map(|candidate| Some((edits(asked, candidate)?, candidate)))
        .collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MOST).map(|(_, candidate)| candidate.to_owned()).collect()
}

/// The services nearest to the one asked for: its name in another namespace or cluster counts as
/// one edit, as that is the commonest mistake of all.
pub fn near_services<'a>(
    asked: &ServiceName,
    services: impl IntoIterator<Item = &'a ServiceName>,
) -> Vec<String> {
    let mut found: Vec<(usize, &ServiceName)> = services
        .into_iter()
        .filter_map(|service| Some((distance(asked, service)?, service)))
        .collect();
    found.sort_unstable();
    // What is known may be known by name as well.
    found.dedup();
    found.into_iter().take(MOST).map(|(_, service)| service.to_string()).collect()
}

fn distance(asked: &ServiceName, service: &ServiceName) -> Option<usize> {
    let elsewhere = usize::from(asked.cluster != service.cluster);
    if asked.name == service.name {
        return Some(usize::from(asked.namespace != service.namespace) + elsewhere);
    }
    let name = edits(&asked.name, &service.name)?;
    Some(name + edits(&asked.namespace, &service.namespace)? + elsewhere)
}

/// How far two texts are apart; none: too far to be meant.
fn edits(asked: &str, candidate: &str) -> Option<usize> {
    let most = most_edits(asked);
    // A miss is compared with every service there is, and lengths are compared for nothing.
    if asked.len().abs_diff(candidate.len()) > 4 * most {
        return None;
    }
    Some(damerau_levenshtein(asked, candidate)).filter(|edits| *edits <= most)
}

/// `; did you mean "cart.shop"?`, or nothing where nothing is near.
pub(crate) fn did_you_mean(near: &[String]) -> String {
    if near.is_empty() {
        return String::new();
    }
    let quoted: Vec<String> = near.iter().map(|name| format!("\"{name}\"")).collect();
    format!("; did you mean {}?", quoted.join(" or "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn services(asked: &str, known: &[&str]) -> Vec<String> {
        let known: Vec<ServiceName> = known.iter().map(|name| name.parse().unwrap()).collect();
        near_services(&asked.parse().unwrap(), &known)
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
    }

    #[test]
    fn nothing_is_suggested_where_nothing_is_near() {
        assert!(services("payments.bank", &["cart.shop", "users.shop"]).is_empty());
        assert_eq!(did_you_mean(&[]), "");
    }

    #[test]
    fn words_are_compared_too() {
        assert_eq!(near("htpt", ["http", "grpc"]), ["http"]);
        assert_eq!(did_you_mean(&near("zoen", ["zone"])), "; did you mean \"zone\"?");
    }
}
