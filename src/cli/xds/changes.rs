//! How two contents of a resource differ, row by row.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::contents::{Row, Rows, text_of};

/// How rows differ from those before, or from those of another server.
#[derive(Debug, Default, PartialEq)]
pub(super) struct RowChanges {
    pub(super) added: BTreeMap<String, Row>,
    pub(super) removed: BTreeMap<String, Row>,
    /// Each field with its values.
    pub(super) changed: BTreeMap<String, BTreeMap<&'static str, [Value; 2]>>,
}

impl RowChanges {
    pub(super) fn between(before: &Rows, after: &Rows) -> Self {
        let mut changes = Self::default();
        for (name, row) in &before.rows {
            let Some(now) = after.rows.get(name) else {
                changes.removed.insert(name.clone(), row.clone());
                continue;
            };
            let fields =
                row.keys().chain(now.keys()).filter(|field| row.get(*field) != now.get(*field));
            let value = |row: &Row, field: &str| row.get(field).cloned().unwrap_or_default();
            let fields: BTreeMap<&'static str, [Value; 2]> =
                fields.map(|field| (*field, [value(row, field), value(now, field)])).collect();
            if !fields.is_empty() {
                changes.changed.insert(name.clone(), fields);
            }
        }
        let new = after.rows.iter().filter(|(name, _)| !before.rows.contains_key(*name));
        changes.added.extend(new.map(|(name, row)| (name.clone(), row.clone())));
        changes
    }

    /// The changed fields of a row: `weight 1 -> 2, zone a -> b`.
    pub(super) fn fields(fields: &BTreeMap<&'static str, [Value; 2]>, arrow: &str) -> String {
        let none = |value: &Value| match &*text_of(value) {
            "" => "none".to_owned(),
            text => text.to_owned(),
        };
        let each = fields.iter().map(|(field, [before, after])| {
            format!("{field} {} {arrow} {}", none(before), none(after))
        });
        each.collect::<Vec<_>>().join(", ")
    }

    /// `names`: what the added, the removed and the changed rows are called.
    pub(super) fn json(&self, [added, removed, changed]: [&str; 3]) -> Map<String, Value> {
        let rows = |rows: &BTreeMap<String, Row>| json!(rows);
        [(added, rows(&self.added)), (removed, rows(&self.removed)), (changed, json!(self.changed))]
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(all: &[(&str, &[(&'static str, Value)])]) -> Rows {
        let row = |(name, fields): &(&str, &[(&'static str, Value)])| {
            ((*name).to_owned(), fields.iter().cloned().collect())
        };
        let rows = all.iter().map(row).collect();
        Rows { what: "endpoints", key: "address", fields: &["weight", "zone"], rows }
    }

    #[test]
    fn a_change_names_rows_and_fields() {
        let before =
            rows(&[("a", &[("weight", json!(1))]), ("b", &[]), ("c", &[("zone", json!("x"))])]);
        let after =
            rows(&[("a", &[("weight", json!(2)), ("zone", json!("y"))]), ("b", &[]), ("d", &[])]);
        let changes = RowChanges::between(&before, &after);
        assert_eq!(changes.added.keys().collect::<Vec<_>>(), ["d"]);
        assert_eq!(changes.removed.keys().collect::<Vec<_>>(), ["c"]);
        assert_eq!(changes.changed.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(
            RowChanges::fields(&changes.changed["a"], "->"),
            "weight 1 -> 2, zone none -> y"
        );
        assert_eq!(RowChanges::between(&before, &before), RowChanges::default());
    }
}
