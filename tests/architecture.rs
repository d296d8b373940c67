//! Checks what ARCHITECTURE.md says about the code.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use imports::{Graph, Modules, circle, rooms};

#[path = "architecture/imports.rs"]
mod imports;

/// The modules in the order of the list in src/lib.rs. Modules on one line have the same rank.
fn order() -> Vec<Vec<String>> {
    order_of("src/lib.rs")
}

/// The list at the head of a file.
fn order_of(file: &str) -> Vec<Vec<String>> {
    let text = read(file);
    let lines = text.lines().filter_map(|line| line.strip_prefix("//! - [`"));
    lines.map(|line| names(line.split_once("`]: ").expect("`- [`name`]: what it is`").0)).collect()
}

/// "mod@agent`], [`cli" -> agent, cli
fn names(list: &str) -> Vec<String> {
    list.split("`], [`").map(|name| name.trim_start_matches("mod@").to_owned()).collect()
}

fn modules() -> BTreeSet<String> {
    let text = read("src/lib.rs");
    let declared = text.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    declared.map(str::to_owned).collect()
}

#[test]
fn dependencies_point_up_the_list_of_lib_rs() {
    let order = order();
    let rank = |module: &str| order.iter().position(|line| line.iter().any(|name| name == module));
    let modules = modules();
    let mut wrong = Vec::new();
    for module in &modules {
        for file in sources(module) {
            for used in used_modules(&read(&file), &modules) {
                let fine = used == *module
                    || match (rank(module), rank(&used)) {
                        (Some(user), Some(used)) => used < user,
                        // A module that is not in the list is below all of it, and uses nothing.
                        (Some(_), None) => true,
                        (None, _) => false,
                    };
                if !fine {
                    wrong.push(format!("{}: {module} uses {used}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the order in src/lib.rs:\n{}", wrong.join("\n"));
}

/// So a take-over, and a program that looks for the socket, need nothing from `serve`.
#[test]
fn the_socket_is_a_leaf() {
    let modules = modules();
    for file in sources("socket") {
        let used = used_modules(&read(&file), &modules);
        let others: Vec<_> = used.iter().filter(|used| *used != "socket").collect();
        assert!(others.is_empty(), "{} uses {others:?}", file.display());
    }
}

/// Sources and callers meet in the catalog, so another source changes nothing in `serve`.
#[test]
fn serve_names_no_source() {
    let modules = modules();
    for file in sources("serve") {
        let named = used_modules(&read(&file), &modules).contains("source");
        assert!(!named, "{} uses source", file.display());
    }
}

/// The top-level modules' files, and what each of them needs.
fn graph(of: &[&str]) -> Graph {
    let src = root().join("src");
    let mut modules = Modules::default();
    for file in of.iter().flat_map(|module| sources(module)) {
        let path = file.strip_prefix(&src).expect("a file of src").with_extension("");
        let path = path.to_str().expect("a path of ASCII").replace('/', "::");
        // Tests may use anything.
        if path.ends_with("tests") {
            continue;
        }
        modules.add(path.strip_suffix("::mod").unwrap_or(&path), &read(&file));
    }
    modules.graph()
}

/// "serve::calls::pick" -> calls
fn room(module: &str) -> String {
    module.split("::").nth(1).unwrap_or(module).to_owned()
}

/// Two files that need each other cannot be understood, tested or moved one without the other.
#[test]
fn no_file_of_a_module_needs_itself_by_way_of_others() {
    let serve = graph(&["serve"]);
    assert!(serve["serve::calls::pick"].contains("serve::limits"), "imports are found: {serve:#?}");
    for module in modules() {
        if let Some(circle) = circle(&graph(&[&module])) {
            panic!(
                "src/{module}: each of these files imports the next, and the last the first; move what \
                 they share into a file of its own:\n{}",
                circle.join("\n")
            );
        }
    }
}

/// So a test, the simulator and the agent get the same plan from the same facts.
#[test]
fn a_plan_has_no_clock_no_io_and_no_randomness() {
    for file in sources("plan") {
        let text = read(&file);
        let code = text.split("#[cfg(test)]").next().unwrap_or_default();
        for impure in [
            "clock::",
            "std::fs",
            "std::io",
            "std::net::Tcp",
            "Instant",
            "SystemTime",
            "rand::",
            "tokio",
        ] {
            assert!(!code.contains(impure), "{} has {impure}", file.display());
        }
    }
}

/// Sources and callers meet in the catalog, so another protocol changes nothing in the sources.
#[test]
fn a_source_names_no_caller() {
    let modules = modules();
    // Tests ask as a caller does.
    for file in sources("source").into_iter().filter(|file| !file.ends_with("order_tests.rs")) {
        let used = used_modules(&read(&file), &modules);
        assert!(!used.contains("identity"), "{} uses identity", file.display());
    }
}

#[test]
fn rooms_of_serve_need_those_above_them_only() {
    let order = order_of("src/serve/mod.rs");
    let rank = |room: &str| order.iter().position(|line| line.iter().any(|name| name == room));
    for (user, used) in rooms(&graph(&["serve"]), room) {
        for used in used {
            let fine = user == "serve" || rank(&used) < rank(&user) && rank(&used).is_some();
            assert!(fine, "against the order in src/serve/mod.rs: {user} uses {used}");
        }
    }
}

#[test]
fn a_circle_is_found_through_imports_bare_paths_and_exports() {
    let with = |listener: &str| {
        let mut modules = Modules::default();
        modules.add("serve", "pub mod calls;\nmod listener;\nmod state;\npub use state::Agent;");
        modules.add("serve::state", "use std::fmt;\nuse self::inner::Part;\nmod inner;");
        modules.add("serve::state::inner", "// use super::Agent;\npub struct Part;");
        modules
            .add("serve::calls", "use crate::{\n  catalog,\n  serve::{listener::{self, L}},\n};");
        modules.add("serve::listener", listener);
        circle(&modules.graph())
    };
    let files = |circle: &[&str]| {
        let file = |name: &&str| format!("serve::{name}");
        Some(circle.iter().map(file).collect::<Vec<_>>())
    };
    assert_eq!(with("use super::Agent;"), None);
    assert_eq!(with("use super::{Agent, calls};"), files(&["calls", "listener"]));
    assert_eq!(with("fn f() { super::calls::pick() }"), files(&["calls", "listener"]));
    assert_eq!(with("#[cfg(test)]\nmod tests { use crate::serve::calls; }"), None);
    // A re-export of `serve` is an export of the file that has it.
    assert_eq!(
        with("use crate::serve;\npub(super) use super::calls::L;"),
        files(&["calls", "listener"])
    );
}

#[test]
fn the_list_names_modules_that_exist() {
    let modules = modules();
    for name in order().iter().flatten() {
        assert!(modules.contains(name), "src/lib.rs lists {name}, and declares no such module");
    }
}

#[test]
fn architecture_md_has_the_list_of_lib_rs() {
    let page = read("ARCHITECTURE.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `src/")?.split_once('`'));
    let listed: Vec<&str> =
        rows.map(|(name, _)| name.trim_end_matches('/').trim_end_matches(".rs")).collect();
    let expected: Vec<String> = order().concat();
    assert_eq!(listed, expected, "the modules of ARCHITECTURE.md and of src/lib.rs, in order");
}

#[test]
fn every_path_that_a_page_names_exists() {
    let mut missing = Vec::new();
    for page in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        for path in paths(&read(page)) {
            if !root().join(&path).exists() {
                missing.push(format!("{page}: {path}"));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
}

/// Links to this tree, and code spans that start with one of its folders.
fn paths(page: &str) -> BTreeSet<String> {
    let links = page.split("](").skip(1).filter_map(|rest| rest.split_once(')'));
    let links = links.map(|(target, _)| target.split_once('#').map_or(target, |(path, _)| path));
    let links = links.filter(|target| !target.is_empty() && !target.contains("://"));
    let code = page.split('`').skip(1).step_by(2).filter(|code| {
        let folders = ["src/", "docs/", "scripts/", "clients/", "tests/", "proto/", ".ci/"];
        folders.iter().any(|folder| code.starts_with(folder)) && !code.contains([' ', '*', '\n'])
    });
    links.chain(code).map(str::to_owned).collect()
}

/// Top-level modules in paths that start at the crate.
fn used_modules(source: &str, modules: &BTreeSet<String>) -> BTreeSet<String> {
    let code: String = source.lines().map(|line| line.split("//").next().unwrap_or("")).collect();
    let mut used = BTreeSet::new();
    for rest in code.split("crate::").skip(1) {
        used.extend(heads(rest).into_iter().filter(|head| modules.contains(*head)));
    }
    used.into_iter().map(str::to_owned).collect()
}

/// The first names of a path, or of each path in braces.
fn heads(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return vec![head(path)] };
    let (mut depth, mut heads, mut start) = (0, Vec::new(), 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            ',' if depth == 0 => {
                heads.push(head(&group[start..at]));
                start = at + 1;
            }
            '}' if depth == 0 => {
                heads.push(head(&group[start..at]));
                break;
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    heads
}

fn head(path: &str) -> &str {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    &path[..end]
}

#[test]
fn paths_in_braces_are_found_at_any_depth() {
    let modules = ["load", "plan", "policy"].map(str::to_owned).into();
    let source =
        "use crate::{\n  plan::{Plan, load},\n  policy,\n}; // crate::load\ncrate::load::x()";
    let found = used_modules(source, &modules);
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["load", "plan", "policy"]);
    let inner = used_modules("use crate::{plan::{load, Plan}};", &modules);
    assert_eq!(inner.into_iter().collect::<Vec<_>>(), ["plan"]);
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = root().join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The files of a top-level module.
fn sources(module: &str) -> Vec<PathBuf> {
    let folder = root().join("src").join(module);
    let mut found = Vec::new();
    let mut folders = vec![folder.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten() {
            let path = entry.expect("an entry of src").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(path);
            }
        }
    }
    let file = folder.with_extension("rs");
    if file.exists() {
        found.push(file);
    }
    assert!(!found.is_empty(), "no source of {module}");
    found
}
