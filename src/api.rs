//! The messages and the gRPC service of `proto/pointsman/v1`, with their proto3 JSON form.

/// The files of the API, with all that they import, as a `google.protobuf.FileDescriptorSet`.
pub const DESCRIPTORS: &[u8] =
    include_bytes!(concat!(env!("OUT_DIR"), "/pointsman.v1.descriptors"));

/// Package `pointsman.v1`.
#[allow(missing_docs, clippy::all, unreachable_pub, rust_2018_idioms)]
pub mod v1 {
    tonic::include_proto!("pointsman.v1");
    include!(concat!(env!("OUT_DIR"), "/pointsman.v1.serde.rs"));
}
