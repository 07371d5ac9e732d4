//! Generates `Validate` for every message and a `Debug` that hides secrets for
//! the messages that carry one.

use std::fmt::Write as _;

use heck::{ToSnakeCase as _, ToUpperCamelCase as _};
use prost_reflect::{DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor};

use super::options::{self, Field};

fn ours(pool: &DescriptorPool) -> impl Iterator<Item = MessageDescriptor> + '_ {
    pool.all_messages().filter(|message| {
        message.package_name().starts_with("tgmesh.")
            && message.package_name() != "tgmesh.options.v1"
            && !message.is_map_entry()
    })
}

/// Full names of the messages with a field marked sensitive.
pub fn with_secrets(pool: &DescriptorPool) -> Vec<String> {
    ours(pool)
        .filter(|message| message.fields().any(|field| options::field(&field).sensitive))
        .map(|message| message.full_name().to_owned())
        .collect()
}

pub fn generate(pool: &DescriptorPool) -> anyhow::Result<String> {
    let mut out = String::new();
    let requests: Vec<MessageDescriptor> = pool
        .services()
        .flat_map(|service| service.methods().map(|method| method.input()).collect::<Vec<_>>())
        .collect();
    for message in ours(pool) {
        validate(&mut out, &message, requests.contains(&message))?;
        if message.fields().any(|field| options::field(&field).sensitive) {
            debug(&mut out, &message)?;
        }
        if message.get_field_by_name("request_id").is_some() {
            let path = rust_path(message.package_name(), message.full_name());
            writeln!(
                out,
                "impl crate::WithRequestId for {path} {{ fn request_id(&self) -> &str {{ &self.request_id }} }}\n"
            )?;
        }
    }
    Ok(out)
}

fn validate(out: &mut String, message: &MessageDescriptor, request: bool) -> anyhow::Result<()> {
    writeln!(out, "impl Validate for {} {{", rust_path(message.package_name(), message.full_name()))?;
    if request {
        writeln!(out, "    const REQUEST: bool = true;")?;
    }
    writeln!(out, "    fn check(&self, v: &mut Violations) {{")?;
    writeln!(out, "        let _ = &v;")?;
    for field in message.fields() {
        if field.containing_oneof().is_some_and(|oneof| !oneof.is_synthetic()) {
            continue;
        }
        let access = format!("self.{}", ident(field.name()));
        let rules = literal(&options::field(&field));
        let name = field.name();
        if field.is_map() {
            writeln!(out, "        check::map(v, {name:?}, {access}.len(), {rules});")?;
        } else if field.is_list() {
            let each = value_check(&field, "item", "name");
            writeln!(out, "        check::list(v, {name:?}, &{access}, {rules}, |v, name, item| {each});")?;
        } else if matches!(field.kind(), Kind::Message(_)) || optional(&field) {
            let each = value_check(&field, "item", &format!("{name:?}"));
            writeln!(out, "        check::optional(v, {name:?}, {access}.is_some(), {rules});")?;
            writeln!(out, "        if let Some(item) = &{access} {{ {each} }}")?;
        } else {
            let each = value_check(&field, &format!("&{access}"), &format!("{name:?}"));
            writeln!(out, "        {each};")?;
        }
    }
    for oneof in message.oneofs().filter(|oneof| !oneof.is_synthetic()) {
        let access = format!("self.{}", ident(oneof.name()));
        let module = rust_path(message.package_name(), message.full_name()).rsplit_once("::").map_or_else(
            String::new,
            |(parent, name)| {
                format!("{parent}::{}::{}", ident(&name.to_snake_case()), oneof.name().to_upper_camel_case())
            },
        );
        writeln!(out, "        match &{access} {{")?;
        writeln!(
            out,
            "            None => check::choice(v, {:?}, {}),",
            oneof.name(),
            options::oneof_required(&oneof)
        )?;
        for field in oneof.fields() {
            let each = value_check(&field, "item", &format!("{:?}", field.name()));
            writeln!(out, "            Some({module}::{}(item)) => {{ {each} }}", field.name().to_upper_camel_case())?;
        }
        writeln!(out, "        }}")?;
    }
    writeln!(out, "    }}\n}}\n")?;
    Ok(())
}

/// The check of one value; `item` is a reference to it, `name` an expression of its path segment.
fn value_check(field: &FieldDescriptor, item: &str, name: &str) -> String {
    let mut rules = options::field(field);
    // Presence is the container's rule; an item of a list is always something.
    if field.is_list() || optional(field) || matches!(field.kind(), Kind::Message(_)) {
        rules.required = field.is_list() && matches!(field.kind(), Kind::String | Kind::Bytes | Kind::Enum(_));
    }
    let rules = literal(&rules);
    match field.kind() {
        Kind::String => format!("check::string(v, {name}, {item}, {rules})"),
        Kind::Bytes => format!("check::bytes(v, {name}, {item}, {rules})"),
        Kind::Enum(kind) => {
            format!("check::enumeration(v, {name}, *{item}, {}::try_from(*{item}).is_ok(), {rules})", enum_path(&kind))
        }
        Kind::Message(kind) => match kind.full_name() {
            "google.protobuf.Duration" => format!("check::duration(v, {name}, {item}, {rules})"),
            "google.protobuf.Timestamp" => format!("check::timestamp(v, {name}, {item})"),
            "google.protobuf.FieldMask" => format!("check::mask(v, {name}, {item}, {rules})"),
            other if other.starts_with("tgmesh.") => format!("check::message(v, {name}, {item})"),
            _ => "()".to_owned(),
        },
        Kind::Bool => format!("{{ let _ = ({item}, {name}); }}"),
        Kind::Double | Kind::Float => format!("check::finite(v, {name}, f64::from(*{item}))"),
        _ => format!("check::number(v, {name}, i128::from(*{item}), {rules})"),
    }
}

fn debug(out: &mut String, message: &MessageDescriptor) -> anyhow::Result<()> {
    let path = rust_path(message.package_name(), message.full_name());
    writeln!(out, "impl std::fmt::Debug for {path} {{")?;
    writeln!(out, "    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {{")?;
    writeln!(out, "        let mut s = f.debug_struct({:?});", message.name())?;
    for field in message.fields().filter(|field| field.containing_oneof().is_none_or(|oneof| oneof.is_synthetic())) {
        if options::field(&field).sensitive {
            writeln!(out, "        s.field({:?}, &\"<redacted>\");", field.name())?;
        } else {
            writeln!(out, "        s.field({:?}, &self.{});", field.name(), ident(field.name()))?;
        }
    }
    writeln!(out, "        s.finish_non_exhaustive()\n    }}\n}}\n")?;
    Ok(())
}

fn optional(field: &FieldDescriptor) -> bool {
    field.containing_oneof().is_some_and(|oneof| oneof.is_synthetic())
}

fn literal(rules: &Field) -> String {
    let mut parts = Vec::new();
    if rules.required {
        parts.push("required: true".to_owned());
    }
    if rules.uuid {
        parts.push("uuid: true".to_owned());
    }
    for (name, value) in [
        ("max_length", rules.max_length),
        ("min_length", rules.min_length),
        ("max_items", rules.max_items),
        ("minimum", rules.minimum),
        ("maximum", rules.maximum),
        ("min_millis", rules.min_millis),
        ("max_millis", rules.max_millis),
    ] {
        if let Some(value) = value {
            parts.push(format!("{name}: Some({value})"));
        }
    }
    parts.push("..Rules::NONE".to_owned());
    format!("Rules {{ {} }}", parts.join(", "))
}

/// `tgmesh.a.v1.Outer.Inner` is `crate::a::v1::outer::Inner`.
fn rust_path(package: &str, full_name: &str) -> String {
    let mut path = String::from("crate");
    for part in package.split('.').skip(1) {
        path.push_str("::");
        path.push_str(part);
    }
    let names: Vec<&str> = full_name[package.len() + 1..].split('.').collect();
    for outer in &names[..names.len() - 1] {
        path.push_str("::");
        path.push_str(&ident(&outer.to_snake_case()));
    }
    path.push_str("::");
    path.push_str(&names[names.len() - 1].to_upper_camel_case());
    path
}

fn enum_path(kind: &EnumDescriptor) -> String {
    rust_path(kind.package_name(), kind.full_name())
}

fn ident(name: &str) -> String {
    if matches!(name, "type" | "match" | "ref" | "use" | "move" | "loop" | "in" | "for") {
        format!("r#{name}")
    } else {
        name.to_owned()
    }
}
