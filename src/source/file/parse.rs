//! Reads one file: services, or Kubernetes manifests.

use std::sync::Arc;

use k8s_openapi::api::{core::v1::Service as ServiceManifest, discovery::v1::EndpointSlice};
use serde::{Deserialize, de::DeserializeOwned};
use serde_saphyr::Spanned;

use super::{
    content::{Content, Object},
    services,
};
use crate::source::{
    manifests::{
        endpoint_slice::{Slice, SliceError},
        service::KubeService,
    },
    problem::{Place, Problem},
    yaml::document::{self, Document},
};

/// The fields by which manifests differ from services files, and from each other.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Probe {
    api_version: Option<String>,
    kind: Option<String>,
}

/// As `kubectl get -o yaml` prints several objects.
#[derive(Deserialize)]
struct List {
    items: Vec<Spanned<serde_json::Value>>,
}

/// Reads a file. Err: all of it is refused.
pub(super) fn read(file: &Arc<str>, bytes: &[u8]) -> Result<Content, Problem> {
    let text = document::text(file, bytes)?;
    let documents = document::documents(file, text);
    if documents.is_empty() {
        // An editor may leave a file empty for a moment before it writes.
        let what = "the file is empty; write \"services: []\" for no services";
        return Err(Problem::of_file(file, what));
    }
    if documents.len() == 1 {
        // The whole text, so that lines count from its beginning.
        let whole = Document { file, lines_before: 0, text };
        return match probe(&whole)? {
            Some(probe) => manifest(&whole, &probe),
            None => services::content(file, whole.read()?),
        };
    }
    let mut content = Content::default();
    for document in documents {
        let Some(probe) = probe(&document)? else {
            let place = Place {
                file: file.clone(),
                line: Some(document.lines_before + 1),
                column: Some(1),
            };
            let what = "this document has no \"kind\": a file of several documents must have only \
                        Kubernetes manifests";
            return Err(Problem { place, field: String::new(), what: what.to_owned() });
        };
        let read = manifest(&document, &probe)?;
        content.objects.extend(read.objects);
        content.warnings.extend(read.warnings);
        content.wrong_settings.extend(read.wrong_settings);
    }
    Ok(content)
}

/// The kind of a manifest. None: it is no manifest.
fn probe(document: &Document<'_>) -> Result<Option<Probe>, Problem> {
    // Avoids reading a large services file twice.
    let text = document.text;
    let named = |line: &str| line.starts_with("kind:") || line.starts_with("\"kind\"");
    let flow = text.trim_start_matches("---").trim_start().starts_with('{');
    if !flow && !text.lines().any(named) {
        return Ok(None);
    }
    let probe: Probe = document.read()?;
    Ok(probe.kind.is_some().then_some(probe))
}

/// The kinds of which services are made. A folder of manifests has many others.
enum Kind {
    Service,
    EndpointSlice,
    List,
    Other,
}

impl Kind {
    fn of(api_version: Option<&str>, kind: &str) -> Self {
        match (api_version.unwrap_or_default(), kind) {
            // Other APIs have a "Service" too (serving.knative.dev/v1).
            ("v1" | "", "Service") => Self::Service,
            ("discovery.k8s.io/v1" | "", "EndpointSlice") => Self::EndpointSlice,
            ("v1" | "", "List" | "ServiceList") => Self::List,
            ("discovery.k8s.io/v1", "EndpointSliceList") => Self::List,
            _ => Self::Other,
        }
    }
}

fn manifest(document: &Document<'_>, probe: &Probe) -> Result<Content, Problem> {
    let place =
        Place { file: document.file.clone(), line: Some(document.lines_before + 1), column: None };
    let mut content = Content::default();
    let kind = probe.kind.as_deref().unwrap_or_default();
    match Kind::of(probe.api_version.as_deref(), kind) {
        Kind::Service => content.put_service(document.read()?, place, "")?,
        Kind::EndpointSlice => content.put_slice(document.read()?, place, "")?,
        Kind::List => {
            let list: List = document.read()?;
            let of_list = kind.strip_suffix("List").unwrap_or_default();
            for (index, item) in list.items.into_iter().enumerate() {
                let place = document.place(item.referenced);
                content.put_item(item.value, of_list, place, &format!("items[{index}]"))?;
            }
        }
        Kind::Other => {}
    }
    Ok(content)
}

/// Reads an item of a list as its type. An error has the line of the item, and the exact field.
fn typed<T: DeserializeOwned>(
    mut value: serde_json::Value,
    place: &Place,
    path: &str,
) -> Result<T, Problem> {
    // Items of a list of one kind have no kind of their own, but the types check it if it is there.
    if let Some(object) = value.as_object_mut() {
        object.remove("kind");
        object.remove("apiVersion");
    }
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = format!("{path}.{}", document::field(error.path()));
        Problem { place: place.clone(), field, what: error.inner().to_string() }
    })
}

impl Content {
    /// Adds an item of a list; `of_list`: the kind of all items, if the list has one.
    fn put_item(
        &mut self,
        item: serde_json::Value,
        of_list: &str,
        place: Place,
        path: &str,
    ) -> Result<(), Problem> {
        let text = |field| item.get(field).and_then(|it: &serde_json::Value| it.as_str());
        match Kind::of(text("apiVersion"), text("kind").unwrap_or(of_list)) {
            Kind::Service => {
                let object = typed::<ServiceManifest>(item, &place, path)?;
                self.put_service(object, place, path)
            }
            Kind::EndpointSlice => {
                let object = typed::<EndpointSlice>(item, &place, path)?;
                self.put_slice(object, place, path)
            }
            Kind::List | Kind::Other => Ok(()),
        }
    }

    fn put_service(
        &mut self,
        manifest: ServiceManifest,
        place: Place,
        path: &str,
    ) -> Result<(), Problem> {
        let service = KubeService::of(manifest).map_err(|error| located(error, &place, path))?;
        for (setting, wrong) in
            service.settings.iter().filter_map(|it| Some((it, it.wrong.as_ref()?)))
        {
            let annotation = setting.origin.trim_start_matches("annotation ");
            let field = joined(path, &format!("metadata.annotations[\"{annotation}\"]"));
            let what = wrong.why.clone();
            self.wrong_settings.push(Problem { place: place.clone(), field, what });
        }
        self.objects.push((Object::Service(service), place));
        Ok(())
    }

    fn put_slice(
        &mut self,
        manifest: EndpointSlice,
        place: Place,
        path: &str,
    ) -> Result<(), Problem> {
        let slice = Slice::of(manifest).map_err(|error| located(error, &place, path))?;
        for wrong in slice.iter().flat_map(|slice| slice.wrong.iter().cloned()) {
            let what = format!("{} (this port is left out)", wrong.what);
            self.warnings.push(located(SliceError { what, ..wrong }, &place, path));
        }
        self.objects.extend(slice.map(|slice| (Object::Slice(slice), place)));
        Ok(())
    }
}

fn located(error: SliceError, place: &Place, path: &str) -> Problem {
    Problem { place: place.clone(), field: joined(path, &error.field), what: error.what }
}

fn joined(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

#[cfg(test)]
mod tests;
