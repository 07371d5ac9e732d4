//! The rules that all contracts keep, so that a client's author learns them once.

use prost_reflect::{EnumDescriptor, Kind, MessageDescriptor, MethodDescriptor};
use tgmesh_tests::contract::{self, below, methods, pool, rules};
use tonic::Code;

/// How the names of methods begin that change nothing. `CheckAccount` refreshes what is stored, and carries a
/// request_id all the same.
const READ_ONLY: &[&str] =
    &["Get", "List", "Watch", "Stream", "Check", "Validate", "Search", "Export", "Resolve", "Reconcile"];

/// Watches without a resume token: messages are not kept, so there is nothing to resume from.
const WATCHES_WITHOUT_MEMORY: &[&str] = &["WatchMessages"];

fn is_read_only(method: &MethodDescriptor) -> bool {
    READ_ONLY.iter().any(|prefix| method.name().starts_with(prefix))
}

/// What clients of tgmesh see: not the options, and not the emulator, which is a product of its own.
fn is_of_the_product(message: &MessageDescriptor) -> bool {
    contract::is_ours(message) && !["tgmesh.options.v1", "tgmesh.emulator.v1"].contains(&message.package_name())
}

/// Collects what is wrong, so that one run tells all of it.
#[derive(Default)]
struct Faults(Vec<String>);

impl Faults {
    fn check(&mut self, ok: bool, fault: impl FnOnce() -> String) {
        if !ok {
            self.0.push(fault());
        }
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert!(self.0.is_empty(), "contracts break their rules:\n  {}", self.0.join("\n  "));
        }
    }
}

#[test]
fn what_changes_something_can_be_repeated() {
    let mut faults = Faults::default();
    for method in methods(&pool()).iter().filter(|method| !is_read_only(method)) {
        // An upload names its request in the header, which is the first message of the stream.
        let header = || method.is_client_streaming().then(|| method.input().get_field_by_name("header")).flatten();
        let holder = match header().map(|header| header.kind()) {
            Some(Kind::Message(header)) => header,
            _ => method.input(),
        };
        let ok = holder.get_field_by_name("request_id").is_some_and(|field| {
            let rules = rules(&field);
            field.kind() == Kind::String && rules.required && rules.uuid
        });
        faults.check(ok, || format!("{} has no request_id that is required and a UUID", method.full_name()));
    }
}

#[test]
fn every_list_has_pages() {
    let mut faults = Faults::default();
    for method in methods(&pool()).iter().filter(|method| method.name().starts_with("List")) {
        let size = method.input().get_field_by_name("page_size").map(|field| rules(&field));
        let bounded = size.is_some_and(|rules| rules.minimum == Some(0) && rules.maximum == Some(1000));
        faults.check(bounded, || format!("{} has no page_size from 0 to 1000", method.full_name()));
        for (message, field) in [(method.input(), "page_token"), (method.output(), "next_page_token")] {
            let ok = message.get_field_by_name(field).is_some_and(|field| field.kind() == Kind::String);
            faults.check(ok, || format!("{} has no {field}", message.full_name()));
        }
        let items = method.output().fields().filter(|field| field.is_list()).count();
        faults.check(items == 1, || format!("{} has {items} lists", method.output().full_name()));
    }
}

#[test]
fn every_input_is_bounded() {
    let mut faults = Faults::default();
    for method in methods(&pool()) {
        for (_, message) in below(&method.input()) {
            for field in message.fields() {
                let rules = rules(&field);
                let bounded = match field.kind() {
                    Kind::String | Kind::Bytes => rules.uuid || rules.max_length.is_some(),
                    _ => true,
                };
                faults.check(bounded, || format!("{} has no max_length", field.full_name()));
                let few = rules.max_items.is_some() || !(field.is_list() || field.is_map());
                faults.check(few, || format!("{} has no max_items", field.full_name()));
            }
        }
    }
}

#[test]
fn what_names_a_thing_of_ours_is_a_uuid() {
    let mut faults = Faults::default();
    for method in methods(&pool()) {
        for (_, message) in below(&method.input()) {
            for field in message.fields().filter(|field| field.kind() == Kind::String) {
                let named = field.name().ends_with("_id") || field.name().ends_with("_ids");
                faults.check(!named || rules(&field).uuid, || format!("{} is not a UUID", field.full_name()));
            }
        }
    }
}

#[test]
fn times_are_timestamps_and_durations() {
    let naked = ["_seconds", "_secs", "_millis", "_ms", "_minutes_long", "_timestamp"];
    let mut faults = Faults::default();
    for message in pool().all_messages().filter(is_of_the_product) {
        for field in message.fields() {
            let ok = !naked.iter().any(|end| field.name().ends_with(end));
            faults.check(ok, || format!("{} is a naked number of time", field.full_name()));
            let is_time =
                matches!(field.kind(), Kind::Message(kind) if kind.full_name() == "google.protobuf.Timestamp");
            let named = field.name().ends_with("_time");
            faults
                .check(is_time == named, || format!("{}: a Timestamp, and only it, ends in _time", field.full_name()));
        }
    }
}

#[test]
fn enums_begin_with_unspecified() {
    let mut faults = Faults::default();
    for kind in pool().all_enums().filter(|kind| kind.package_name().starts_with("tgmesh.")) {
        let zero = kind.get_value(0).is_some_and(|value| value.name().ends_with("_UNSPECIFIED"));
        faults.check(zero, || format!("{} has no zero value that is UNSPECIFIED", kind.full_name()));
    }
}

#[test]
fn a_state_is_moved_by_verbs_and_never_set() {
    let is_state = |kind: &EnumDescriptor| kind.name() == "State" || kind.name().ends_with("State");
    let mut faults = Faults::default();
    for method in methods(&pool()) {
        for (_, message) in below(&method.input()) {
            for field in message.fields() {
                if let Kind::Enum(kind) = field.kind()
                    && is_state(&kind)
                {
                    let filter = field.is_list() && method.name().starts_with("List") && message == method.input();
                    faults.check(filter, || format!("{} lets a caller set a state", field.full_name()));
                }
            }
        }
    }
}

#[test]
fn every_method_says_who_may_call_it_and_for_how_long() {
    let mut faults = Faults::default();
    for method in methods(&pool()) {
        let Some((callers, deadline)) = contract::method_rules(&method) else {
            faults.check(false, || format!("{} has no rules", method.full_name()));
            continue;
        };
        faults.check(callers > 0, || format!("{} can be called by nobody", method.full_name()));
        let open = method.is_server_streaming() && deadline == 0;
        faults.check(open || deadline > 0, || format!("{} has no deadline", method.full_name()));
        let listed = tgmesh_proto::METHODS.iter().any(|info| {
            info.path == format!("/{}/{}", method.parent_service().full_name(), method.name())
                && info.callers.len() == callers
                && info.deadline.is_none_or(|limit| limit.as_secs() == deadline.unsigned_abs())
        });
        faults.check(listed, || format!("{} is not in METHODS as its contract says", method.full_name()));
    }
}

#[test]
fn updates_name_what_they_change_and_what_they_saw() {
    let mut faults = Faults::default();
    for method in methods(&pool()).iter().filter(|method| method.name().starts_with("Update")) {
        let mask = method.input().get_field_by_name("update_mask");
        let masked = mask.is_some_and(|mask| rules(&mask).required);
        faults.check(masked, || format!("{} has no update_mask that is required", method.full_name()));
        // In the request itself, or in the resource that it carries.
        let tagged = below(&method.input()).iter().any(|(_, message)| message.get_field_by_name("etag").is_some());
        faults.check(tagged, || format!("{} has no etag", method.full_name()));
        let answered = below(&method.output()).iter().any(|(_, message)| message.get_field_by_name("etag").is_some());
        faults.check(answered, || format!("{} answers without an etag", method.full_name()));
    }
}

#[test]
fn watches_and_streams_can_be_resumed() {
    let mut faults = Faults::default();
    let has = |message: &MessageDescriptor, field: &str| message.get_field_by_name(field).is_some();
    for method in methods(&pool()).iter().filter(|method| !WATCHES_WITHOUT_MEMORY.contains(&method.name())) {
        let field = match method.name() {
            name if name.starts_with("Watch") => "resume_token",
            name if name.starts_with("Stream") => "cursor",
            _ => continue,
        };
        let ok = method.is_server_streaming() && has(&method.input(), field) && has(&method.output(), field);
        faults.check(ok, || format!("{} is no stream with a {field} on both sides", method.full_name()));
    }
}

#[test]
fn every_reason_has_its_code_and_its_words() {
    let pool = pool();
    let catalogue = pool.get_enum_by_name("tgmesh.error.v1.ErrorReason").expect("the error catalogue exists");
    let file = catalogue.parent_file();
    let mut faults = Faults::default();
    for value in catalogue.values().filter(|value| value.number() != 0) {
        let name = value.name().trim_start_matches("ERROR_REASON_");
        let upper = name.len() <= 63 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        faults.check(upper, || format!("{name} is no UPPER_SNAKE_CASE of at most 63 characters"));
        let words = contract::comment(file.file_descriptor_proto(), value.path());
        faults.check(!words.is_empty(), || format!("{name} says nothing of what it means"));
        let (Some((code, keys)), Some(reason)) =
            (contract::reason_rules(&value), tgmesh_proto::ErrorReason::from_reason(name))
        else {
            faults.check(false, || format!("{name} has no rules"));
            continue;
        };
        let known = reason.code() != Code::Ok && format!("{:?}", reason.code()) == camel(&code);
        faults.check(known, || format!("{name} has the code {code}, which is not {:?}", reason.code()));
        faults.check(reason.metadata_keys() == keys, || format!("{name} has other metadata in the generated code"));
        for key in keys {
            let lower = key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
            faults.check(lower, || format!("{name}: the metadata key {key} is no lower_snake_case"));
        }
    }
}

#[test]
fn secrets_are_never_printed() {
    let mut faults = Faults::default();
    for message in pool().all_messages().filter(is_of_the_product) {
        for field in message.fields() {
            let secret = ["password", "code", "sessions", "session", "token", "secret", "api_hash"];
            let named = field.kind() == Kind::String && secret.contains(&field.name());
            faults.check(!named || rules(&field).sensitive, || format!("{} is not sensitive", field.full_name()));
        }
    }
}

fn camel(code: &str) -> String {
    let word = |word: &str| word[..1].to_owned() + &word[1..].to_ascii_lowercase();
    code.split('_').map(word).collect()
}
