//! Finds the shortest part of a sequence that still fails, with the simplest objects.

use serde_json::Value;
use tokio::time::Instant;

use crate::operation::Operation;

/// Leaves steps out while the rest still fails: first halves, at the end single steps.
pub async fn shorter<T: Clone>(
    mut whole: Vec<T>,
    until: Instant,
    mut fails: impl AsyncFnMut(&[T]) -> bool,
) -> Vec<T> {
    let mut size = whole.len().div_ceil(2);
    while size > 0 {
        let mut shrunk = false;
        let mut from = 0;
        while from < whole.len() {
            if Instant::now() > until {
                return whole;
            }
            let to = (from + size).min(whole.len());
            let rest = [&whole[..from], &whole[to..]].concat();
            if fails(&rest).await {
                whole = rest;
                shrunk = true;
            } else {
                from = to;
            }
        }
        // A step that was needed before may be unnecessary when others are gone.
        if !(shrunk && size == 1) {
            size /= 2;
        }
    }
    whole
}

/// Leaves parts of objects out while the sequence still fails.
pub async fn simpler(
    mut whole: Vec<Operation>,
    until: Instant,
    mut fails: impl AsyncFnMut(&[Operation]) -> bool,
) -> Vec<Operation> {
    for at in 0..whole.len() {
        let mut next = 0;
        while let Some(simpler) = nth_simpler(&whole[at], next) {
            if Instant::now() > until {
                return whole;
            }
            let mut rest = whole.clone();
            rest[at] = simpler;
            if fails(&rest).await {
                whole = rest;
            } else {
                next += 1;
            }
        }
    }
    whole
}

/// A step without the n-th optional part of its object.
fn nth_simpler(operation: &Operation, n: usize) -> Option<Operation> {
    let mut simpler = operation.clone();
    let (Operation::Create(_, _, object) | Operation::Patch(_, _, object)) = &mut simpler else {
        return None;
    };
    remove_nth(object, &mut { n }).then_some(simpler)
}

/// Parts that an object needs, or that have no effect when they are gone.
const KEPT: [&str; 9] = [
    "apiVersion",
    "kind",
    "metadata",
    "name",
    "labels",
    "spec",
    "addressType",
    "addresses",
    "port",
];

/// Counts the parts, outer ones first, and removes the one at which the count ends.
fn remove_nth(value: &mut Value, n: &mut usize) -> bool {
    match value {
        Value::Array(items) => {
            if *n < items.len() {
                items.remove(*n);
                return true;
            }
            *n -= items.len();
            items.iter_mut().any(|item| remove_nth(item, n))
        }
        Value::Object(fields) => {
            let optional: Vec<String> =
                fields.keys().filter(|key| !KEPT.contains(&key.as_str())).cloned().collect();
            if let Some(key) = optional.get(*n) {
                fields.remove(key);
                return true;
            }
            *n -= optional.len();
            let parts = fields.iter_mut().filter(|(key, _)| *key != "addresses");
            parts.into_iter().any(|(_, field)| remove_nth(field, n))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::operation::Kind;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[tokio::test]
    async fn what_is_left_is_what_fails() {
        for needed in [vec![], vec![0], vec![17], vec![3, 4], vec![0, 9, 18, 19]] {
            let needs = async |part: &[i32]| needed.iter().all(|it| part.contains(it));
            assert_eq!(shorter((0..20).collect(), soon(), needs).await, needed);
        }
    }

    #[tokio::test]
    async fn a_part_of_an_object_goes_where_it_changes_nothing() {
        let create = |object| vec![Operation::Create(Kind::EndpointSlice, "a".to_owned(), object)];
        let whole = create(json!({ "endpoints": [
            { "addresses": ["10.1.0.1"], "zone": "zone-a", "conditions": { "ready": true } },
            { "addresses": ["10.1.0.2"], "conditions": { "ready": false, "serving": true } }
        ] }));
        let fails = async |part: &[Operation]| part[0].to_string().contains("\"ready\":false");
        let least = create(json!({ "endpoints": [
            { "addresses": ["10.1.0.2"], "conditions": { "ready": false } }
        ] }));
        assert_eq!(simpler(whole, soon(), fails).await, least);
    }
}
