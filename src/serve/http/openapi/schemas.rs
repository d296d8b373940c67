//! Messages as JSON Schema, made from the descriptors and comments of `proto/`.

use std::collections::{BTreeMap, HashMap};

use prost::Message;
use prost_types::{
    DescriptorProto, EnumDescriptorProto, FieldDescriptorProto, FileDescriptorProto,
    FileDescriptorSet,
    field_descriptor_proto::{Label, Type},
};
use serde_json::{Map, Value, json};

use super::bounds;
use crate::api;

const FILE: &str = "pointsman/v1/agent.proto";
const PACKAGE: &str = ".pointsman.v1.";

// Field numbers of google/protobuf/descriptor.proto, which make up the path of a comment.
const MESSAGES: i32 = 4;
const ENUMS: i32 = 5;
const SERVICES: i32 = 6;
const FIELDS: i32 = 2;
const METHODS: i32 = 2;
const VALUES: i32 = 2;
const NESTED_ENUMS: i32 = 4;

/// The schemas of the messages that were asked for, and of the messages within them.
pub(super) struct Schemas {
    file: FileDescriptorProto,
    /// By their path in the descriptor.
    comments: HashMap<Vec<i32>, String>,
    written: BTreeMap<String, Value>,
}

impl Schemas {
    /// # Panics
    /// When the descriptors within this program can't be read.
    pub(super) fn new() -> Self {
        let files = FileDescriptorSet::decode(api::DESCRIPTORS).expect("made by the compiler").file;
        let file = files.into_iter().find(|file| file.name() == FILE).expect("the file of the API");
        let places = file.source_code_info.iter().flat_map(|info| &info.location);
        let comments = places
            .filter_map(|at| Some((at.path.clone(), one_line(at.leading_comments.as_ref()?))))
            .collect();
        Self { file, comments, written: BTreeMap::new() }
    }

    /// All schemas so far, by name.
    pub(super) fn all(self) -> BTreeMap<String, Value> {
        self.written
    }

    /// The comment of a call in the proto.
    pub(super) fn call(&self, name: &str) -> &str {
        let methods = self.file.service.iter().flat_map(|service| &service.method);
        let index = methods.into_iter().position(|method| method.name() == name);
        index.map_or("", |index| self.comment(&[SERVICES, 0, METHODS, place(index)]))
    }

    /// A reference to a message, whose schema is made if there is none yet.
    pub(super) fn message(&mut self, name: &str) -> Value {
        if !self.written.contains_key(name) {
            // Entered first, since its fields may refer to it.
            self.written.insert(name.to_owned(), Value::Null);
            let schema = self.object(name);
            self.written.insert(name.to_owned(), schema);
        }
        json!({ "$ref": format!("#/components/schemas/{name}") })
    }

    fn object(&mut self, name: &str) -> Value {
        let index = self.file.message_type.iter().position(|message| message.name() == name);
        let index = index.unwrap_or_else(|| panic!("{FILE} has no message {name}"));
        let message = self.file.message_type[index].clone();
        let at = [MESSAGES, place(index)];
        let mut properties = Map::new();
        for (index, field) in message.field.iter().enumerate() {
            let mut schema = self.field(&message, &at, field);
            if bounds::is_request(name) && !bounds::is_required(name, field.json_name()) {
                schema = or_null(schema);
            }
            let comment = self.comment(&[at[0], at[1], FIELDS, place(index)]);
            describe(&mut schema, comment);
            merge(&mut schema, bounds::field(name, field.json_name()));
            properties.insert(field.json_name().to_owned(), schema);
        }
        let mut schema = json!({ "type": "object", "properties": properties });
        describe(&mut schema, self.comment(&at));
        merge(&mut schema, bounds::message(name));
        schema
    }

    fn field(
        &mut self,
        message: &DescriptorProto,
        at: &[i32; 2],
        field: &FieldDescriptorProto,
    ) -> Value {
        if let Some(values) = map_values(message, field) {
            let values = values.clone();
            return json!({
                "type": "object",
                "additionalProperties": self.one(message, at, &values),
            });
        }
        let one = self.one(message, at, field);
        match field.label() {
            Label::Repeated => json!({ "type": "array", "items": one }),
            _ => one,
        }
    }

    /// The schema of one value of a field.
    fn one(
        &mut self,
        message: &DescriptorProto,
        at: &[i32; 2],
        field: &FieldDescriptorProto,
    ) -> Value {
        match field.r#type() {
            Type::String => json!({ "type": "string" }),
            Type::Bool => json!({ "type": "boolean" }),
            Type::Uint32 => json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
            Type::Int32 => json!({ "type": "integer", "minimum": i32::MIN, "maximum": i32::MAX }),
            // proto3 JSON writes 64 bits as a string: a double can't hold them.
            Type::Uint64 => json!({ "type": "string", "pattern": "^[0-9]+$" }),
            Type::Float | Type::Double => json!({ "type": "number" }),
            Type::Enum => self.choice(message, at, field.type_name()),
            Type::Message => match field.type_name() {
                ".google.protobuf.Duration" => {
                    json!({ "type": "string", "pattern": bounds::DURATION, "examples": ["0.03s"] })
                }
                ".google.protobuf.Timestamp" => json!({ "type": "string", "format": "date-time" }),
                name => {
                    let name = name.strip_prefix(PACKAGE).expect("a message of this package");
                    self.message(name)
                }
            },
            other => panic!("{}.{} is {other:?}", message.name(), field.name()),
        }
    }

    /// The names of an enum, without the unspecified one, which is never written.
    fn choice(&self, message: &DescriptorProto, at: &[i32; 2], name: &str) -> Value {
        let own = format!("{PACKAGE}{}.", message.name());
        let (place_of, found): (Vec<i32>, &EnumDescriptorProto) = match name.strip_prefix(&own) {
            Some(name) => {
                let (index, found) = enum_of(&message.enum_type, name);
                (vec![at[0], at[1], NESTED_ENUMS, index], found)
            }
            None => {
                let name = name.strip_prefix(PACKAGE).expect("an enum of this package");
                let (index, found) = enum_of(&self.file.enum_type, name);
                (vec![ENUMS, index], found)
            }
        };
        let named = found.value.iter().enumerate();
        let named = named.filter(|(_, value)| !value.name().ends_with("_UNSPECIFIED"));
        let described = named.clone().filter_map(|(index, value)| {
            let at: Vec<i32> = place_of.iter().copied().chain([VALUES, place(index)]).collect();
            let comment = self.comments.get(&at)?;
            Some(format!("`{}`: {comment}", value.name()))
        });
        let described: Vec<String> = described.collect();
        let names = named.clone().map(|(_, value)| json!(value.name()));
        let mut schema = json!({ "type": "string", "enum": names.clone().collect::<Vec<_>>() });
        if bounds::is_request(message.name()) {
            // Proto3 JSON also accepts the number of a value.
            let numbers = named.map(|(_, value)| json!(value.number()));
            schema = json!({ "enum": names.chain(numbers).collect::<Vec<_>>() });
        }
        describe(&mut schema, &described.join(" "));
        schema
    }

    fn comment(&self, at: &[i32]) -> &str {
        self.comments.get(at).map_or("", String::as_str)
    }
}

fn enum_of<'e>(all: &'e [EnumDescriptorProto], name: &str) -> (i32, &'e EnumDescriptorProto) {
    let index = all.iter().position(|each| each.name() == name);
    let index = index.unwrap_or_else(|| panic!("{FILE} has no enum {name}"));
    (place(index), &all[index])
}

/// The field of a map's values: protobuf describes a map as a nested message.
fn map_values<'m>(
    message: &'m DescriptorProto,
    field: &FieldDescriptorProto,
) -> Option<&'m FieldDescriptorProto> {
    let name = field.type_name.as_deref()?.rsplit('.').next()?;
    let entry = message.nested_type.iter().find(|nested| nested.name() == name)?;
    let is_map = entry.options.as_ref().is_some_and(|options| options.map_entry());
    entry.field.get(1).filter(|_| is_map)
}

/// Proto3 JSON accepts null for the default of any field.
fn or_null(mut schema: Value) -> Value {
    if let Some(names) = schema.get_mut("enum").and_then(Value::as_array_mut) {
        names.push(Value::Null);
    } else if let Some(kind) = schema.get_mut("type") {
        *kind = json!([kind.take(), "null"]);
    } else {
        schema = json!({ "anyOf": [schema, { "type": "null" }] });
    }
    schema
}

fn place(index: usize) -> i32 {
    i32::try_from(index).expect("a file has not that many")
}

fn one_line(comment: &str) -> String {
    comment.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn describe(schema: &mut Value, comment: &str) {
    if comment.is_empty() {
        return;
    }
    let before = schema["description"].as_str().map(str::to_owned);
    let whole = [Some(comment.to_owned()), before].into_iter().flatten().collect::<Vec<_>>();
    schema["description"] = whole.join(" ").into();
}

/// Adds the bounds, which the proto does not have.
fn merge(schema: &mut Value, more: Value) {
    let (Value::Object(schema), Value::Object(more)) = (schema, more) else { return };
    for (key, value) in more {
        match schema.get_mut(&key) {
            Some(known @ Value::Object(_)) if value.is_object() => merge(known, value),
            _ => drop(schema.insert(key, value)),
        }
    }
}
