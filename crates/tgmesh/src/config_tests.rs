//! Tests of the configuration and of its document.

use service_kit::Time;
use tgmesh_integration::quotas::pacing::Speed;
use tgmesh_integration::quotas::rules::{ChatCounts, Counts, uses};
use tgmesh_integration::quotas::{Limits, SpeedConfig};
use tgmesh_proto::quota::v1::Action;

use super::*;

fn load(text: &str) -> anyhow::Result<Config> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("tgmesh.toml");
    std::fs::write(&file, text)?;
    Config::load(Some(&file))
}

#[test]
fn the_defaults_are_complete_and_safe() {
    let config = load("").unwrap();
    assert_eq!(config.profile, Profile::Embedded);
    assert_eq!(config.warnings(), Vec::<String>::new());
}

#[test]
fn the_documented_limits_are_those_of_the_product() {
    let config = load("").unwrap().integration;
    assert_eq!(config.limits, Limits::default());
    assert_eq!(config.speeds, SpeedConfig::default());
}

#[test]
fn every_limit_and_speed_can_be_turned_off() {
    let mut text = "[integration.limits]\nadd_contact_per_day = 'off'\njoin_chat_per_day = 'off'\n\
                    resolve_username_per_day = 'off'\n[integration.limits.invite]\nper_day = 'off'\n\
                    per_day_and_chat = 'off'\ntotal_per_chat = 'off'\npause_after = 'off'\npause_ms = 0\n\
                    interval = { shortest_ms = 0, longest_ms = 0 }\n\
                    [integration.limits.message]\nper_day = 'off'\nper_hour = 'off'\n"
        .to_owned();
    for profile in ["safe", "medium", "fast"] {
        text += &format!("[integration.speeds.{profile}]\ninterval_ms = 0\nper_minute = 'off'\n");
    }
    let config = load(&text).unwrap().integration;
    let none = Speed { interval_ms: 0, per_minute: None };
    assert_eq!(config.speeds, SpeedConfig { safe: none, medium: none, fast: none });
    let counts = Counts { chat: Some(ChatCounts::default()), ..Counts::default() };
    for action in [Action::Invite, Action::Message, Action::AddContact, Action::JoinChat, Action::ResolveUsername] {
        let uses = uses(&config.limits, action, &counts, Time::ZERO);
        assert!(uses.is_empty(), "{action:?}: {uses:?}");
    }
}

#[test]
fn one_setting_of_a_speed_or_a_limit_can_be_changed_alone() {
    let text = "[integration.speeds.fast]\ninterval_ms = 0\n[integration.limits.invite]\nper_hour = 4\n";
    let config = load(text).unwrap().integration;
    assert_eq!((config.speeds.fast.interval_ms, config.speeds.fast.per_minute), (0, Some(90)));
    assert_eq!((config.limits.invite.per_hour, config.limits.invite.per_day), (Some(4), Some(30)));
}

#[test]
fn production_names_what_is_missing() {
    let error = load("profile = 'production'").unwrap_err().to_string();
    assert!(error.contains("databases.integration.url"), "{error}");
}

#[test]
fn unknown_settings_are_refused_at_every_level() {
    for text in [
        "colour = 1",
        "[log]\nlevel = 'x'",
        "[invite.server]\nport = 1",
        "[integration.rules]\nx = 1",
        "[databases.parsing]\nhost = 'x'",
        "[invite]\nx = 1",
    ] {
        assert!(load(text).is_err(), "{text}");
    }
    // A setting of earlier versions.
    let error = load("[integration.speeds.fast]\nfull_profile_ms = 500").unwrap_err().to_string();
    assert!(error.contains("integration.speeds.fast.full_profile_ms: is no setting"), "{error}");
}

#[test]
fn dangerous_pairs_are_named() {
    for (text, named) in [
        ("[integration.connections]\ncall_timeout_s = 90", "integration.leases.default_ttl_ms"),
        ("[integration.connections]\ncall_timeout_s = 90", "invite.engine.lease_ttl_ms"),
        ("[integration.connections]\ncall_timeout_s = 90", "grace_s"),
        ("[integration.connections]\ncall_timeout_s = 90", "parsing.engine.batch_timeout_s"),
        ("[invite.engine]\nlease_ttl_ms = 20000", "invite.engine.lease_ttl_ms"),
        ("[invite.engine]\nmax_workers = 900", "integration.server.max_concurrent_calls"),
        ("[invite.engine]\ntick_ms = 5000", "invite.engine.owner_ttl_ms"),
        ("[integration.leases]\nmax_waiters = 300", "integration.leases.max_waiters"),
        ("[parsing.engine]\nlease_ttl_s = 5", "parsing.engine.lease_ttl_s"),
        ("[parsing.engine]\nbatch_timeout_s = 60", "parsing.engine.batch_timeout_s"),
        ("[integration.speeds.safe]\ninterval_ms = 200000", "integration.speeds.safe"),
        ("[admin]\nlisten = '0.0.0.0:9090'", "admin.listen"),
    ] {
        let warnings = load(text).unwrap().warnings();
        assert!(warnings.iter().any(|warning| warning.contains(named)), "{text}: {warnings:?}");
    }
}

/// The path of every setting in a text.
fn settings(table: &toml::Table, path: &[&str], found: &mut Vec<String>) {
    for (key, value) in table {
        let path = [path, &[key]].concat();
        match value {
            toml::Value::Table(inner) => settings(inner, &path, found),
            _ => found.push(path.join(".")),
        }
    }
}

#[test]
fn every_setting_has_its_default_in_the_document_and_nowhere_else() {
    let all: toml::Table = DEFAULTS.parse().unwrap();
    let mut found = Vec::new();
    settings(&all, &[], &mut found);
    assert!(found.len() > 80, "{}", found.len());
    for key in found {
        let mut without = all.clone();
        let (mut table, mut path) = (&mut without, key.split('.').peekable());
        while let Some(name) = path.next() {
            if path.peek().is_none() {
                table.remove(name);
                break;
            }
            table = table.get_mut(name).and_then(toml::Value::as_table_mut).unwrap();
        }
        let loaded = service_kit::config::load::<Config>(&without.to_string(), None, |_| Ok(()));
        let error = loaded.map(drop).expect_err(&key).to_string();
        assert!(error.starts_with(&key) && error.ends_with(": is missing"), "{key}: {error}");
    }
}

#[test]
fn every_setting_is_documented() {
    let (mut documented, mut named) = (BTreeMap::<&str, bool>::new(), String::new());
    for (above, line) in DEFAULTS.lines().zip(DEFAULTS.lines().skip(1)) {
        if line.starts_with('[') {
            line.clone_into(&mut named);
        }
        let Some((key, _)) = line.split_once(" = ").filter(|_| !line.starts_with('#')) else { continue };
        // Above it, or above its section, or where a setting of this name stands first.
        *documented.entry(key).or_default() |= above.starts_with('#') || named.contains("speeds");
    }
    let without: Vec<_> = documented.iter().filter(|(_, documented)| !**documented).collect();
    assert!(without.is_empty(), "{without:?}");
}

#[test]
fn services_that_run_alone_share_a_machine() {
    let admin = load("").unwrap().admin;
    let ports: Vec<u16> = [&["integration", "parsing", "invite"][..], &["integration"], &["invite"], &["parsing"]]
        .iter()
        .map(|services| admin.address(services).port())
        .collect();
    assert_eq!(ports, [9090, 9091, 9092, 9093]);
    let admin = load("[admin]\nlisten = '10.0.0.1:1'").unwrap().admin;
    assert_eq!(admin.address(&["invite"]).to_string(), "10.0.0.1:1");
}

#[test]
fn a_wrong_value_is_told_by_its_setting_and_never_shown() {
    for (text, expected) in [
        ("[telegram]\napi_hash = 987654321", "telegram.api_hash: expected text, in quotes"),
        ("[log]\nfilter = 'no=such=filter'", "log.filter: expected levels such as \"info\""),
        ("[log]\nformat = 'x'", "log.format: expected text or json"),
        ("[integration.limits.invite]\nper_day = -3", "per_day: expected a whole number, 0 or more, or \"off\""),
        ("[integration.limits.invite]\nper_day = 'x'", "per_day: expected a whole number, 0 or more, or \"off\""),
        ("[invite.engine]\nlease_ttl_ms = 5", "invite.engine.lease_ttl_ms: must lie between 1000 and 600000"),
        ("[parsing.engine]\nlease_wait_s = 111", "parsing.engine.lease_wait_s: must be at most 110"),
        ("[admin]\nlisten = '987654321'", "admin.listen: expected an address such as 127.0.0.1:50051"),
        ("profile = 'x'", "profile: expected embedded or production"),
    ] {
        let error = load(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
        assert!(error.contains("tgmesh.toml: ") && !error.contains("987654321") && !error.contains('\n'), "{error}");
    }
}
