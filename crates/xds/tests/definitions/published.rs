//! The published definitions, from the sources of envoy-types, which is not compiled.

use std::{env, fs, path::Path, process::Command};

use prost::Message;
use prost_types::{FileDescriptorProto, FileDescriptorSet};
use serde_json::Value;

pub(crate) fn files() -> Vec<FileDescriptorProto> {
    // With `published` set, the package belongs to the tests. So Cargo downloads it if it is not there yet,
    // checks it against the lock file, and says where it is.
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["metadata", "--locked", "--format-version=1", "--filter-platform=host-tuple"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("CARGO_ENCODED_RUSTFLAGS", "--cfg=published")
        .output()
        .expect("cargo is there, because it runs the tests");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

    let metadata: Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let manifest = metadata["packages"]
        .as_array()
        .and_then(|packages| packages.iter().find(|package| package["name"] == "envoy-types"))
        .and_then(|package| package["manifest_path"].as_str())
        .expect("this package depends on envoy-types if `published` is set");

    let descriptors = Path::new(manifest).with_file_name("src/generated/types.bin");
    let descriptors =
        fs::read(&descriptors).unwrap_or_else(|error| panic!("{}: {error}", descriptors.display()));
    FileDescriptorSet::decode(&*descriptors).expect("types.bin is a descriptor set").file
}
