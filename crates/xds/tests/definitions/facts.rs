//! A descriptor as facts that can be compared and read: one for each message, field and enum.

use std::collections::BTreeMap;

use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
};

/// By full name.
pub(crate) type Facts = BTreeMap<String, String>;

pub(crate) fn facts(files: &[FileDescriptorProto]) -> Facts {
    let mut facts = Facts::new();
    for file in files {
        // The syntax decides about presence and packing.
        let home = format!("of {}, {}", file.name(), file.syntax());
        for message in &file.message_type {
            add_message(&mut facts, &home, file.package(), message);
        }
        for of_values in &file.enum_type {
            add_enum(&mut facts, &home, file.package(), of_values);
        }
    }
    facts
}

fn add_message(facts: &mut Facts, home: &str, scope: &str, message: &DescriptorProto) {
    let name = format!("{scope}.{}", message.name());
    for field in &message.field {
        facts.insert(format!("{name}.{}", field.name()), field_fact(message, field));
    }
    for nested in &message.nested_type {
        add_message(facts, home, &name, nested);
    }
    for nested in &message.enum_type {
        add_enum(facts, home, &name, nested);
    }
    let map = message.options.as_ref().is_some_and(|options| options.map_entry());
    let kind = if map { "a map's entry" } else { "a message" };
    facts.insert(name, format!("{kind} {home}"));
}

fn field_fact(message: &DescriptorProto, field: &FieldDescriptorProto) -> String {
    let mut fact = format!("{}, {}", field.number(), field.label().as_str_name());
    for kind in [field.r#type().as_str_name(), field.type_name()] {
        if !kind.is_empty() {
            fact += &format!(" {kind}");
        }
    }
    if field.proto3_optional() {
        fact += " with presence";
    }
    if let Some(index) = field.oneof_index {
        fact += &format!(" in {}", message.oneof_decl[index as usize].name());
    }
    if let Some(packed) = field.options.as_ref().and_then(|options| options.packed) {
        fact += &format!(" packed={packed}");
    }
    fact
}

fn add_enum(facts: &mut Facts, home: &str, scope: &str, of_values: &EnumDescriptorProto) {
    let values =
        of_values.value.iter().map(|value| format!("{} = {}", value.name(), value.number()));
    let values = values.collect::<Vec<_>>().join(", ");
    facts.insert(format!("{scope}.{}", of_values.name()), format!("an enum {home}: {values}"));
}
