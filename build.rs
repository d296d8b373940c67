//! Generates the messages, the gRPC services and, for Pointsman's own messages, their proto3 JSON form
//! from `proto/`. protox compiles the files, so that no protoc has to be installed.

use std::{env, error::Error, fs, path::PathBuf};

use prost_build::Config;

const SESSION: &str = ".pointsman.v1.Session";

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["pointsman/v1/agent.proto"], ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let encoded = prost::Message::encode_to_vec(&descriptors);
    fs::write(out.join("pointsman.v1.descriptors"), &encoded)?;

    let mut config = Config::new();
    config
        .compile_well_known_types()
        .extern_path(".google.protobuf", "::pbjson_types")
        .extern_path(".google.rpc", "::tonic_types::pb");
    tonic_prost_build::configure().compile_fds_with_config(descriptors, config)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        // Sessions exist only over gRPC, so they need no JSON form.
        .exclude(["Request", "Call", "Response", "Answer"].map(|name| format!("{SESSION}{name}")))
        .build(&[".pointsman.v1"])?;

    // Equal content has to be equal bytes, so that maps need one order.
    let discovery = protox::compile(["pointsman/discovery/v1/resources.proto"], ["proto"])?;
    Config::new().btree_map(["."]).compile_fds(discovery)?;

    let kubelet = protox::compile(["kubelet/csi.proto", "kubelet/registration.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(kubelet)?;
    Ok(())
}
