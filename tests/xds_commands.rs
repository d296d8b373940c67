//! `pointsman xds get`, `watch` and `diff`, against real control planes.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, mpsc},
    time::Duration,
};

use serde_json::Value;
use support::{Agent as Process, POINTSMAN, Ran, SHOP};
use tempfile::TempDir;

/// For what takes milliseconds on an idle machine.
const PATIENCE: Duration = Duration::from_secs(20);
const CART: &str = "services: [{name: cart.shop, ports: [{name: grpc, port: 8080}], endpoints: \
                    [{address: 10.1.2.3, zone: a, weight: 3}, {address: 10.1.2.4}]}]";

fn write(folder: &Path, services: &str) {
    let path = folder.join("services.yaml");
    let new = path.with_extension("new");
    fs::write(&new, services).unwrap();
    fs::rename(new, path).unwrap();
}

struct Plane {
    process: Process,
    /// Where clients connect.
    address: String,
}

impl Plane {
    fn with(services: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), services);
        let plane = Self::in_folder(folder, "xds.sock");
        plane.process.logs("listening");
        plane
    }

    fn in_folder(folder: impl Into<Arc<TempDir>>, socket: &str) -> Self {
        let folder = folder.into();
        let address = format!("unix://{}", folder.path().join(socket).display());
        let mut command = Command::new(POINTSMAN);
        command.args(["control-plane", "--admin", "127.0.0.1:0", "--listen", &address]);
        command.arg(format!("--source=file:{}", folder.path().join("services.yaml").display()));
        Self { process: Process::spawn(folder, command), address }
    }

    fn publishes(&self, services: &str) {
        write(self.process.folder.path(), services);
    }

    fn get(&self, arguments: &[&str]) -> Ran {
        xds(&[&["get", &self.address], arguments].concat())
    }
}

fn xds(arguments: &[&str]) -> Ran {
    Command::new(POINTSMAN).arg("xds").args(arguments).output().unwrap().into()
}

fn json(ran: &Ran) -> Value {
    serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {ran:?}"))
}

/// `type name` of each resource.
fn names(answer: &Value) -> Vec<String> {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let resources = answer["resources"].as_array().unwrap().iter();
    resources.map(|each| text(&each["type"]) + " " + &text(&each["name"])).collect()
}

#[test]
fn an_agent_is_told_names_first_and_the_endpoints_of_a_service_by_its_name() {
    let plane = Plane::with(CART);
    let all = json(&plane.get(&["-o", "json"]));
    assert_eq!(names(&all), ["namespace shop"]);
    assert_eq!(all["resources"][0]["services"][0]["service"], "cart.shop");
    assert_eq!(all["resources"][0]["services"][0]["ports"][0], "grpc (8080)");
    for name in ["cart.shop", "cart.shop:8080", "cart.shop:grpc", "cart.shop.svc.cluster.local"] {
        let ran = plane.get(&[name, "-o", "json"]);
        assert_eq!(ran.code, 0, "{ran:?}");
        let answer = json(&ran);
        let expected = ["namespace shop", "cluster cart.shop:8080", "assignment cart.shop:8080"];
        assert_eq!(names(&answer), expected, "{name}");
        let assignment = &answer["resources"][2];
        assert_eq!(assignment["version"].as_str().unwrap().len(), 16);
        assert!(assignment["bytes"].as_u64().unwrap() > 20);
        let [first, second] = &assignment["endpoints"].as_array().unwrap()[..] else { panic!() };
        assert_eq!(first["address"], "10.1.2.3:8080");
        assert_eq!((&first["zone"], &first["weight"]), (&"a".into(), &3.into()));
        assert_eq!((&first["health"], &first["priority"]), (&"healthy".into(), &0.into()));
        assert_eq!((&second["address"], &second["weight"]), (&"10.1.2.4:8080".into(), &1.into()));
        assert!(second["zone"].is_null());
    }
    let text = plane.get(&["cart.shop"]).stdout;
    assert!(text.contains("ADDRESS\tHEALTH\tWEIGHT\tZONE"), "{text}");
    assert!(text.contains("10.1.2.3:8080\thealthy\t3\ta"), "{text}");
    assert!(text.contains("version ") && text.contains(", 2 endpoints"), "{text}");
}

#[test]
fn grpc_and_envoy_are_told_in_their_own_forms() {
    let plane = Plane::with(CART);
    let grpc = json(&plane.get(&["--as", "grpc", "cart.shop:grpc", "-o", "json"]));
    assert_eq!(
        names(&grpc),
        ["listener cart.shop:grpc", "cluster cart.shop:8080", "assignment cart.shop:8080"]
    );
    assert_eq!(grpc["resources"][0]["routes"][0]["cluster"], "cart.shop:8080");
    assert_eq!(grpc["resources"][2]["endpoints"][0]["zoneWeight"], 3);
    let listeners = json(&plane.get(&["--as", "grpc", "-o", "json"]));
    assert_eq!(names(&listeners).len(), 6, "the name in all its forms: {listeners}");

    let envoy = json(&plane.get(&["--as", "envoy", "cart.shop:8080", "-o", "json"]));
    assert_eq!(names(&envoy), ["cluster cart.shop:8080", "assignment cart.shop:8080"]);
    let clusters = json(&plane.get(&["--as", "envoy", "-o", "json"]));
    assert_eq!(names(&clusters), ["cluster cart.shop:8080"]);
    let of_another = json(&plane.get(&["--as", "envoy", "--namespace", "pay", "-o", "json"]));
    assert!(names(&of_another).is_empty(), "{of_another}");
    let assignments = json(&plane.get(&["--as", "envoy", "--type", "assignment", "-o", "json"]));
    assert_eq!(names(&assignments), ["assignment cart.shop:8080"], "and not the name of the end");
}

#[test]
fn a_long_list_is_complete() {
    // More than two responses of 1 MB.
    let services = (0..4000).map(|n| {
        format!("{{name: s{n}.shop, labels: {{}}, ports: [{{port: 80}}], endpoints: [{{address: 10.1.0.1}}]}}")
    });
    let services = services.collect::<Vec<_>>().join(", ").replace(" labels: {},", "");
    let plane = Plane::with(&format!("services: [{services}]"));
    let all = json(&plane.get(&["--as", "envoy", "--timeout", "60s", "-o", "json"]));
    assert_eq!(names(&all).len(), 4000);
}

#[test]
fn what_does_not_exist_is_named() {
    let plane = Plane::with(SHOP);
    let says = |arguments: &[&str], code: i32, text: &str| {
        let ran = plane.get(arguments);
        assert_eq!(ran.code, code, "{ran:?}");
        assert!(ran.stderr.contains(text), "{ran:?}");
    };
    says(&["crat.shop"], 3, "no service \"crat.shop\"; did you mean \"cart.shop\"?");
    says(&["cart.shop", "pay.shop:99"], 3, "\"pay.shop\" has no such port: \"pay.shop:99\"");
    says(&["cart.ship"], 3, "no service \"cart.ship\"");
    says(&["cart"], 2, "name.namespace");
    says(&["--type", "assignment", "cart"], 3, "there is no assignment \"cart\"");
    says(&["--as", "grpc", "crat.shop"], 3, "there is no service \"crat.shop\"");
    says(&["--as", "envoy", "crat.shop:80"], 3, "there is no cluster \"crat.shop:80\"");
    let ran = plane.get(&["cart.shop", "crat.shop", "-o", "json"]);
    let answer = json(&ran);
    assert!(names(&answer).contains(&"assignment cart.shop".to_owned()), "{answer}");
    assert_eq!(answer["problems"].as_array().unwrap().len(), 1);
}

#[test]
fn a_server_that_can_not_answer_is_told_with_the_reason() {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let none = format!("unix://{}/none.sock", folder.path().display());
    let ran = xds(&["get", &none]);
    assert!(ran.code == 5 && ran.stderr.contains("can't be reached"), "{ran:?}");
    let ran = xds(&["get", "xds:127.0.0.1:18000"]);
    assert_eq!(ran.code, 2, "{ran:?}");
    assert!(ran.stderr.contains("write unix:///run/pointsman/xds.sock or HOST:PORT"), "{ran:?}");

    // It has no answer before its file is there.
    let plane = Plane::in_folder(folder.clone(), "xds.sock");
    plane.process.logs("listening");
    let ran = plane.get(&["--timeout", "300ms", "cart.shop"]);
    assert_eq!(ran.code, 6, "{ran:?}");
    assert!(ran.stderr.contains("namespace \"shop\"") && ran.stderr.contains("/readyz"), "{ran:?}");

    // An agent's socket speaks gRPC, and no xDS.
    let agent = Process::with(SHOP);
    let address = format!("unix://{}", agent.socket().display());
    for command in ["get", "watch"] {
        let ran = xds(&[command, &address]);
        assert!(ran.code == 5 && ran.stderr.contains("no incremental xDS"), "{ran:?}");
    }
}

#[test]
fn two_control_planes_are_compared() {
    let plane = Plane::with(CART);
    let twin = Plane::in_folder(plane.process.folder.clone(), "twin.sock");
    twin.process.logs("listening");
    for client in ["agent", "grpc", "envoy"] {
        let ran = xds(&["diff", &plane.address, &twin.address, "--as", client]);
        assert_eq!((ran.code, &*ran.stdout, &*ran.stderr), (0, "", ""), "{client}");
    }
    let ran = xds(&["diff", &plane.address, &twin.address, "crat.shop"]);
    assert_eq!(ran.code, 3, "both have none: {ran:?}");

    let more = CART.replace("weight: 3", "weight: 4").replace("10.1.2.4", "10.1.2.5").replace(
        "services: [",
        "services: [{name: pay.shop, endpoints: [{address: '10.1.2.9:80'}]}, ",
    );
    let other = Plane::with(&more);
    let ran =
        xds(&["diff", &plane.address, &other.address, "--as", "grpc", "--type", "assignment"]);
    assert_eq!(ran.code, 1, "{ran:?}");
    for line in [
        "> assignment pay.shop  version ",
        "! assignment cart.shop:8080  version ",
        "    < 10.1.2.4:8080  health unknown",
        "    > 10.1.2.5:8080  health unknown",
        "    ! 10.1.2.3:8080  weight 3 | 4, zoneWeight 3 | 4",
    ] {
        assert!(ran.stdout.lines().any(|each| each.starts_with(line)), "{line}: {}", ran.stdout);
    }
    assert!(ran.stderr.contains("2 of 2 resources differ"), "{ran:?}");
    let ran = xds(&["diff", &other.address, &plane.address, "--as", "grpc", "-o", "json"]);
    let answer = json(&ran);
    let differences = answer["differences"].as_array().unwrap();
    let of = |name: &str| differences.iter().find(|it| it["name"] == name).unwrap();
    assert_eq!(of("pay.shop")["difference"], "only in the first");
    let (cluster, assignment) = ("cart.shop", of("cart.shop:8080"));
    assert!(differences.iter().all(|it| it["name"] != cluster), "its listener is the same");
    assert_eq!(assignment["changed"]["10.1.2.3:8080"]["weight"], serde_json::json!([4, 3]));
    let ran = xds(&["diff", &plane.address, "127.0.0.1:1"]);
    assert!(ran.code == 5 && ran.stderr.contains("127.0.0.1:1"), "{ran:?}");
}

/// A running `xds watch`. Drop kills it.
struct Watch {
    process: Child,
    lines: mpsc::Receiver<String>,
}

impl Watch {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(POINTSMAN);
        command.args(["xds", "watch"]).args(arguments).stdout(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (to, received) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                if to.send(line).is_err() {
                    return;
                }
            }
        });
        Self { process, lines: received }
    }

    /// The next line, without its time.
    fn line(&self) -> String {
        let line = self.lines.recv_timeout(PATIENCE).expect("a line in time");
        line.split_once("  ")
            .unwrap_or_else(|| panic!("a time and two blanks: {line}"))
            .1
            .to_owned()
    }

    /// The next line that begins with this.
    fn says(&self, beginning: &str) -> String {
        let mut others = Vec::new();
        loop {
            let line = self.lines.recv_timeout(PATIENCE).map_err(|_| format!("{others:#?}"));
            let line = line.unwrap();
            let line = line.split_once("  ").unwrap().1.to_owned();
            if line.starts_with(beginning) {
                return line;
            }
            others.push(line);
        }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn a_watch_prints_each_change_and_each_end_of_its_stream() {
    let plane = Plane::with(CART);
    let address = plane.address.clone();
    let watch = Watch::start(&[&address, "--type", "assignment", "cart.shop:8080", "nobody"]);
    assert_eq!(watch.line(), format!("connected to {address}"));
    let first = [watch.line(), watch.line()];
    assert!(first[0].starts_with("assignment cart.shop:8080  "), "{first:?}");
    assert!(first[0].ends_with("  new: 2 endpoints"), "{first:?}");
    assert_eq!(first[1], "assignment nobody  does not exist");

    plane.publishes(&CART.replace("weight: 3", "weight: 4").replace("10.1.2.4", "10.1.2.5"));
    let line = watch.line();
    assert!(line.starts_with("assignment cart.shop:8080  "), "{line}");
    assert!(
        line.ends_with("  +10.1.2.5:8080 -10.1.2.4:8080 10.1.2.3:8080 (weight 3 -> 4)"),
        "{line}"
    );

    let folder = plane.process.kill();
    watch.says("disconnected: ");
    write(folder.path(), &CART.replace("weight: 3", "weight: 5").replace("10.1.2.4", "10.1.2.5"));
    let _plane = Plane::in_folder(folder.clone(), "xds.sock");
    watch.says(&format!("connected to {address}"));
    let line = watch.line();
    assert!(line.ends_with("  10.1.2.3:8080 (weight 4 -> 5)"), "only what differs: {line}");
    write(folder.path(), "services: []");
    assert_eq!(watch.line(), "assignment cart.shop:8080  removed");
}

#[test]
fn a_watch_in_json_is_a_line_for_each_event() {
    let plane = Plane::with(CART);
    let watch = Watch::start(&[
        &plane.address,
        "cart.shop",
        "-o",
        "json",
        "--as",
        "envoy",
        "--type",
        "cluster",
    ]);
    let line = || -> Value {
        let line = watch.lines.recv_timeout(PATIENCE).expect("a line in time");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"))
    };
    assert_eq!(line()["event"], "connected");
    let missing = line();
    assert_eq!((&missing["event"], &missing["name"]), (&"missing".into(), &"cart.shop".into()));
    assert!(missing["time"].as_str().unwrap().ends_with('Z'), "{missing}");
}
