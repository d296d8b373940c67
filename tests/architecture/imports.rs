//! Which file of a crate needs which other file, by the paths in its code.
//!
//! A module is named by its path from `src/`: `serve::calls::pick`. Tests at the end of a file do not
//! count: they may use anything.

use std::collections::{BTreeMap, BTreeSet};

/// For each module the modules that it needs.
pub(crate) type Graph = BTreeMap<String, BTreeSet<String>>;

/// All modules, each with its source.
#[derive(Default)]
pub(crate) struct Modules(BTreeMap<String, String>);

impl Modules {
    pub(crate) fn add(&mut self, module: &str, source: &str) {
        self.0.insert(module.to_owned(), code(source));
    }

    /// Which module needs which. A name that a file re-exports belongs to the file that declares it. So
    /// no file needs a file that only re-exports.
    pub(crate) fn graph(&self) -> Graph {
        let edges = |module: &str, code: &str| {
            let mut needed = BTreeSet::new();
            for path in self.paths(module, code) {
                needed.extend(self.resolve(&path));
            }
            needed.remove(module);
            needed
        };
        self.0.iter().map(|(module, code)| (module.clone(), edges(module, code))).collect()
    }

    /// The paths from the crate's root in a file's code.
    fn paths(&self, module: &str, code: &str) -> Vec<String> {
        // A file that only declares its children and re-exports from them does not need them.
        if only_declares(code) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut rest = code;
        while let Some(at) = rest.find(|c: char| c.is_alphanumeric() || c == '_') {
            let path = &rest[at..];
            let (first, length) = (head(path), extent(path));
            rest = &path[length..];
            let child = || self.0.contains_key(&format!("{module}::{first}"));
            if length > first.len() && (["crate", "super", "self"].contains(&first) || child()) {
                found.extend(expand(path));
            }
        }
        found.iter().filter_map(|path| self.absolute(module, path)).collect()
    }

    /// Turns a path in a module into a path from the crate's root.
    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let mut at: Vec<&str> = module.split("::").collect();
        let mut rest: Vec<&str> = path.split("::").collect();
        match rest[0] {
            "crate" => at.clear(),
            "super" => at.truncate(at.len() - 1),
            "self" => {}
            _ => rest.insert(0, "self"),
        }
        rest.remove(0);
        while rest.first() == Some(&"super") {
            at.pop()?;
            rest.remove(0);
        }
        at.extend(rest.into_iter().filter(|name| *name != "self"));
        (!at.is_empty()).then(|| at.join("::"))
    }

    /// The files that a path from the root leads to. Empty if it leads out of these modules.
    fn resolve(&self, path: &str) -> BTreeSet<String> {
        let names: Vec<&str> = path.split("::").collect();
        let deepest = (1..=names.len()).rev().map(|n| names[..n].join("::"));
        let Some(module) = deepest.into_iter().find(|module| self.0.contains_key(module)) else {
            return BTreeSet::new();
        };
        let exports = self.exports(&module);
        let name = path.strip_prefix(&format!("{module}::")).map(head);
        let mut files = BTreeSet::new();
        match name.and_then(|name| exports.get(name)) {
            Some(target) => files.extend(self.resolve(target)),
            // The whole module is imported, so anything may be used from it.
            None if name.is_none() => {
                for target in exports.values().filter(|target| *target != path) {
                    files.extend(self.resolve(target));
                }
            }
            None => {}
        }
        let passes_on = name.is_some_and(|name| exports.contains_key(name));
        if !passes_on && !only_declares(&self.0[&module]) {
            files.insert(module);
        }
        files
    }

    /// What a module re-exports: the name, and the path from the root behind it.
    fn exports(&self, module: &str) -> BTreeMap<String, String> {
        let mut exports = BTreeMap::new();
        for statement in self.0[module].split(';') {
            let Some(("pub", path)) = statement_of(statement, "use ") else { continue };
            for path in expand(path) {
                let name = path.rsplit("::").next().unwrap_or_default().to_owned();
                if let Some(path) = self.absolute(module, &path)
                    && path != module
                {
                    exports.insert(name, path);
                }
            }
        }
        exports
    }
}

/// A circle of modules, if there is one: each needs the next, and the last needs the first.
pub(crate) fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| walk(graph, module, &mut Vec::new(), &mut done))
}

fn walk<'g>(
    graph: &'g Graph,
    module: &'g str,
    way: &mut Vec<&'g str>,
    done: &mut BTreeSet<&'g str>,
) -> Option<Vec<String>> {
    if let Some(begin) = way.iter().position(|passed| *passed == module) {
        return Some(way[begin..].iter().map(|module| (*module).to_owned()).collect());
    }
    if !done.insert(module) {
        return None;
    }
    way.push(module);
    let needed = graph.get(module).into_iter().flatten();
    let found = needed.into_iter().find_map(|needed| walk(graph, needed, way, done));
    way.pop();
    found
}

/// The same graph between groups of modules. `room` names the group of a module.
pub(crate) fn rooms(graph: &Graph, room: impl Fn(&str) -> String) -> Graph {
    let mut rooms = Graph::new();
    for (module, needed) in graph {
        let own = room(module);
        let others = needed.iter().map(|needed| room(needed)).filter(|other| *other != own);
        let others: Vec<String> = others.collect();
        rooms.entry(own).or_default().extend(others);
    }
    rooms
}

/// The code without comments, without the tests at its end, and without the scope in `pub(...)`.
fn code(source: &str) -> String {
    let source = source.split("#[cfg(test)]\nmod ").next().unwrap_or_default();
    let lines = source.lines().map(|line| line.split("//").next().unwrap_or_default());
    let code: Vec<&str> = lines.collect();
    let code = code.join("\n");
    let mut pieces = code.split("pub(");
    let first = pieces.next().unwrap_or_default().to_owned();
    pieces.fold(first, |code, piece| {
        let rest = piece.split_once(')').map_or("", |(_, rest)| rest);
        format!("{code}pub{rest}")
    })
}

/// Whether the code only declares children and re-exports from them.
fn only_declares(code: &str) -> bool {
    code.split(';').filter(|statement| !statement.trim().is_empty()).all(|statement| {
        let exports = matches!(statement_of(statement, "use "), Some(("pub", _)));
        let declares = statement_of(statement, "mod ").is_some_and(|(_, rest)| !rest.contains('{'));
        exports || declares
    })
}

/// "pub use a::b" -> pub, a::b
fn statement_of<'s>(statement: &'s str, kind: &str) -> Option<(&'static str, &'s str)> {
    let statement = statement.trim();
    let (scope, rest) = match statement.strip_prefix("pub ") {
        Some(rest) => ("pub", rest),
        None => ("", statement),
    };
    rest.strip_prefix(kind).map(|rest| (scope, rest))
}

/// The length in bytes of the path at the start of a text, up to the end of its braces.
fn extent(text: &str) -> usize {
    let mut at = 0;
    loop {
        at += head(&text[at..]).len();
        let Some(rest) = text[at..].strip_prefix("::") else { return at };
        at += "::".len();
        if rest.starts_with('{') {
            let mut depth = 0;
            let end = rest.find(|c| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            });
            return at + end.map_or(rest.len(), |end| end + 1);
        }
    }
}

/// The name at the start of a text.
fn head(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The single paths in a path that may end in braces.
fn expand(text: &str) -> Vec<String> {
    let mut prefix = String::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            let parts = parts(group);
            let each = parts.into_iter().flat_map(expand);
            return each.map(|part| format!("{prefix}{part}")).collect();
        }
        let name = head(rest);
        rest = &rest[name.len()..];
        if name.is_empty() {
            // A glob, or the arguments of a generic.
            return match prefix.strip_suffix("::") {
                Some(path) => vec![path.to_owned()],
                None => Vec::new(),
            };
        }
        prefix.push_str(name);
        let Some(more) = rest.strip_prefix("::") else { return vec![prefix] };
        prefix.push_str("::");
        rest = more;
    }
}

/// The parts of a group, which commas separate.
fn parts(group: &str) -> Vec<&str> {
    let (mut depth, mut parts, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
            }
            '}' => {
                parts.push(&group[start..at]);
                break;
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}
