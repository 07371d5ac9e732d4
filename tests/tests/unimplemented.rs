//! `docs/unimplemented.md` names exactly the methods that are part of the contracts and not served yet.

mod common;

use std::collections::BTreeSet;

use anyhow::Context as _;
use common::wire::{Refusal, enough};
use common::{World, audience, path};
use prost_reflect::prost::Message as _;
use prost_reflect::{DynamicMessage, MethodDescriptor};
use tgmesh_proto::MethodInfo;
use tgmesh_tests::{contract, documents, requests};

/// The names in the first column of the tables below a heading: `| `NAME` | why |`.
fn listed(text: &str, heading: &str) -> BTreeSet<String> {
    let below = text.split("\n## ").find(|part| part.starts_with(heading)).unwrap_or_default();
    let rows = below.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`').map(|(name, _)| name.to_owned())).collect()
}

fn document() -> anyhow::Result<String> {
    Ok(std::fs::read_to_string(documents::root().join("docs/unimplemented.md"))?)
}

/// Sends a request as somebody who may; how it is refused.
async fn send(world: &World, method: &MethodDescriptor, request: &DynamicMessage) -> Option<Refusal> {
    let caller = MethodInfo::find(&path(method)).expect("it is in the table").callers[0];
    let token = world.token(caller, world.owner, audience(method));
    let answer = world.call(method, vec![request.encode_to_vec()], Some(&token), enough(method)).await;
    answer.err().map(|status| Refusal::of(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_methods_is_right() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut found = BTreeSet::new();
    for method in contract::methods(&contract::pool()) {
        let Some(refusal) = send(&world, &method, &requests::valid(&method.input())).await else { continue };
        match refusal.unserved() {
            // Otherwise it is a part of the method that is named.
            Some(unserved) if unserved == method.name() => {
                assert_eq!(refusal.faults(), Vec::<String>::new());
                found.insert(format!("{}.{}", method.parent_service().name(), method.name()));
            }
            Some(_) => {}
            None => assert_ne!(refusal.code, tonic::Code::Unimplemented, "{}: {refusal:?}", path(&method)),
        }
    }
    assert_eq!(listed(&document()?, "Methods"), found, "docs/unimplemented.md (left) and what is not served differ");
    world.stop().await?;
    Ok(())
}

/// Parts of methods that are served: the name in the document, which is also what the refusal names; the method; and what
/// its request holds besides [`rest`], in JSON.
const PARTS: &[(&str, &str, &str)] = &[
    (
        "CreateCampaign kind DIRECT_MESSAGE",
        "InviteService.CreateCampaign",
        r#"{"kind": "CAMPAIGN_KIND_DIRECT_MESSAGE"}"#,
    ),
    ("CreateCampaign template", "InviteService.CreateCampaign", r#"{"template": "hello"}"#),
    ("CreateCampaign schedule_time", "InviteService.CreateCampaign", r#"{"scheduleTime": "2096-10-02T07:06:40Z"}"#),
    ("CreateCampaign options.add_contact", "InviteService.CreateCampaign", r#"{"options": {"addContact": true}}"#),
    (
        "CreateCampaign options.fallback_message",
        "InviteService.CreateCampaign",
        r#"{"options": {"fallbackMessage": true}}"#,
    ),
    ("CreateCampaign options.max_per_day", "InviteService.CreateCampaign", r#"{"options": {"maxPerDay": 5}}"#),
    (
        "CreateCampaign options.quiet_hours",
        "InviteService.CreateCampaign",
        r#"{"options": {"quietHours": {"timeZone": "UTC"}}}"#,
    ),
    (
        "CreateCampaign options.stop_rules",
        "InviteService.CreateCampaign",
        r#"{"options": {"stopRules": {"refusalsInARow": 3}}}"#,
    ),
    (
        "CheckReadiness kind DIRECT_MESSAGE",
        "InviteService.CheckReadiness",
        r#"{"kind": "CAMPAIGN_KIND_DIRECT_MESSAGE"}"#,
    ),
    ("UpdateCampaign chat", "InviteService.UpdateCampaign", r#"{"updateMask": "chat"}"#),
    ("UpdateCampaign template", "InviteService.UpdateCampaign", r#"{"updateMask": "template"}"#),
    ("UpdateCampaign options", "InviteService.UpdateCampaign", r#"{"updateMask": "options"}"#),
    ("UpdateCampaign schedule_time", "InviteService.UpdateCampaign", r#"{"updateMask": "scheduleTime"}"#),
    ("ExportResults format JSON", "ParsingService.ExportResults", r#"{"format": "FORMAT_JSON"}"#),
    ("ExportResults format XLSX", "ParsingService.ExportResults", r#"{"format": "FORMAT_XLSX"}"#),
    ("CreateParseTasks kind COMMENTERS", "ParsingService.CreateParseTasks", r#"{"kind": "PARSE_KIND_COMMENTERS"}"#),
    ("CreateParseTasks kind REACTORS", "ParsingService.CreateParseTasks", r#"{"kind": "PARSE_KIND_REACTORS"}"#),
    ("CreateParseTasks kind MESSAGES", "ParsingService.CreateParseTasks", r#"{"kind": "PARSE_KIND_MESSAGES"}"#),
    (
        "UploadAudience header.format JSON",
        "InviteService.UploadAudience",
        r#"{"header": {"requestId": "0190b0a0-7c3e-7000-8000-000000000000", "format": "AUDIENCE_FORMAT_JSON"}}"#,
    ),
    (
        "UploadAudience header.format NDJSON",
        "InviteService.UploadAudience",
        r#"{"header": {"requestId": "0190b0a0-7c3e-7000-8000-000000000000", "format": "AUDIENCE_FORMAT_NDJSON"}}"#,
    ),
    (
        "UploadAudience header.format XLSX",
        "InviteService.UploadAudience",
        r#"{"header": {"requestId": "0190b0a0-7c3e-7000-8000-000000000000", "format": "AUDIENCE_FORMAT_XLSX"}}"#,
    ),
    (
        "ValidateAudience header.format JSON",
        "InviteService.ValidateAudience",
        r#"{"header": {"format": "AUDIENCE_FORMAT_JSON"}}"#,
    ),
    (
        "ValidateAudience header.format NDJSON",
        "InviteService.ValidateAudience",
        r#"{"header": {"format": "AUDIENCE_FORMAT_NDJSON"}}"#,
    ),
    (
        "ValidateAudience header.format XLSX",
        "InviteService.ValidateAudience",
        r#"{"header": {"format": "AUDIENCE_FORMAT_XLSX"}}"#,
    ),
];

/// What the requests of a method need besides the part.
fn rest(method: &str) -> serde_json::Value {
    match method {
        "InviteService.CreateCampaign" => serde_json::json!({
            "requestId": requests::ID,
            "kind": "CAMPAIGN_KIND_INVITE_TO_CHAT",
            "chat": "@our_group",
            "consentBasis": "CONSENT_BASIS_OPT_IN",
            "audience": {"inline": {"entries": ["@somebody_here"]}},
        }),
        "InviteService.UpdateCampaign" => serde_json::json!({"requestId": requests::ID, "campaignId": requests::ID}),
        "ParsingService.ExportResults" => serde_json::json!({"parseTaskId": requests::ID}),
        "ParsingService.CreateParseTasks" => serde_json::json!({"requestId": requests::ID, "sources": ["@our_group"]}),
        _ => serde_json::json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_of_parts_is_right() -> anyhow::Result<()> {
    let world = World::start().await?;
    let mut found = BTreeSet::new();
    for (part, name, json) in PARTS {
        let of = |method: &MethodDescriptor| format!("{}.{}", method.parent_service().name(), method.name());
        let method = contract::methods(&contract::pool()).into_iter().find(|method| of(method) == *name);
        let method = method.with_context(|| format!("there is no {name}"))?;
        let mut fields = rest(name);
        let part_of: serde_json::Value = serde_json::from_str(json)?;
        for (field, value) in part_of.as_object().context("no object")? {
            fields[field] = value.clone();
        }
        let request = DynamicMessage::deserialize(method.input(), fields)?;
        let refusal = send(&world, &method, &request).await;
        if let Some(unserved) = refusal.and_then(|refusal| refusal.unserved()) {
            assert_eq!(unserved, *part);
            found.insert(unserved);
        }
    }
    assert_eq!(listed(&document()?, "Parts"), found, "docs/unimplemented.md (left) and what is not served differ");
    world.stop().await?;
    Ok(())
}

#[test]
fn the_list_can_be_read() {
    let text = "# T\n\n## Methods\n\n| m | why |\n|---|---|\n| `A.B` | later |\nnot `A.D`\n\n## Parts\n\n| `A.C x` | later |\n";
    assert_eq!(listed(text, "Methods"), ["A.B".to_owned()].into());
    assert_eq!(listed(text, "Parts"), ["A.C x".to_owned()].into());
}
