//! The router: which call a request's method and path mean.

use std::sync::LazyLock;

use http::{Method, Request};

use crate::serve::{Error, limits};

/// What a request asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::serve) enum Route {
    Pick,
    Report,
    ListServices,
    GetService,
    Explain,
    ListCallers,
    OpenApi,
}

/// A request's route.
pub(in crate::serve) struct Routed {
    pub(in crate::serve) route: Route,
    /// The service in the path, with its %-escapes.
    pub(super) service: Option<String>,
}

const ROUTES: [(Method, &str, Route); 7] = [
    (Method::POST, "/v1/pick", Route::Pick),
    (Method::POST, "/v1/report", Route::Report),
    (Method::GET, "/v1/services", Route::ListServices),
    (Method::GET, "/v1/services/{service}", Route::GetService),
    (Method::GET, "/v1/services/{service}/explain", Route::Explain),
    (Method::GET, "/v1/callers", Route::ListCallers),
    (Method::GET, "/openapi.json", Route::OpenApi),
];

/// The routes, for the error of another path.
pub static PATHS: LazyLock<String> =
    LazyLock::new(|| ROUTES.map(|(method, path, _)| format!("{method} {path}")).join(", "));

/// The indices of [`ROUTES`] by path.
static ROUTER: LazyLock<matchit::Router<usize>> = LazyLock::new(|| {
    let mut router = matchit::Router::new();
    for (index, (_, path, _)) in ROUTES.iter().enumerate() {
        router.insert(*path, index).expect("no two routes have the same path");
    }
    router
});

/// The route of a request.
///
/// # Errors
/// No route has this path, or its route takes another method.
pub(in crate::serve) fn route<B>(request: &Request<B>) -> Result<Routed, Error> {
    let path = request.uri().path();
    let Ok(found) = ROUTER.at(path) else {
        return Err(Error::NoSuchPath { path: limits::quoted(path), paths: &PATHS });
    };
    let (method, _, route) = &ROUTES[*found.value];
    let allow = if method == Method::GET { "GET,HEAD" } else { "POST" };
    if !allow.split(',').any(|allowed| allowed == request.method().as_str()) {
        let (path, method) = (path.to_owned(), request.method().to_string());
        return Err(Error::NoSuchMethod { path, method, allow });
    }
    Ok(Routed { route: *route, service: found.params.get("service").map(str::to_owned) })
}
