//! What is part of the contracts and not served yet.

use std::fmt;

use tgmesh_proto::ErrorReason;
use tonic::Status;

/// A method, a field of its request, or a value of that field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unserved {
    method: &'static str,
    field: &'static str,
    value: &'static str,
}

impl Unserved {
    /// A whole method.
    pub const fn method(method: &'static str) -> Self {
        Self { method, field: "", value: "" }
    }

    /// A field of the request, by its path.
    pub const fn field(method: &'static str, field: &'static str) -> Self {
        Self { method, field, value: "" }
    }

    /// A value of an enum, without the enum's prefix.
    pub const fn value(method: &'static str, field: &'static str, value: &'static str) -> Self {
        Self { method, field, value }
    }
}

impl fmt::Display for Unserved {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { method, field, value } = self;
        match (field.is_empty(), value.is_empty()) {
            (true, _) => write!(f, "{method} is not served yet"),
            (false, true) => write!(f, "{field} of {method} is not served yet"),
            (false, false) => write!(f, "{field} {value} of {method} is not served yet"),
        }
    }
}

impl std::error::Error for Unserved {}

impl From<Unserved> for Status {
    fn from(unserved: Unserved) -> Self {
        let mut status = tgmesh_proto::status::status(ErrorReason::NotImplemented, unserved.to_string());
        for (key, name) in [("method", unserved.method), ("field", unserved.field), ("value", unserved.value)] {
            if !name.is_empty() {
                status = status.with(key, name);
            }
        }
        status.build()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_stand_in_metadata_and_prose_in_the_message() {
        for (unserved, text, named) in [
            (Unserved::method("GetDashboard"), "GetDashboard is not served yet", vec![("method", "GetDashboard")]),
            (
                Unserved::field("CreateCampaign", "options.stop_rules"),
                "options.stop_rules of CreateCampaign is not served yet",
                vec![("field", "options.stop_rules"), ("method", "CreateCampaign")],
            ),
            (
                Unserved::value("CreateCampaign", "kind", "DIRECT_MESSAGE"),
                "kind DIRECT_MESSAGE of CreateCampaign is not served yet",
                vec![("field", "kind"), ("method", "CreateCampaign"), ("value", "DIRECT_MESSAGE")],
            ),
        ] {
            let status = Status::from(unserved);
            let failure = tgmesh_proto::status::read(&status).unwrap();
            let mut found: Vec<_> = failure.metadata.iter().map(|(key, name)| (key.as_str(), name.as_str())).collect();
            found.sort_unstable();
            assert_eq!((failure.reason, status.message()), (ErrorReason::NotImplemented, text));
            assert_eq!(found, named);
        }
    }
}
