//! The contracts as data: descriptors, comments, and the rules of `tgmesh.options.v1`.

use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{
    DescriptorPool, DynamicMessage, EnumValueDescriptor, FieldDescriptor, Kind, MessageDescriptor, MethodDescriptor,
    OneofDescriptor, ServiceDescriptor, Value,
};

/// All contracts.
///
/// # Panics
/// When the generated descriptor set is not one.
pub fn pool() -> DescriptorPool {
    DescriptorPool::decode(tgmesh_proto::FILE_DESCRIPTOR_SET).expect("the descriptor set can be decoded")
}

/// The services that clients of tgmesh use. The emulator's control API is a product of its own.
pub fn services(pool: &DescriptorPool) -> Vec<ServiceDescriptor> {
    let ours = |package: &str| package.starts_with("tgmesh.") && package != "tgmesh.emulator.v1";
    pool.services().filter(|service| ours(service.package_name())).collect()
}

/// All methods of [`services`].
pub fn methods(pool: &DescriptorPool) -> Vec<MethodDescriptor> {
    services(pool).iter().flat_map(|service| service.methods().collect::<Vec<_>>()).collect()
}

/// The rules of one field; see `tgmesh.options.v1.FieldRules`.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    /// Must be given.
    pub required: bool,
    /// A UUID.
    pub uuid: bool,
    /// A secret.
    pub sensitive: bool,
    /// Most characters or bytes.
    pub max_length: Option<i64>,
    /// Fewest characters or bytes.
    pub min_length: Option<i64>,
    /// Most items.
    pub max_items: Option<i64>,
    /// Smallest number.
    pub minimum: Option<i64>,
    /// Largest number.
    pub maximum: Option<i64>,
    /// Shortest duration.
    pub min_millis: Option<i64>,
    /// Longest duration.
    pub max_millis: Option<i64>,
}

/// The rules of a field; none when it states none.
pub fn rules(field: &FieldDescriptor) -> Rules {
    let Some(stated) = option(&field.options(), "field") else { return Rules::default() };
    Rules {
        required: flag(&stated, "required"),
        uuid: flag(&stated, "uuid"),
        sensitive: flag(&stated, "sensitive"),
        max_length: number(&stated, "max_length"),
        min_length: number(&stated, "min_length"),
        max_items: number(&stated, "max_items"),
        minimum: number(&stated, "minimum"),
        maximum: number(&stated, "maximum"),
        min_millis: number(&stated, "min_millis"),
        max_millis: number(&stated, "max_millis"),
    }
}

/// Whether one of the choices must be given.
pub fn choice_required(oneof: &OneofDescriptor) -> bool {
    option(&oneof.options(), "oneof").is_some_and(|stated| flag(&stated, "required"))
}

/// How many callers a method admits, and its deadline in seconds; `None` without rules.
pub fn method_rules(method: &MethodDescriptor) -> Option<(usize, i64)> {
    let stated = option(&method.options(), "method")?;
    let callers = stated.get_field_by_name("callers")?.as_list()?.len();
    Some((callers, number(&stated, "deadline_seconds").unwrap_or(0)))
}

/// The name of the status code, and the metadata keys, of a reason of the error catalogue.
pub fn reason_rules(reason: &EnumValueDescriptor) -> Option<(String, Vec<String>)> {
    let stated = option(&reason.options(), "reason")?;
    let code = stated.get_field_by_name("code")?.as_str()?.to_owned();
    let metadata = stated.get_field_by_name("metadata")?;
    let keys = metadata.as_list()?.iter().filter_map(|key| key.as_str().map(str::to_owned)).collect();
    Some((code, keys))
}

/// The messages of ours below `message`, itself included, each with the path that leads to it.
pub fn below(message: &MessageDescriptor) -> Vec<(String, MessageDescriptor)> {
    let mut found = vec![(String::new(), message.clone())];
    let mut at = 0;
    while let Some((path, message)) = found.get(at).cloned() {
        for field in message.fields() {
            if let Kind::Message(inner) = field.kind()
                && is_ours(&inner)
                && !found.iter().any(|(_, known)| *known == inner)
            {
                let path = if path.is_empty() { field.name().to_owned() } else { format!("{path}.{}", field.name()) };
                found.push((path, inner));
            }
        }
        at += 1;
    }
    found
}

/// Whether a message is of a contract of ours, and not one that protobuf defines.
pub fn is_ours(message: &MessageDescriptor) -> bool {
    message.package_name().starts_with("tgmesh.")
}

/// The comment above the element at `path`, on one line; empty when there is none.
pub fn comment(file: &FileDescriptorProto, path: &[i32]) -> String {
    let info = file.source_code_info.as_ref();
    let location = info.and_then(|info| info.location.iter().find(|location| location.path == path));
    let text = location.map_or("", |location| location.leading_comments());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn option(options: &DynamicMessage, name: &str) -> Option<DynamicMessage> {
    let name = format!("tgmesh.options.v1.{name}");
    let (_, value) = options.extensions().find(|(extension, _)| extension.full_name() == name)?;
    value.as_message().cloned()
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or(false)
}

fn number(message: &DynamicMessage, name: &str) -> Option<i64> {
    if !message.has_field_by_name(name) {
        return None;
    }
    match message.get_field_by_name(name)?.as_ref() {
        Value::U32(value) => Some(i64::from(*value)),
        Value::I64(value) => Some(*value),
        _ => None,
    }
}
