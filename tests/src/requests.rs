//! Requests made from the contracts alone: one that keeps every rule, and for each rule one that breaks it.

use prost_reflect::{DynamicMessage, EnumDescriptor, FieldDescriptor, Kind, MapKey, MessageDescriptor, Value};

use crate::contract::{self, Rules};

/// An id that keeps the rule `uuid`.
pub const ID: &str = "0190b0a0-7c3e-7000-8000-000000000000";

/// A number that no enum of ours knows.
const UNKNOWN_ENUM_NUMBER: i32 = 987_654;

/// Most paths of any field mask.
const MASK_PATHS: usize = 64;

/// A request that breaks one rule, and where.
#[derive(Debug, Clone)]
pub struct Broken {
    /// The path that a `BadRequest` has to name.
    pub path: String,
    /// The rule.
    pub rule: &'static str,
    /// The request; all its other fields are right.
    pub message: DynamicMessage,
}

/// A message with every field given and every rule kept.
pub fn valid(descriptor: &MessageDescriptor) -> DynamicMessage {
    let mut message = DynamicMessage::new(descriptor.clone());
    for field in descriptor.fields() {
        // Of a choice, the first.
        let chosen = field.containing_oneof().and_then(|oneof| oneof.fields().next());
        if chosen.is_none_or(|first| first == field) {
            message.set_field(&field, good(&field));
        }
    }
    message
}

/// For each rule of the message and of all below it: the message with that rule broken.
pub fn broken(descriptor: &MessageDescriptor) -> Vec<Broken> {
    let mut found = Vec::new();
    for field in descriptor.fields() {
        for (path, rule, value) in wrong(&field) {
            let mut message = valid(descriptor);
            match value {
                Some(value) => message.set_field(&field, value),
                None => message.clear_field(&field),
            }
            found.push(Broken { path, rule, message });
        }
    }
    for oneof in descriptor.oneofs().filter(contract::choice_required) {
        let mut message = valid(descriptor);
        for field in oneof.fields() {
            message.clear_field(&field);
        }
        found.push(Broken { path: oneof.name().to_owned(), rule: "one of the choices", message });
    }
    found
}

/// A value that keeps the rules of the field.
fn good(field: &FieldDescriptor) -> Value {
    if field.is_map() {
        return Value::Map([(MapKey::String("key".to_owned()), Value::String("value".to_owned()))].into());
    }
    let one = good_one(&field.kind(), &contract::rules(field));
    if field.is_list() { Value::List(vec![one]) } else { one }
}

fn good_one(kind: &Kind, rules: &Rules) -> Value {
    match kind {
        Kind::String if rules.uuid => Value::String(ID.to_owned()),
        Kind::String => Value::String("a".repeat(length(rules.min_length.unwrap_or(1).max(1)))),
        Kind::Bytes => Value::Bytes(vec![1; length(rules.min_length.unwrap_or(1).max(1))].into()),
        Kind::Enum(kind) => Value::EnumNumber(first_number(kind)),
        Kind::Message(kind) => Value::Message(match kind.full_name() {
            "google.protobuf.Duration" => duration(kind, rules.min_millis.unwrap_or(0)),
            "google.protobuf.FieldMask" => mask(kind, 1),
            name if name.starts_with("google.") => DynamicMessage::new(kind.clone()),
            _ => valid(kind),
        }),
        Kind::Bool => Value::Bool(true),
        Kind::Double => Value::F64(0.5),
        Kind::Float => Value::F32(0.5),
        number => numeric(number, rules.minimum.unwrap_or(0).max(1).min(rules.maximum.unwrap_or(1).max(1))),
    }
}

/// What breaks a rule of the field: the path, the rule, and the value; without a value the field is left out.
fn wrong(field: &FieldDescriptor) -> Vec<(String, &'static str, Option<Value>)> {
    let rules = contract::rules(field);
    let name = field.name().to_owned();
    let mut found = Vec::new();
    // Left out of a choice, it is the choice that is missing.
    if rules.required && field.containing_oneof().is_none() {
        found.push((name.clone(), "required", None));
    }
    if field.is_map() {
        return found;
    }
    let item = if field.is_list() { format!("{name}[0]") } else { name.clone() };
    for (inner, rule, value) in wrong_one(&field.kind(), &rules) {
        let path = if inner.is_empty() { item.clone() } else { format!("{item}.{inner}") };
        let value = if field.is_list() { Value::List(vec![value]) } else { value };
        found.push((path, rule, Some(value)));
    }
    if let Some(most) = rules.max_items
        && field.is_list()
    {
        let items = vec![good_one(&field.kind(), &rules); length(most + 1)];
        found.push((name, "max_items", Some(Value::List(items))));
    }
    found
}

/// What breaks a rule of one value: the path below it, the rule, and the value.
fn wrong_one(kind: &Kind, rules: &Rules) -> Vec<(String, &'static str, Value)> {
    let mut found = Vec::new();
    let mut add = |rule, value| found.push((String::new(), rule, value));
    match kind {
        Kind::String => {
            if rules.uuid {
                add("uuid", Value::String("not-a-uuid".to_owned()));
            }
            if let Some(most) = rules.max_length {
                add("max_length", Value::String("a".repeat(length(most + 1))));
            }
            if let Some(fewest) = rules.min_length.filter(|fewest| *fewest > 1) {
                add("min_length", Value::String("a".repeat(length(fewest - 1))));
            }
        }
        Kind::Bytes => {
            if let Some(most) = rules.max_length {
                add("max_length", Value::Bytes(vec![1; length(most + 1)].into()));
            }
            if let Some(fewest) = rules.min_length.filter(|fewest| *fewest > 1) {
                add("min_length", Value::Bytes(vec![1; length(fewest - 1)].into()));
            }
        }
        Kind::Enum(_) => add("known value", Value::EnumNumber(UNKNOWN_ENUM_NUMBER)),
        Kind::Message(kind) if kind.full_name() == "google.protobuf.Duration" => {
            add("min_millis", Value::Message(duration(kind, rules.min_millis.unwrap_or(0) - 1)));
            if let Some(most) = rules.max_millis {
                add("max_millis", Value::Message(duration(kind, most + 1)));
            }
        }
        Kind::Message(kind) if kind.full_name() == "google.protobuf.Timestamp" => {
            let mut early = DynamicMessage::new(kind.clone());
            early.set_field_by_name("seconds", Value::I64(-1));
            add("since 1970", Value::Message(early));
        }
        Kind::Message(kind) if kind.full_name() == "google.protobuf.FieldMask" => {
            add("paths of a mask", Value::Message(mask(kind, MASK_PATHS + 1)));
        }
        Kind::Message(kind) if contract::is_ours(kind) => {
            for inner in broken(kind) {
                found.push((inner.path, inner.rule, Value::Message(inner.message)));
            }
        }
        Kind::Message(_) | Kind::Bool => {}
        Kind::Double => add("finite", Value::F64(f64::NAN)),
        Kind::Float => add("finite", Value::F32(f32::NAN)),
        number => {
            if let Some(least) = rules.minimum {
                add("minimum", numeric(number, least - 1));
            }
            if let Some(most) = rules.maximum {
                add("maximum", numeric(number, most + 1));
            }
        }
    }
    found
}

/// A number of the kind; out of its range it wraps, which no rule of ours comes near.
fn numeric(kind: &Kind, number: i64) -> Value {
    match kind {
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => Value::I32(number as i32),
        Kind::Uint32 | Kind::Fixed32 => Value::U32(number as u32),
        Kind::Uint64 | Kind::Fixed64 => Value::U64(number as u64),
        _ => Value::I64(number),
    }
}

fn first_number(kind: &EnumDescriptor) -> i32 {
    kind.values().map(|value| value.number()).find(|number| *number != 0).unwrap_or_default()
}

fn duration(kind: &MessageDescriptor, millis: i64) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    message.set_field_by_name("seconds", Value::I64(millis / 1_000));
    message.set_field_by_name("nanos", Value::I32((millis % 1_000 * 1_000_000) as i32));
    message
}

fn mask(kind: &MessageDescriptor, paths: usize) -> DynamicMessage {
    let mut message = DynamicMessage::new(kind.clone());
    message.set_field_by_name("paths", Value::List(vec![Value::String("name".to_owned()); paths]));
    message
}

fn length(length: i64) -> usize {
    usize::try_from(length).unwrap_or_default()
}
