//! Finds the number of a group, for the socket's permissions.

use std::fs;

const GROUPS: &str = "/etc/group";

/// The number of a group, which is given by name or number.
///
/// # Errors
/// There is no such group on this node.
pub fn number(group: &str) -> Result<u32, String> {
    if let Ok(number) = group.parse() {
        return Ok(number);
    }
    let known = fs::read_to_string(GROUPS).map_err(|error| format!("{GROUPS}: {error}"))?;
    find(&known, group).ok_or_else(|| {
        format!("no group {group:?} in {GROUPS}: for a group from elsewhere, write its number")
    })
}

/// A line is `name:password:number:members`.
fn find(known: &str, group: &str) -> Option<u32> {
    let line = known.lines().find(|line| line.split(':').next() == Some(group))?;
    line.split(':').nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_found_by_name_and_a_number_is_taken_as_it_is() {
        let known = "root:x:0:\n# a comment\nmesh:x:2001:ann,bob\nbroken\n";
        assert_eq!(find(known, "mesh"), Some(2001));
        assert_eq!(find(known, "mes"), None);
        assert_eq!(find(known, "broken"), None);
        assert_eq!(number("1234"), Ok(1234));
        assert!(number("no such group").unwrap_err().contains("/etc/group"));
    }
}
