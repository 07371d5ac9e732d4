//! Bad input over a real channel: every broken rule of every request is refused with its path, and what is no protobuf
//! is the client's fault.

mod common;

use common::wire::{Refusal, enough};
use common::{World, audience, path};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tgmesh_proto::{ErrorReason, MethodInfo};
use tgmesh_tests::{contract, requests};

/// What is wrong with the answer to a request that breaks the rule at `path`.
fn judge(refusal: Option<&Refusal>, path: &str) -> Option<String> {
    let Some(refusal) = refusal else { return Some("it is served".to_owned()) };
    let named: Vec<&str> = refusal.violations.iter().map(|(path, _)| path.as_str()).collect();
    let right = refusal.reason == Some(ErrorReason::FieldInvalid)
        && named == [path]
        && refusal.metadata.get("field").is_some_and(|field| field == path)
        && refusal.faults().is_empty();
    (!right).then(|| format!("{refusal:?}"))
}

/// Sends bytes as somebody who may; how they are refused.
async fn send(world: &World, method: &MethodDescriptor, bytes: Vec<u8>) -> Option<Refusal> {
    let caller = MethodInfo::find(&path(method)).expect("it is in the table").callers[0];
    let token = world.token(caller, world.owner, audience(method));
    let answer = world.call(method, vec![bytes], Some(&token), enough(method)).await;
    answer.err().map(|status| Refusal::of(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_broken_rule_is_refused_at_its_path() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut faults = Vec::new();
    let (mut rules, mut streams) = (0, 0);
    for method in contract::methods(&contract::pool()) {
        let mut cases = requests::broken(&method.input());
        if method.is_client_streaming() {
            // The other choice of a stream's message, which `broken` never makes: too large a piece.
            let mut message = DynamicMessage::new(method.input());
            let most = 1_048_576;
            message.set_field_by_name("data", prost_reflect::Value::Bytes(vec![1; most + 1].into()));
            cases.push(requests::Broken { path: "data".to_owned(), rule: "max_length", message });
            streams += 1;
        }
        for broken in cases {
            let refusal = send(&world, &method, broken.message.encode_to_vec()).await;
            if let Some(fault) = judge(refusal.as_ref(), &broken.path) {
                faults.push(format!("{}: {} breaks `{}`: {fault}", path(&method), broken.path, broken.rule));
            }
            rules += 1;
        }
    }
    assert!(faults.is_empty(), "{} of {rules} faults:\n  {}", faults.len(), faults.join("\n  "));
    assert!(rules > 400 && streams == 2, "only {rules} rules of requests were broken, {streams} streams tried");
    world.stop().await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_decoded_is_the_clients_fault() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut faults = Vec::new();
    for method in contract::methods(&contract::pool()) {
        // A length that goes beyond the end; text that is not UTF-8, where there is a text; a group that never ends.
        let mut cases = vec![("a cut field", vec![0x0a, 0x7f, b'x']), ("an open group", vec![0x0b])];
        let text =
            method.input().fields().find(|field| field.kind() == prost_reflect::Kind::String && !field.is_list());
        if let Some(text) = text {
            let tag = u8::try_from(text.number() << 3 | 2)?;
            cases.push(("no utf-8", vec![tag, 2, 0xff, 0xfe]));
        }
        for (case, bytes) in cases {
            match send(&world, &method, bytes).await {
                Some(refusal) if refusal.reason == Some(ErrorReason::MessageInvalid) && refusal.faults().is_empty() => {
                }
                other => faults.push(format!("{}: {case}: {other:?}", path(&method))),
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    world.stop().await?;
    Ok(())
}

#[test]
fn the_judge_convicts() {
    let status = |reason, paths: &[&str]| {
        let builder = tgmesh_proto::status::status(reason, "is wrong").with("field", paths.first().unwrap_or(&""));
        let built = paths.iter().fold(builder, |builder, path| builder.violation(*path, "is wrong"));
        Refusal::of(&built.build())
    };
    assert_eq!(judge(Some(&status(ErrorReason::FieldInvalid, &["a.b"])), "a.b"), None);
    assert!(judge(None, "a.b").is_some());
    for other in [
        status(ErrorReason::FieldInvalid, &["a"]),
        status(ErrorReason::FieldInvalid, &["a.b", "c"]),
        status(ErrorReason::FieldInvalid, &[]),
        status(ErrorReason::MessageInvalid, &["a.b"]),
    ] {
        assert!(judge(Some(&other), "a.b").is_some(), "{other:?}");
    }
}
