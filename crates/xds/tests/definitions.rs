//! Every message, field and enum below `proto/` is as it is published: the file, the name, the number, the
//! type, the label, the presence and the oneof. What is declared but not published fails, so a definition
//! that is added later needs no check of its own. An enum has all its values.
//!
//! Our side is what build.rs generates the messages from. The other side is what protoc made of Envoy's
//! files, in the package envoy-types.
//!
//! This does not find:
//! - a field or a message that somebody needs, but that is left out on purpose or by mistake;
//! - values that Envoy or gRPC would refuse, because the rules for values are not compared;
//! - a mistake of prost, which turns a definition into bytes;
//! - what Envoy published after the release of envoy-types that `Cargo.lock` names.

#[path = "definitions/facts.rs"]
mod facts;
#[path = "definitions/published.rs"]
mod published;

use std::sync::LazyLock;

use facts::{Facts, facts};
use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};

fn ours() -> Vec<FileDescriptorProto> {
    let descriptors = &include_bytes!(concat!(env!("OUT_DIR"), "/descriptors"))[..];
    let set = FileDescriptorSet::decode(descriptors).expect("build.rs wrote a descriptor set");
    // Without comments a file is quickly copied.
    set.file
        .into_iter()
        .map(|file| FileDescriptorProto { source_code_info: None, ..file })
        .collect()
}

static PUBLISHED: LazyLock<Facts> = LazyLock::new(|| facts(&published::files()));

/// What differs, a line each.
fn differences(ours: &Facts) -> Vec<String> {
    ours.iter()
        .filter(|(name, fact)| PUBLISHED.get(*name) != Some(fact))
        .map(|(name, fact)| {
            let other = PUBLISHED.get(name).map_or("nothing", String::as_str);
            format!("{name}: ours is {fact}; published is {other}")
        })
        .collect()
}

#[test]
fn every_definition_is_as_published() {
    let differences = differences(&facts(&ours()));
    assert!(differences.is_empty(), "\n{}", differences.join("\n"));
}

#[test]
fn no_wrong_definition_is_taken_for_the_published_one() {
    for file in ours() {
        let mutants = mutants(&file);
        assert!(!mutants.is_empty());
        for mutant in mutants {
            let wrong = facts(&[mutant]);
            assert!(!differences(&wrong).is_empty(), "not found: {wrong:#?}");
        }
    }
}

/// The file with one mistake, for each mistake that somebody could make in it.
fn mutants(file: &FileDescriptorProto) -> Vec<FileDescriptorProto> {
    let mut mutants = vec![
        FileDescriptorProto { name: Some("a.proto".into()), ..file.clone() },
        FileDescriptorProto { package: Some("a".into()), ..file.clone() },
        FileDescriptorProto { syntax: None, ..file.clone() },
    ];
    for nth in 0..file.message_type.len() {
        for message in wrong_messages(&file.message_type[nth]) {
            let mut mutant = file.clone();
            mutant.message_type[nth] = message;
            mutants.push(mutant);
        }
    }
    for nth in 0..file.enum_type.len() {
        for wrong in wrong_enums(&file.enum_type[nth]) {
            let mut mutant = file.clone();
            mutant.enum_type[nth] = wrong;
            mutants.push(mutant);
        }
    }
    mutants
}

fn wrong_messages(message: &DescriptorProto) -> Vec<DescriptorProto> {
    let mut mutants = vec![DescriptorProto { name: Some("A".into()), ..message.clone() }];
    for nth in 0..message.field.len() {
        for field in wrong_fields(&message.field[nth]) {
            let mut mutant = message.clone();
            mutant.field[nth] = field;
            mutants.push(mutant);
        }
    }
    for nth in 0..message.oneof_decl.len() {
        let mut mutant = message.clone();
        mutant.oneof_decl[nth].name = Some("a".into());
        mutants.push(mutant);
    }
    for nth in 0..message.nested_type.len() {
        for nested in wrong_messages(&message.nested_type[nth]) {
            let mut mutant = message.clone();
            mutant.nested_type[nth] = nested;
            mutants.push(mutant);
        }
    }
    for nth in 0..message.enum_type.len() {
        for nested in wrong_enums(&message.enum_type[nth]) {
            let mut mutant = message.clone();
            mutant.enum_type[nth] = nested;
            mutants.push(mutant);
        }
    }
    mutants
}

fn wrong_fields(field: &FieldDescriptorProto) -> Vec<FieldDescriptorProto> {
    let label = if field.label() == Label::Repeated { Label::Optional } else { Label::Repeated };
    let kind = if field.r#type() == Type::String { Type::Bytes } else { Type::String };
    let mut mutants = vec![
        FieldDescriptorProto { name: Some("a".into()), ..field.clone() },
        FieldDescriptorProto { number: Some(field.number() + 1), ..field.clone() },
        FieldDescriptorProto { label: Some(label.into()), ..field.clone() },
        FieldDescriptorProto { r#type: Some(kind.into()), ..field.clone() },
        FieldDescriptorProto { type_name: Some(".A".into()), ..field.clone() },
        FieldDescriptorProto { proto3_optional: Some(true), ..field.clone() },
    ];
    if field.oneof_index.is_some() {
        mutants.push(FieldDescriptorProto { oneof_index: None, ..field.clone() });
    }
    mutants
}

fn wrong_enums(right: &EnumDescriptorProto) -> Vec<EnumDescriptorProto> {
    let mut mutants = vec![EnumDescriptorProto { name: Some("A".into()), ..right.clone() }];
    for nth in 0..right.value.len() {
        let [mut without, mut renamed, mut renumbered] = [(); 3].map(|()| right.clone());
        without.value.remove(nth);
        renamed.value[nth].name = Some("A".into());
        renumbered.value[nth].number = Some(right.value[nth].number() + 1);
        mutants.extend([without, renamed, renumbered]);
    }
    mutants
}
