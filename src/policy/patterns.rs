//! Regular expressions of the settings' texts, for the JSON Schemas.
//!
//! Each accepts everything that the agent accepts, and sometimes more: a pattern can't express a
//! range of durations, say. Schemas have no flags, so a word of any case is spelt out.

/// A duration with its unit: `5s`, `1m 30s`.
pub(crate) const DURATION: &str = r"^\s*[0-9][0-9.\s]*[A-Za-zµ][0-9A-Za-zµ.\s]*$";

/// An IP address, or none.
pub(super) const ADDRESS_OR_NONE: &str =
    r"^\s*([Nn][Oo][Nn][Ee]|[0-9]{1,3}(\.[0-9]{1,3}){3}|[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*)\s*$";

/// Which requests are balanced, in whatever case: `off`, `Shadow`, `10%`.
pub(super) const MODE: &str = concat!(
    r"^\s*([Oo][Ff][Ff]|[Ff][Aa][Ll][Ss][Ee]|[Ss][Hh][Aa][Dd][Oo][Ww]|[Oo][Nn]|[Tt][Rr][Uu][Ee]|",
    r"0*(100|[0-9]{1,2})\s*%)\s*$"
);

/// How scores are made, in whatever case: `least_request`, `Random`.
pub(super) const STRATEGY: &str =
    r"^\s*([Ll][Ee][Aa][Ss][Tt][_-][Rr][Ee][Qq][Uu][Ee][Ss][Tt]|[Rr][Aa][Nn][Dd][Oo][Mm])\s*$";

/// What the caller's own zone means, in whatever case: `prefer`, `Strict`.
pub(super) const ZONE: &str = concat!(
    r"^\s*([Pp][Rr][Ee][Ff][Ee][Rr]|[Ss][Tt][Rr][Ii][Cc][Tt]|",
    r"[Oo][Ff][Ff]|[Ff][Aa][Ll][Ss][Ee])\s*$"
);

/// Whether something is done, in whatever case: `on`, `False`, `disabled`.
pub(super) const SWITCH: &str = concat!(
    r"^\s*([Oo][Nn]|[Tt][Rr][Uu][Ee]|[Oo][Ff][Ff]|[Ff][Aa][Ll][Ss][Ee]|",
    r"[Ee][Nn][Aa][Bb][Ll][Ee][Dd]|[Dd][Ii][Ss][Aa][Bb][Ll][Ee][Dd])\s*$"
);
