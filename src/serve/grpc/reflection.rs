//! `grpc.reflection.v1`, and the `v1alpha` of older tools: describes the services, so that grpcurl
//! needs no proto file.

use tonic_reflection::server::{Builder, v1, v1alpha};

use crate::api;

const MADE_BY_THE_COMPILER: &str = "descriptors that were made by the compiler";

pub(super) fn v1() -> v1::ServerReflectionServer<impl v1::ServerReflection> {
    described().build_v1().expect(MADE_BY_THE_COMPILER)
}

pub(super) fn v1alpha() -> v1alpha::ServerReflectionServer<impl v1alpha::ServerReflection> {
    described().build_v1alpha().expect(MADE_BY_THE_COMPILER)
}

fn described<'a>() -> Builder<'a> {
    Builder::configure()
        .register_encoded_file_descriptor_set(api::DESCRIPTORS)
        .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        // Error details: without it grpcurl shows them as octets.
        .register_encoded_file_descriptor_set(tonic_types::pb::FILE_DESCRIPTOR_SET)
}
