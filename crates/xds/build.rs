//! Generates the messages from `proto/`. protox compiles the files, so that no protoc has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;
use prost_build::Config;

/// The files that no other file imports. The rest comes with them.
const FILES: [&str; 10] = [
    "envoy/config/endpoint/v3/endpoint.proto",
    "envoy/config/listener/v3/listener.proto",
    "envoy/extensions/filters/http/router/v3/router.proto",
    "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
    "envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.proto",
    "envoy/extensions/load_balancing_policies/least_request/v3/least_request.proto",
    "envoy/extensions/load_balancing_policies/round_robin/v3/round_robin.proto",
    "envoy/extensions/load_balancing_policies/wrr_locality/v3/wrr_locality.proto",
    "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
    "envoy/service/discovery/v3/discovery.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    // For the test that compares them with the published definitions.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors"), descriptors.encode_to_vec())?;

    Config::new()
        // Whoever compares two messages by their bytes needs maps in one order.
        .btree_map(["."])
        .bytes([".google.protobuf.Any"])
        // The types of prost-types have neither.
        .compile_well_known_types()
        // Their comments have examples in other languages, which rustdoc would compile.
        .disable_comments([".google.protobuf"])
        .include_file("proto.rs")
        .compile_fds(descriptors)?;
    Ok(())
}
