//! The messages of the kubelet, generated from `proto/`.

#![allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]

pub(super) mod csi {
    tonic::include_proto!("csi.v1");
}
pub(super) mod registration {
    tonic::include_proto!("pluginregistration");
}
