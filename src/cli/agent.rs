//! `pointsman agent`: runs the agent of a node. The command line overrides the configuration file, which
//! overrides the environment, which overrides the defaults.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use clap::ValueEnum;

use super::{
    client::SOCKET_VARIABLE,
    exit::{Failure, Kind},
    output,
};
use crate::{
    agent::{self, File, Options, logs, reload::Reload, startup_taint::StartupTaint},
    catalog::Locality,
    config::{Config, TaintKey},
    serve::resolver::access::Access,
    socket::{
        address::{self, SocketAddress},
        group,
        listener::DEFAULT_MODE,
    },
    source::{self, Cluster, Spec},
    state::configuration,
};

/// The default address of the admin pages.
const DEFAULT_ADMIN: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9909);

/// The default log filter: start, listening, problems.
pub(super) const DEFAULT_LOG: &str = "warn,pointsman=info";

/// Run the agent of this node, which picks endpoints for its programs.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// A source of services, such as file:services.yaml or kubernetes. May be given several times: the
    /// first source that knows a service owns its endpoints.
    #[arg(long = "source", value_name = "KIND:WHERE")]
    sources: Vec<Spec>,
    /// The socket to serve: a path or unix:///PATH [default: $POINTSMAN_SOCKET or
    /// unix:///run/pointsman/agent.sock].
    #[arg(long, value_name = "PATH|URI")]
    socket: Option<SocketAddress>,
    /// The socket's permissions in octal [default: 0666].
    #[arg(long, value_name = "MODE", value_parser = parse_mode)]
    socket_mode: Option<u32>,
    /// The socket's group, by name or number [default: the agent's own].
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// The address of /livez, /readyz and /metrics [default: 127.0.0.1:9909].
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,
    /// The configuration file.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// This node's zone [default: the zone of --node from the source kubernetes].
    #[arg(long, env = "POINTSMAN_ZONE")]
    zone: Option<Arc<str>>,
    /// This node's region [default: as for --zone].
    #[arg(long, env = "POINTSMAN_REGION")]
    region: Option<Arc<str>>,
    /// This node's name.
    #[arg(long, env = "POINTSMAN_NODE")]
    node: Option<Arc<str>>,
    /// A folder for state that the next agent reads.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// The folder in which `pointsman csi` makes a folder for each pod, such as /run/pointsman-pods. A
    /// caller that connects through a pod's folder is identified as that pod, and not by its uid.
    #[arg(long, value_name = "DIR")]
    pods: Option<PathBuf>,
    /// Take over the socket of the running agent when the sources have answered.
    #[arg(long)]
    takeover: bool,
    /// After another agent has taken over, wait for SIGTERM, since Kubernetes would restart a container
    /// that ends. --admin must differ from the other agent's.
    #[arg(long)]
    stay: bool,
    /// When ready, remove the taint with this key from this node (--node), in the cluster of the first
    /// source kubernetes. A node that registers with the taint gets no pods until then.
    #[arg(long, value_name = "KEY")]
    remove_taint: Option<TaintKey>,
    /// Add metrics of single endpoints.
    #[arg(long)]
    endpoint_metrics: bool,
    /// Write an Event on a Service for each of its wrong settings, in the cluster of the first source
    /// kubernetes.
    #[arg(long)]
    events: bool,
    /// The log filter, such as debug or info,pointsman::source=debug [default: warn,pointsman=info].
    #[arg(long, value_name = "FILTER")]
    log: Option<String>,
    /// The format of the log.
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    log_format: logs::Format,
    /// Print the JSON Schema of a services file, or of the configuration file, and exit.
    #[arg(long, value_name = "FILE", num_args = 0..=1, default_missing_value = "services")]
    print_schema: Option<Schema>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Schema {
    Services,
    Config,
}

/// # Errors
/// Something that the agent needs is missing, in use or wrong.
pub fn run(args: Args) -> Result<(), Failure> {
    match args.print_schema {
        Some(Schema::Services) => return output::print_json(&source::file::schema()),
        Some(Schema::Config) => return output::print_json(&Config::schema()),
        None => {}
    }
    let passed = agent::activation::passed().map_err(Failure::other)?;
    let passed_path = passed.as_ref().map(|passed| passed.path.clone());
    let now = match configured(&args, passed_path.as_deref()) {
        Ok(options) => options,
        Err(wrong) => last_good(&args, passed_path.as_deref(), &wrong).ok_or(wrong)?,
    };
    let log_format = args.log_format;
    let read = move || {
        configured(&args, passed_path.as_deref()).map_err(|failure: Failure| failure.to_string())
    };
    let filter = logs::start(&now.log, log_format).map_err(usage)?;
    agent::run(now, passed, Reload { read: Box::new(read), filter }).map_err(Failure::other)
}

/// The options with the configuration file, if there is one.
fn configured(args: &Args, passed: Option<&Path>) -> Result<Options, Failure> {
    let (config, file) = match &args.config {
        Some(path) => {
            let (config, text) = Config::load(path).map_err(Failure::other)?;
            (config, File { text: Some(text), problem: None })
        }
        None => Default::default(),
    };
    options(args.clone(), config, file, passed)
}

/// The options with the last good configuration, if the state folder has one.
fn last_good(args: &Args, passed: Option<&Path>, wrong: &Failure) -> Option<Options> {
    args.config.as_ref()?;
    let folder = args.state.as_ref()?;
    let text = configuration::read(folder).ok().flatten()?;
    let name = folder.join(configuration::NAME).display().to_string();
    let config = Config::parse(&name.into(), &text).ok()?;
    let file = File { text: None, problem: Some(wrong.to_string()) };
    options(args.clone(), config, file, passed).ok()
}

fn options(
    args: Args,
    config: Config,
    file: File,
    passed: Option<&Path>,
) -> Result<Options, Failure> {
    let sources = if args.sources.is_empty() { config.sources } else { args.sources };
    if sources.is_empty() {
        return Err(usage(
            "no source of services: add --source file:services.yaml or --source kubernetes, or \
             write sources: in --config FILE",
        ));
    }
    let locality = Locality {
        zone: args.zone.or(config.zone),
        region: args.region.or(config.region),
        node: args.node.or(config.node),
    };
    let remove_taint = args.remove_taint.or(config.remove_taint);
    let startup_taint = remove_taint.map(|key| StartupTaint::new(key, &sources, &locality));
    let events = (args.events || config.events).then(|| cluster(&sources)).transpose()?;
    let log = args.log.or(config.log).unwrap_or_else(|| DEFAULT_LOG.to_owned());
    logs::check(&log).map_err(usage)?;
    let group = match args.socket_group.or(config.socket_group) {
        Some(group) => Some(group::number(&group).map_err(usage)?),
        None => None,
    };
    Ok(Options {
        sources,
        socket: socket(args.socket, config.socket, passed)?,
        socket_mode: args.socket_mode.or(config.socket_mode).unwrap_or(DEFAULT_MODE),
        socket_group: group,
        admin: args.admin.or(config.admin).unwrap_or(DEFAULT_ADMIN),
        locality,
        startup_taint: startup_taint.transpose().map_err(usage)?,
        state: args.state.or(config.state),
        pods: args.pods.or(config.pods),
        takeover: args.takeover,
        stay: args.stay,
        policies: config.policies,
        log,
        access: Access(config.access),
        endpoint_metrics: args.endpoint_metrics || config.endpoint_metrics,
        events,
        file,
    })
}

/// The cluster for Events.
fn cluster(sources: &[Spec]) -> Result<Cluster, Failure> {
    let cluster = source::own_cluster(sources).cloned();
    cluster.ok_or_else(|| usage("--events needs a cluster: add --source kubernetes"))
}

fn socket(
    asked: Option<SocketAddress>,
    config: Option<PathBuf>,
    passed: Option<&Path>,
) -> Result<SocketAddress, Failure> {
    if let Some(asked) = asked {
        return Ok(asked);
    }
    if let Some(path) = config.or_else(|| passed.map(Path::to_owned)) {
        return SocketAddress::from_path(path).map_err(|error| usage(format!("socket: {error}")));
    }
    match std::env::var(SOCKET_VARIABLE) {
        Ok(text) => text.parse().map_err(|error| usage(format!("${SOCKET_VARIABLE}: {error}"))),
        Err(_) => address::DEFAULT.parse().map_err(usage),
    }
}

fn parse_mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text.strip_prefix("0o").unwrap_or(text), 8)
        .ok()
        .filter(|mode| *mode <= 0o777)
        .ok_or_else(|| "write it in octal, 0000 to 0777".to_owned())
}

fn usage(message: impl ToString) -> Failure {
    Failure::new(Kind::Usage, message.to_string())
}
