//! The agent's configuration file (`agent --config FILE`): the command line's options as YAML keys,
//! and the policies of services, which have no option.
//!
//! The command line wins over the file. If anything in the file is invalid, the whole file is
//! refused; the error names file, line, column and field, and says what would be valid.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use access::AccessBlock;
pub use access::{AccessEntry, Callers};
use by_name::{NamespaceKey, ServiceKey, by_namespace, by_service};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_saphyr::Spanned;
pub use taint::TaintKey;

use crate::{
    catalog::ServiceName,
    policy::{ConfigPolicies, Layers},
    source::{
        Problem, Spec,
        yaml::{document, policy_block::PolicyBlock},
    },
};

mod access;
mod by_name;
mod taint;

/// The content of a configuration file; None: not set.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Where services come from; the first that knows a service owns its endpoints.
    pub sources: Vec<Spec>,
    /// Path of the agent's socket.
    pub socket: Option<PathBuf>,
    /// The socket's permissions, 0 to 0o777.
    pub socket_mode: Option<u32>,
    /// The socket's group, by name or number.
    pub socket_group: Option<String>,
    /// Where the admin pages listen.
    pub admin: Option<SocketAddr>,
    /// The zone that this agent runs in.
    pub zone: Option<Arc<str>>,
    /// The region that this agent runs in.
    pub region: Option<Arc<str>>,
    /// The node that this agent runs on.
    pub node: Option<Arc<str>>,
    /// The folder for data that outlives the agent.
    pub state: Option<PathBuf>,
    /// The folder that has the pods' own folders.
    pub pods: Option<PathBuf>,
    /// The taint to remove from the node when the agent is ready.
    pub remove_taint: Option<TaintKey>,
    /// Policies of services.
    pub policies: ConfigPolicies,
    /// Which callers may ask for what. The first entry that fits a caller decides.
    pub access: Vec<AccessEntry>,
    /// Whether there are metrics of single endpoints.
    pub endpoint_metrics: bool,
    /// Whether events on Services report their wrong settings.
    pub events: bool,
    /// What is logged, such as `info` or `info,pointsman::source=debug`.
    pub log: Option<String>,
}

/// The largest file that is read; a configuration has some kilobytes.
pub(crate) const MOST_BYTES: u64 = 16 << 20;

/// The agent's configuration file.
#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(title = "Pointsman agent configuration")]
struct ConfigFile {
    /// The sources of services, such as file:/etc/pointsman/services.yaml or kubernetes. The first
    /// source that knows a service owns its endpoints.
    #[schemars(with = "Vec<String>", extend("uniqueItems" = true))]
    #[schemars(inner(regex(pattern = "^(file:.|kubernetes(:|$))")))]
    sources: Vec<Spanned<SourceText>>,
    /// Path of the agent's socket, or unix:///PATH.
    #[schemars(with = "Option<String>", regex(pattern = "^(unix://)?/"))]
    socket: Option<SocketPath>,
    /// The socket's permissions in octal, such as "0660".
    #[schemars(with = "Option<String>", regex(pattern = "^(0o)?0*[0-7]{1,3}$"))]
    socket_mode: Option<Mode>,
    /// The socket's group, by name or number.
    socket_group: Option<String>,
    /// The address of the admin pages, such as 127.0.0.1:9901.
    #[schemars(with = "Option<String>")]
    #[schemars(regex(pattern = r"^([0-9.]+|\[[0-9A-Fa-f:.%]+\]):[0-9]{1,5}$"))]
    admin: Option<AdminAddress>,
    /// This node's zone.
    zone: Option<Arc<str>>,
    /// This node's region.
    region: Option<Arc<str>>,
    /// This node's name.
    node: Option<Arc<str>>,
    /// The folder for the state that the next agent reads.
    state: Option<PathBuf>,
    /// The folder in which pointsman csi makes a folder for each pod, such as /run/pointsman-pods. The
    /// agent identifies a caller that connects through a pod's folder as that pod, and not by its uid.
    pods: Option<PathBuf>,
    /// The key of the taint to remove from this node when the agent is ready, such as
    /// pointsman.dev/agent-not-ready.
    #[schemars(with = "Option<String>", regex(pattern = "^[-A-Za-z0-9._/]+$"))]
    remove_taint: Option<TaintText>,
    /// Policies of services. A service's own settings take precedence over these, except over those in
    /// override.
    policies: PoliciesBlock,
    /// Which callers may list and pick services of which namespaces. The first entry that matches a
    /// caller applies. Without entries every caller may ask for everything. With entries, a caller that
    /// matches none may ask for nothing.
    #[schemars(with = "Vec<AccessBlock>")]
    access: Vec<Spanned<AccessBlock>>,
    /// Whether the agent has metrics of single endpoints, of at most 10,000.
    endpoint_metrics: bool,
    /// Whether the agent also writes an Event on a Service for its wrong settings. It needs the right
    /// to create events.
    events: bool,
    /// The log filter, such as info or info,pointsman::source=debug.
    #[schemars(with = "Option<String>")]
    log: Option<LogFilter>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Policies")]
struct PoliciesBlock {
    /// Defaults for every service. Settings of its namespace, of its own entry here, and of the service
    /// itself take precedence.
    #[schemars(with = "Option<PolicyBlock>")]
    default: PolicyBlock,
    /// By namespace.
    #[serde(deserialize_with = "by_namespace")]
    #[schemars(with = "BTreeMap<NamespaceKey, PolicyBlock>")]
    namespaces: BTreeMap<Arc<str>, PolicyBlock>,
    /// By service: name.namespace.
    #[schemars(with = "BTreeMap<ServiceKey, PolicyBlock>")]
    #[serde(deserialize_with = "by_service")]
    services: BTreeMap<ServiceName, PolicyBlock>,
    /// Settings that take precedence over services' own, in their annotations or their file.
    #[serde(rename = "override")]
    overriding: OverrideBlock,
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
#[schemars(rename = "Override")]
struct OverrideBlock {
    /// For every service.
    #[schemars(with = "Option<PolicyBlock>")]
    all: PolicyBlock,
    /// By namespace.
    #[serde(deserialize_with = "by_namespace")]
    #[schemars(with = "BTreeMap<NamespaceKey, PolicyBlock>")]
    namespaces: BTreeMap<Arc<str>, PolicyBlock>,
    /// By service: name.namespace.
    #[schemars(with = "BTreeMap<ServiceKey, PolicyBlock>")]
    #[serde(deserialize_with = "by_service")]
    services: BTreeMap<ServiceName, PolicyBlock>,
}

document::from_text!(SourceText(Spec), |text| text.parse().map_err(|error| format!("{error}")));
document::from_text!(SocketPath(PathBuf), |text| {
    let path = PathBuf::from(text.strip_prefix("unix://").unwrap_or(text));
    match path.is_absolute() {
        true => Ok(path),
        false => Err(format!(
            "\"{text}\" is not an absolute path: write /run/pointsman/agent.sock or \
             unix:///run/pointsman/agent.sock"
        )),
    }
});
document::from_text!(Mode(u32), |text| {
    let digits = text.strip_prefix("0o").unwrap_or(text);
    u32::from_str_radix(digits, 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| format!("\"{text}\" is not a file mode: write it in octal, 0000 to 0777"))
});
document::from_text!(AdminAddress(SocketAddr), |text| text
    .parse()
    .map_err(|_| format!("\"{text}\" is not an IP address with a port: write 127.0.0.1:9901")));
document::from_text!(TaintText(TaintKey), |text| text.parse());
document::from_text!(LogFilter(String), |text| {
    tracing_subscriber::EnvFilter::try_new(text)
        .map(|_| text.to_owned())
        .map_err(|error| format!("\"{text}\" is not a log filter ({error}): write info or debug"))
});

impl Config {
    /// Reads a configuration file. Also returns its text.
    ///
    /// # Errors
    /// The first problem.
    pub fn load(path: &Path) -> Result<(Self, String), Problem> {
        let file: Arc<str> = path.display().to_string().into();
        let bytes = document::bytes(path, MOST_BYTES);
        let bytes = bytes.map_err(|error| Problem::of_file(&file, error))?;
        let text = document::text(&file, &bytes)?;
        Ok((Self::parse(&file, text)?, text.to_owned()))
    }

    /// Reads a configuration from text; `file`: its name in errors.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn parse(file: &Arc<str>, text: &str) -> Result<Self, Problem> {
        if text.trim_start_matches('\u{feff}').trim().is_empty() {
            let what = "the file is empty, perhaps because it is only half written; write {} for \
                        no settings";
            return Err(Problem::of_file(file, what));
        }
        let written: ConfigFile = document::read(file, text)?;
        let sources = sources(file, written.sources)?;
        let policies = policies(file, &written.policies)?;
        Ok(Self {
            sources,
            socket: written.socket.map(|it| it.0),
            socket_mode: written.socket_mode.map(|it| it.0),
            socket_group: written.socket_group,
            admin: written.admin.map(|it| it.0),
            zone: written.zone,
            region: written.region,
            node: written.node,
            state: written.state,
            pods: written.pods,
            remove_taint: written.remove_taint.map(|it| it.0),
            policies,
            access: access::entries(file, written.access)?,
            endpoint_metrics: written.endpoint_metrics,
            events: written.events,
            log: written.log.map(|it| it.0),
        })
    }

    /// The JSON Schema of a configuration file.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(ConfigFile).to_value()
    }
}

fn sources(file: &Arc<str>, written: Vec<Spanned<SourceText>>) -> Result<Vec<Spec>, Problem> {
    let mut sources: Vec<Spec> = Vec::new();
    for (index, source) in written.into_iter().enumerate() {
        let spec = source.value.0;
        if sources.contains(&spec) {
            let field = format!("sources[{index}]");
            let what = format!("\"{spec}\" is already a source: keep one of them");
            return Err(Problem { place: document::place(file, source.referenced), field, what });
        }
        sources.push(spec);
    }
    Ok(sources)
}

fn policies(file: &Arc<str>, written: &PoliciesBlock) -> Result<ConfigPolicies, Problem> {
    let PoliciesBlock { default, namespaces, services, overriding } = written;
    let base = Blocks { kind: "configuration", path: "policies", all: "default", file };
    let over =
        Blocks { kind: "configuration's override", path: "policies.override", all: "all", file };
    let OverrideBlock { all, .. } = overriding;
    Ok(ConfigPolicies {
        base: base.layers(default, namespaces, services)?,
        overriding: over.layers(all, &overriding.namespaces, &overriding.services)?,
    })
}

/// The place of some blocks in the file.
struct Blocks<'a> {
    /// Their name for a person.
    kind: &'static str,
    path: &'static str,
    /// The name of the block for all services.
    all: &'static str,
    file: &'a Arc<str>,
}

impl Blocks<'_> {
    /// An invalid setting here is an error, while in a service's own settings it is only ignored:
    /// the person who starts the agent can fix it.
    fn layers(
        &self,
        all: &PolicyBlock,
        namespaces: &BTreeMap<Arc<str>, PolicyBlock>,
        services: &BTreeMap<ServiceName, PolicyBlock>,
    ) -> Result<Layers, Problem> {
        let Self { kind, path, file, .. } = self;
        let settings = |name: &str, block: &PolicyBlock| match block
            .problems(file, &format!("{path}.{name}"))
            .into_iter()
            .next()
        {
            Some(problem) => Err(problem),
            None => Ok(block.settings(kind, file)),
        };
        Ok(Layers {
            all: settings(self.all, all)?,
            namespaces: namespaces
                .iter()
                .map(|(name, block)| {
                    Ok((name.clone(), settings(&format!("namespaces.{name}"), block)?))
                })
                .collect::<Result<_, Problem>>()?,
            services: services
                .iter()
                .map(|(name, block)| {
                    Ok((name.clone(), settings(&format!("services.{name}"), block)?))
                })
                .collect::<Result<_, Problem>>()?,
        })
    }
}

#[cfg(test)]
mod tests;
