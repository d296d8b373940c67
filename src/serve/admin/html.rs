//! What the pages for people are made of.

/// How every page begins.
pub const HEAD: &str = "<!doctype html><meta charset=utf-8><title>pointsman</title><style>\
     body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:60em;color-scheme:light dark}\
     table{border-collapse:collapse}td,th{text-align:left;padding:0 1.5em 0 0;vertical-align:top}\
     .bad{color:#c30}</style>\n";

/// A table under a title. Cells are escaped. Empty heads: it has no line of heads.
pub fn table<const N: usize>(
    title: &str,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) -> String {
    let mut table = format!("<h2>{title}</h2>\n<table>");
    if heads.iter().any(|head| !head.is_empty()) {
        table += "<tr>";
        heads.iter().for_each(|head| table += &format!("<th>{head}"));
    }
    for row in rows {
        table += "\n<tr>";
        row.iter().for_each(|cell| table += &format!("<td>{}", escape(cell)));
    }
    table + "</table>\n"
}

/// Text from elsewhere, between tags.
pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}
