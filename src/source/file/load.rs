//! Loads a file or a folder: keeps the last valid content of each file, and what is wrong with it.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    content::{Content, Object},
    parse,
};
use crate::{
    catalog::{Service, ServiceName},
    source::{
        manifests::slice_union::SliceUnion,
        problem::{Place, Problem},
        yaml::document,
    },
};

/// The largest file that is read. A hundred thousand endpoints take about 20 MB; a mistaken path
/// must not fill the node's memory.
const MOST_BYTES: u64 = 256 << 20;

/// Appended to a problem while the last valid content stays in force.
const STAYS: &str = " (the last good state stays in force)";

/// The extensions of the files that are read in a folder.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Loads a path, and keeps what it read from one load to the next.
#[derive(Debug)]
pub(super) struct Loader {
    path: PathBuf,
    source: Arc<str>,
    files: BTreeMap<PathBuf, File>,
}

/// One file.
#[derive(Debug, Default)]
struct File {
    /// The hash of the content that was read last, valid or not.
    seen: Option<u64>,
    good: Option<Content>,
    problem: Option<Problem>,
}

/// The outcome of a load.
#[derive(Debug, Default)]
pub(super) struct Loaded {
    /// All services. None: they are unknown, and the previous ones stay.
    pub(super) services: Option<Vec<Service>>,
    /// Every file was valid at least once.
    pub(super) complete: bool,
    pub(super) problems: Vec<Problem>,
    /// Invalid settings in the content that is served.
    pub(super) wrong_settings: Vec<Problem>,
}

/// Whether a file in a folder is read, by its name: editors leave other files beside it.
pub(super) fn is_candidate(path: &Path) -> bool {
    let hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

impl Loader {
    pub(super) fn new(path: PathBuf) -> Self {
        let source = format!("file {}", path.display()).into();
        Self { path, source, files: BTreeMap::new() }
    }

    /// Reads what is there now; `share` as [`crate::catalog::Catalog::share`].
    pub(super) fn load(&mut self, share: impl Fn(&mut Service)) -> Loaded {
        let paths = match self.list() {
            Ok(paths) => paths,
            Err(error) => {
                // A removed file does not mean that its services are gone: an editor removes it for
                // a moment, and a volume may be unmounted.
                let known = self.files.values().any(|file| file.good.is_some());
                let rest = if known { STAYS } else { " (nothing is known of it yet)" };
                let problem =
                    Problem::of_file(&name(&self.path), format!("{}{rest}", explain(&error)));
                return Loaded { problems: vec![problem], ..Loaded::default() };
            }
        };
        self.files.retain(|path, _| paths.contains(path));
        for path in paths {
            self.files.entry(path.clone()).or_default().read(&path, &share);
        }
        let (services, mut problems) = self.services();
        let of_files = self.files.values().flat_map(File::problems);
        problems.extend(of_files);
        problems.sort();
        let served = self.files.values().filter(|file| file.problem.is_none());
        let served = served.filter_map(|file| file.good.as_ref());
        Loaded {
            wrong_settings: served.flat_map(|content| content.wrong_settings.clone()).collect(),
            services: Some(services),
            complete: self.files.values().all(|file| file.good.is_some()),
            problems,
        }
    }

    fn list(&self) -> io::Result<Vec<PathBuf>> {
        if !fs::metadata(&self.path)?.is_dir() {
            return Ok(vec![self.path.clone()]);
        }
        let mut paths = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let path = entry?.path();
            // A folder inside is no file, whatever its name.
            if is_candidate(&path) && !path.is_dir() {
                paths.push(path);
            }
        }
        Ok(paths)
    }

    /// The services of all files. If two files have the same service, the first by name counts, and
    /// a services file before manifests.
    fn services(&self) -> (Vec<Service>, Vec<Problem>) {
        let mut known: HashMap<ServiceName, Place> = HashMap::new();
        let mut services = Vec::new();
        let mut problems = Vec::new();
        let contents = || self.files.values().filter_map(|file| file.good.as_ref());
        for (service, place) in contents().flat_map(|content| &content.services) {
            match known.get(&service.name) {
                Some(first) => problems.push(twice(place, "service", &service.name, first)),
                None => {
                    known.insert(service.name.clone(), place.clone());
                    services.push(service.clone());
                }
            }
        }
        let (union, places) = self.slice_union(&mut problems);
        for name in union.names() {
            let place = places.get(&name).cloned().unwrap_or_default();
            match known.get(&name) {
                Some(first) => problems.push(twice(&place, "service", &name, first)),
                None => services.extend(union.service(&name, &self.source)),
            }
        }
        (services, problems)
    }

    fn slice_union(
        &self,
        problems: &mut Vec<Problem>,
    ) -> (SliceUnion, HashMap<ServiceName, Place>) {
        let mut union = SliceUnion::default();
        let mut seen: HashMap<(&str, String), Place> = HashMap::new();
        let mut places = HashMap::new();
        let contents = self.files.values().filter_map(|file| file.good.as_ref());
        for (object, place) in contents.flat_map(|content| &content.objects) {
            let (kind, name, service) = match object {
                Object::Service(it) => ("Service", it.name.to_string(), &it.name),
                Object::Slice(it) => {
                    let name = format!("{}.{}", it.name, it.service.namespace);
                    ("EndpointSlice", name, &it.service)
                }
            };
            if let Some(first) = seen.get(&(kind, name.clone())) {
                problems.push(twice(place, kind, &name, first));
                continue;
            }
            seen.insert((kind, name), place.clone());
            places.entry(service.clone()).or_insert_with(|| place.clone());
            match object {
                Object::Service(service) => {
                    union.put_service(service.clone());
                }
                Object::Slice(slice) => {
                    union.put_slice(slice.clone());
                }
            }
        }
        (union, places)
    }
}

impl File {
    fn read(&mut self, path: &Path, share: impl Fn(&mut Service)) {
        let file = name(path);
        let read = document::bytes(path, MOST_BYTES)
            .map_err(|error| Problem::of_file(&file, explain(&error)));
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(problem) => {
                self.seen = None;
                self.problem = Some(problem);
                return;
            }
        };
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        let seen = Some(hasher.finish());
        if self.seen == seen {
            return;
        }
        self.seen = seen;
        match parse::read(&file, &bytes) {
            Ok(mut content) => {
                content.services.iter_mut().for_each(|(service, _)| share(service));
                self.good = Some(content);
                self.problem = None;
            }
            Err(problem) => self.problem = Some(problem),
        }
    }

    /// The problems of the content that is served, or why the file can't be read.
    fn problems(&self) -> Vec<Problem> {
        match (&self.problem, &self.good) {
            (Some(problem), Some(_)) => {
                let what = format!("{}{STAYS}", problem.what);
                vec![Problem { what, ..problem.clone() }]
            }
            (Some(problem), None) => vec![problem.clone()],
            (None, good) => good.iter().flat_map(|content| content.warnings.clone()).collect(),
        }
    }
}

fn name(path: &Path) -> Arc<str> {
    path.display().to_string().into()
}

fn explain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such file or folder".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "the agent may not read it: give its user permission".to_owned()
        }
        _ => error.to_string(),
    }
}

fn twice(place: &Place, what: &str, name: impl std::fmt::Display, first: &Place) -> Problem {
    Problem {
        place: place.clone(),
        field: String::new(),
        what: format!("{what} \"{name}\" is already in {first}, which counts: remove one of them"),
    }
}

#[cfg(test)]
mod tests;
