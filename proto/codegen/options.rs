//! Reads the options of `tgmesh.options.v1` from descriptors.

use prost_reflect::{DynamicMessage, Value};

/// The options message under `name`, when the descriptor carries one.
fn extension(options: DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let (_, value) = options.extensions().find(|(ext, _)| ext.full_name() == format!("tgmesh.options.v1.{name}"))?;
    match value {
        Value::Message(message) => Some(message.clone()),
        _ => None,
    }
}

fn int(message: &DynamicMessage, name: &str) -> Option<i64> {
    if !message.has_field_by_name(name) {
        return None;
    }
    match message.get_field_by_name(name)?.as_ref() {
        Value::U32(value) => Some(i64::from(*value)),
        Value::I64(value) => Some(*value),
        _ => None,
    }
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn list(message: &DynamicMessage, name: &str) -> Vec<Value> {
    message.get_field_by_name(name).and_then(|value| value.as_list().map(<[Value]>::to_vec)).unwrap_or_default()
}

/// `FieldRules` as plain values.
#[derive(Default, Clone)]
pub struct Field {
    pub required: bool,
    pub uuid: bool,
    pub sensitive: bool,
    pub max_length: Option<i64>,
    pub min_length: Option<i64>,
    pub max_items: Option<i64>,
    pub minimum: Option<i64>,
    pub maximum: Option<i64>,
    pub min_millis: Option<i64>,
    pub max_millis: Option<i64>,
}

pub fn field(descriptor: &prost_reflect::FieldDescriptor) -> Field {
    let Some(rules) = extension(descriptor.options(), "field") else {
        return Field::default();
    };
    Field {
        required: flag(&rules, "required"),
        uuid: flag(&rules, "uuid"),
        sensitive: flag(&rules, "sensitive"),
        max_length: int(&rules, "max_length"),
        min_length: int(&rules, "min_length"),
        max_items: int(&rules, "max_items"),
        minimum: int(&rules, "minimum"),
        maximum: int(&rules, "maximum"),
        min_millis: int(&rules, "min_millis"),
        max_millis: int(&rules, "max_millis"),
    }
}

pub fn oneof_required(descriptor: &prost_reflect::OneofDescriptor) -> bool {
    extension(descriptor.options(), "oneof").is_some_and(|rules| flag(&rules, "required"))
}

/// `MethodRules` as plain values: caller numbers and the deadline in seconds.
pub fn method(descriptor: &prost_reflect::MethodDescriptor) -> Option<(Vec<i32>, i64)> {
    let rules = extension(descriptor.options(), "method")?;
    let callers = list(&rules, "callers").iter().filter_map(Value::as_enum_number).collect();
    Some((callers, int(&rules, "deadline_seconds").unwrap_or(0)))
}

/// `ReasonRules` as plain values: the code's name and the metadata keys.
pub fn reason(descriptor: &prost_reflect::EnumValueDescriptor) -> Option<(String, Vec<String>)> {
    let rules = extension(descriptor.options(), "reason")?;
    let code = rules.get_field_by_name("code")?.as_str()?.to_owned();
    let keys = list(&rules, "metadata").iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    Some((code, keys))
}
