//! Generates the table of methods and the code of each error reason.

use std::fmt::Write as _;

use anyhow::{Context as _, bail};
use heck::ToUpperCamelCase as _;
use prost_reflect::DescriptorPool;

use super::options;

/// `METHODS`: one entry per method of every tgmesh service.
pub fn methods(pool: &DescriptorPool) -> anyhow::Result<String> {
    let mut out = String::from("pub static METHODS: &[MethodInfo] = &[\n");
    for service in pool.services().filter(|service| service.package_name().starts_with("tgmesh.")) {
        for method in service.methods() {
            // The emulator's control interface is loopback only and knows no callers.
            let rules = if service.package_name() == "tgmesh.emulator.v1" {
                Some((Vec::new(), 0))
            } else {
                options::method(&method)
            };
            let (callers, deadline) =
                rules.with_context(|| format!("{} has no (tgmesh.options.v1.method)", method.full_name()))?;
            let callers: Vec<String> = callers.iter().map(|caller| caller_name(*caller)).collect::<Result<_, _>>()?;
            let mutating = method.input().get_field_by_name("request_id").is_some();
            writeln!(
                out,
                "    MethodInfo {{ path: \"/{}/{}\", service: \"{0}\", name: \"{1}\", callers: &[{}], \
                 deadline: {}, mutating: {mutating}, client_streaming: {}, server_streaming: {} }},",
                service.full_name(),
                method.name(),
                callers.join(", "),
                if deadline == 0 { "None".to_owned() } else { format!("Some(Duration::from_secs({deadline}))") },
                method.is_client_streaming(),
                method.is_server_streaming(),
            )?;
        }
    }
    out.push_str("];\n");
    Ok(out)
}

fn caller_name(number: i32) -> anyhow::Result<String> {
    Ok(match number {
        1 => "Caller::User",
        2 => "Caller::Invite",
        3 => "Caller::Parsing",
        4 => "Caller::Operator",
        _ => bail!("unknown caller {number}"),
    }
    .to_owned())
}

/// `code` and `metadata_keys` for every value of `ErrorReason`.
pub fn reasons(pool: &DescriptorPool) -> anyhow::Result<String> {
    let reasons = pool.get_enum_by_name("tgmesh.error.v1.ErrorReason").context("the error catalogue is missing")?;
    let mut codes = String::new();
    let mut keys = String::new();
    for value in reasons.values().filter(|value| value.number() != 0) {
        let (code, metadata) = options::reason(&value)
            .with_context(|| format!("{} has no (tgmesh.options.v1.reason)", value.full_name()))?;
        let variant = value.name().trim_start_matches("ERROR_REASON_").to_upper_camel_case();
        writeln!(codes, "            Self::{variant} => tonic::Code::{},", code.to_upper_camel_case())?;
        writeln!(keys, "            Self::{variant} => &{metadata:?},")?;
    }
    Ok(format!(
        "impl crate::error::v1::ErrorReason {{\n\
         \x20   /// The gRPC status code that always goes with this reason.\n\
         \x20   pub fn code(self) -> tonic::Code {{\n        match self {{\n\
         \x20           Self::Unspecified => tonic::Code::Unknown,\n{codes}        }}\n    }}\n\n\
         \x20   /// Keys of the metadata that always come with this reason.\n\
         \x20   pub fn metadata_keys(self) -> &'static [&'static str] {{\n        match self {{\n\
         \x20           Self::Unspecified => &[],\n{keys}        }}\n    }}\n}}\n"
    ))
}
