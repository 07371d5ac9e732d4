//! Checks requests against the rules that their contract states.

#![warn(clippy::all)]

use tonic::Status;

use crate::ErrorReason;

/// Most violations reported for one request; further ones add nothing.
const MOST_VIOLATIONS: usize = 20;

/// A message whose rules can be checked.
pub trait Validate {
    /// Whether it is the request of a method. Answers are not judged: they come from ourselves, perhaps from a newer
    /// version with values that this one does not know.
    const REQUEST: bool = false;

    /// Adds each broken rule to `v`.
    fn check(&self, v: &mut Violations);

    /// Fails with INVALID_ARGUMENT and the path of each field that breaks a rule.
    ///
    /// # Errors
    /// `FIELD_INVALID` with a `BadRequest`.
    fn validate(&self) -> Result<(), Status> {
        let mut violations = Violations::default();
        self.check(&mut violations);
        violations.into_result()
    }
}

impl Validate for () {
    fn check(&self, _: &mut Violations) {}
}

/// Broken rules, each with the path of its field.
#[derive(Debug, Default)]
pub struct Violations {
    path: Vec<String>,
    found: Vec<(String, String)>,
}

impl Violations {
    /// Adds a violation of the field `name` below the current path.
    pub fn add(&mut self, name: &str, description: impl Into<String>) {
        if self.found.len() >= MOST_VIOLATIONS {
            return;
        }
        let mut path = self.path.join(".");
        if !path.is_empty() && !name.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        self.found.push((path, description.into()));
    }

    /// Runs `check` with `name` added to the path.
    pub fn within(&mut self, name: &str, check: impl FnOnce(&mut Self)) {
        self.path.push(name.to_owned());
        check(self);
        self.path.pop();
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// The status for what was found.
    ///
    /// # Errors
    /// `FIELD_INVALID` unless nothing was found.
    pub fn into_result(self) -> Result<(), Status> {
        let Some((field, description)) = self.found.first() else {
            return Ok(());
        };
        let mut status =
            crate::status::status(ErrorReason::FieldInvalid, format!("{field}: {description}")).with("field", field);
        for (field, description) in &self.found {
            status = status.violation(field, description);
        }
        Err(status.build())
    }
}

/// The rules of one field; see `tgmesh.options.v1.FieldRules`.
#[derive(Debug, Clone, Copy)]
pub struct Rules {
    pub required: bool,
    pub uuid: bool,
    pub max_length: Option<usize>,
    pub min_length: Option<usize>,
    pub max_items: Option<usize>,
    pub minimum: Option<i128>,
    pub maximum: Option<i128>,
    pub min_millis: Option<i128>,
    pub max_millis: Option<i128>,
}

impl Rules {
    /// No rules.
    pub const NONE: Self = Self {
        required: false,
        uuid: false,
        max_length: None,
        min_length: None,
        max_items: None,
        minimum: None,
        maximum: None,
        min_millis: None,
        max_millis: None,
    };
}

/// The checks that generated code calls, one per kind of field.
pub mod check {
    use super::{Rules, Validate, Violations};

    /// Largest second of a `google.protobuf.Timestamp`: the end of the year 9999.
    const LAST_SECOND: i64 = 253_402_300_799;

    /// Text.
    pub fn string(v: &mut Violations, name: &str, value: &str, rules: Rules) {
        if value.is_empty() {
            if rules.required {
                v.add(name, "is required");
            }
            return;
        }
        length(v, name, value.chars().count(), "characters", rules);
        if rules.uuid && !is_uuid(value) {
            v.add(name, "must be a UUID such as 0190b0a0-7c3e-7000-8000-000000000000");
        }
    }

    /// Bytes.
    pub fn bytes(v: &mut Violations, name: &str, value: &[u8], rules: Rules) {
        if value.is_empty() {
            if rules.required {
                v.add(name, "is required");
            }
            return;
        }
        length(v, name, value.len(), "bytes", rules);
    }

    fn length(v: &mut Violations, name: &str, length: usize, unit: &str, rules: Rules) {
        if let Some(most) = rules.max_length
            && length > most
        {
            v.add(name, format!("must have at most {most} {unit}, has {length}"));
        }
        if let Some(fewest) = rules.min_length
            && length < fewest
        {
            v.add(name, format!("must have at least {fewest} {unit}, has {length}"));
        }
    }

    /// A whole number.
    pub fn number(v: &mut Violations, name: &str, value: i128, rules: Rules) {
        if rules.required && value == 0 {
            v.add(name, "is required");
            return;
        }
        range(v, name, value, rules.minimum, rules.maximum, "");
    }

    fn range(v: &mut Violations, name: &str, value: i128, least: Option<i128>, most: Option<i128>, unit: &str) {
        if let Some(least) = least
            && value < least
        {
            v.add(name, format!("must be at least {least}{unit}"));
        }
        if let Some(most) = most
            && value > most
        {
            v.add(name, format!("must be at most {most}{unit}"));
        }
    }

    /// A floating point number.
    pub fn finite(v: &mut Violations, name: &str, value: f64) {
        if !value.is_finite() {
            v.add(name, "must be a finite number");
        }
    }

    /// An enum.
    pub fn enumeration(v: &mut Violations, name: &str, value: i32, known: bool, rules: Rules) {
        if !known {
            v.add(name, format!("{value} is not a known value"));
        } else if rules.required && value == 0 {
            v.add(name, "is required");
        }
    }

    /// A duration.
    pub fn duration(v: &mut Violations, name: &str, value: &prost_types::Duration, rules: Rules) {
        let millis = i128::from(value.seconds) * 1_000 + i128::from(value.nanos) / 1_000_000;
        if value.nanos.abs() >= 1_000_000_000 || (value.seconds < 0 && value.nanos > 0) {
            v.add(name, "is not a valid duration");
            return;
        }
        range(v, name, millis, rules.min_millis.or(Some(0)), rules.max_millis, " ms");
    }

    /// A point in time.
    pub fn timestamp(v: &mut Violations, name: &str, value: &prost_types::Timestamp) {
        if !(0..=LAST_SECOND).contains(&value.seconds) || !(0..1_000_000_000).contains(&value.nanos) {
            v.add(name, "must lie between the years 1970 and 9999");
        }
    }

    /// A field mask; which paths it may hold is the handler's rule.
    pub fn mask(v: &mut Violations, name: &str, value: &prost_types::FieldMask, rules: Rules) {
        if rules.required && value.paths.is_empty() {
            v.add(name, "is required");
        }
        if value.paths.len() > 64 || value.paths.iter().any(|path| path.len() > 200) {
            v.add(name, "must have at most 64 paths of at most 200 characters");
        }
    }

    /// A message.
    pub fn message<M: Validate>(v: &mut Violations, name: &str, value: &M) {
        v.within(name, |v| value.check(v));
    }

    /// Whether something that may be absent is there.
    pub fn optional(v: &mut Violations, name: &str, present: bool, rules: Rules) {
        if rules.required && !present {
            v.add(name, "is required");
        }
    }

    /// A choice.
    pub fn choice(v: &mut Violations, name: &str, required: bool) {
        if required {
            v.add(name, "one of the choices is required");
        }
    }

    /// A list and each of its items.
    pub fn list<T>(
        v: &mut Violations,
        name: &str,
        items: &[T],
        rules: Rules,
        each: impl Fn(&mut Violations, &str, &T),
    ) {
        if rules.required && items.is_empty() {
            v.add(name, "is required");
        }
        if let Some(most) = rules.max_items
            && items.len() > most
        {
            v.add(name, format!("must have at most {most} items, has {}", items.len()));
            return;
        }
        for (index, item) in items.iter().enumerate() {
            each(v, &format!("{name}[{index}]"), item);
        }
    }

    /// A map; only its size is bounded.
    pub fn map(v: &mut Violations, name: &str, entries: usize, rules: Rules) {
        if let Some(most) = rules.max_items
            && entries > most
        {
            v.add(name, format!("must have at most {most} entries, has {entries}"));
        }
    }

    fn is_uuid(value: &str) -> bool {
        value.len() == 36
            && value.bytes().enumerate().all(|(at, byte)| match at {
                8 | 13 | 18 | 23 => byte == b'-',
                _ => byte.is_ascii_hexdigit(),
            })
    }
}
