//! Two workspaces: what belongs to one does not exist for the other. Walks over all methods of the contracts.

#[path = "../common/mod.rs"]
mod common;
mod recipes;

use common::wire::{Read, Refusal, enough};
use common::{World, audience, path};
use prost_reflect::{DynamicMessage, MethodDescriptor};
use service_kit::clock::{Clock as _, ManualClock};
use service_kit::identity::{Issuer, SigningKey, USERS};
use tgmesh_proto::{Caller, ErrorReason, MethodInfo};
use tgmesh_tests::{contract, requests};
use tonic::Status;

use recipes::{Object, Recipe, Stage};

/// An answer, without what must differ: the id that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Seen {
    /// It succeeded with this.
    Answer(String),
    /// It was refused.
    Refusal(Refusal),
}

impl Seen {
    /// Of an answer to a request that named `id`.
    fn of(method: &MethodDescriptor, answer: &Result<Vec<bytes::Bytes>, Status>, id: &str) -> Self {
        let plain = |text: &str| text.replace(id, "ID");
        match answer {
            Ok(messages) => Self::Answer(plain(&text(method, messages))),
            Err(status) => {
                let mut refusal = Refusal::of(status);
                refusal.message = plain(&refusal.message);
                refusal.metadata.values_mut().for_each(|value| *value = plain(value));
                refusal.violations.iter_mut().for_each(|(_, problem)| *problem = plain(problem));
                Self::Refusal(refusal)
            }
        }
    }
}

/// The messages of an answer, readable.
fn text(method: &MethodDescriptor, messages: &[bytes::Bytes]) -> String {
    let decode = |bytes: &bytes::Bytes| DynamicMessage::decode(method.output(), bytes.clone());
    messages
        .iter()
        .map(|bytes| decode(bytes).map_or_else(|error| error.to_string(), |message| message.to_string()))
        .collect()
}

/// What is wrong with how a stranger is answered about an owner's object and about none.
fn judge(method: &str, about_owners: &Seen, about_none: &Seen) -> Option<String> {
    if about_owners != about_none {
        return Some(format!("{method}: tells an owner's object from none:\n    {about_owners:?}\n    {about_none:?}"));
    }
    match about_none {
        Seen::Refusal(refusal) if refusal.reason.is_none() => Some(format!("{method}: {refusal:?}")),
        // Sent with a wrong token or bytes, both calls would be refused alike and prove nothing.
        Seen::Refusal(refusal)
            if matches!(refusal.code, tonic::Code::Unauthenticated | tonic::Code::PermissionDenied)
                || refusal.code == tonic::Code::Internal =>
        {
            Some(format!("{method}: {refusal:?}"))
        }
        _ => None,
    }
}

fn replace(requests: &[Vec<u8>], from: &str, to: &str) -> Vec<Vec<u8>> {
    assert_eq!(from.len(), to.len(), "ids are of one length, so that the bytes stay protobuf");
    let (from, to) = (from.as_bytes(), to.as_bytes());
    let one = |bytes: &Vec<u8>| {
        let mut bytes = bytes.clone();
        let mut at = 0;
        while at + from.len() <= bytes.len() {
            if bytes[at..].starts_with(from) {
                bytes[at..at + from.len()].copy_from_slice(to);
            }
            at += 1;
        }
        bytes
    };
    requests.iter().map(one).collect()
}

/// A stranger asks for what the owner's request names, and for nothing, before and after the owner does.
async fn about_an_object(stage: &Stage, method: &MethodDescriptor, recipe: &Recipe, id: &str) -> Vec<String> {
    let world = &stage.world;
    let name = path(method);
    let mut faults = Vec::new();
    let strangers = async |when: &str| {
        let token = world.token(recipe.caller, world.stranger, audience(method));
        let about_owners = world.call(method, recipe.requests.clone(), Some(&token), recipe.read).await;
        let unused = world.id();
        let mut requests = replace(&recipe.requests, id, &unused);
        if let Some(request_id) = &recipe.request_id {
            requests = replace(&requests, request_id, &world.id());
        }
        let about_none = world.call(method, requests, Some(&token), recipe.read).await;
        let (about_owners, about_none) = (Seen::of(method, &about_owners, id), Seen::of(method, &about_none, &unused));
        judge(&format!("{name} {when}"), &about_owners, &about_none)
    };
    // While the object is surely there, and once more when the owner's answer may have been kept somewhere.
    faults.extend(strangers("before").await);
    let token = world.token(recipe.caller, world.owner, audience(method));
    if let Err(status) = world.call(method, recipe.requests.clone(), Some(&token), recipe.read).await {
        faults.push(format!("{name}: the owner is refused, so nothing is proven: {:?}", Refusal::of(&status)));
    }
    faults.extend(strangers("after").await);
    faults
}

/// The owner's answer shows what is his; a stranger's, to the same bytes, shows nothing of it.
async fn about_everything(stage: &Stage, method: &MethodDescriptor, recipe: &Recipe, shows: bool) -> Vec<String> {
    let world = &stage.world;
    let name = path(method);
    let mut answers = Vec::new();
    for acting in [world.owner, world.stranger] {
        let token = world.token(recipe.caller, acting, audience(method));
        answers.push(match world.call(method, recipe.requests.clone(), Some(&token), recipe.read).await {
            Ok(messages) => Ok(text(method, &messages)),
            Err(status) => Err(Refusal::of(&status)),
        });
    }
    let mut faults = Vec::new();
    let ids = match &answers[0] {
        Ok(text) => {
            let ids: Vec<&str> = stage.owned.iter().map(String::as_str).filter(|id| text.contains(id)).collect();
            if shows && ids.is_empty() {
                faults.push(format!("{name}: the owner sees nothing, so nothing is proven: {text}"));
            }
            stage.owned.iter().map(String::as_str)
        }
        Err(refusal) => return vec![format!("{name}: the owner is refused, so nothing is proven: {refusal:?}")],
    };
    let stranger = format!("{:?}", answers[1]);
    faults.extend(ids.filter(|id| stranger.contains(id)).map(|id| format!("{name}: a stranger sees {id}")));
    faults
}

/// Whether a method is part of the contract and not served yet: by what it answers.
async fn is_served(stage: &Stage, method: &MethodDescriptor) -> bool {
    let caller = MethodInfo::find(&path(method)).expect("it is in the table").callers[0];
    let token = stage.world.token(caller, stage.world.stranger, audience(method));
    let request = requests::valid(&method.input());
    let answer = stage.world.call(method, vec![recipes::encode(&request)], Some(&token), enough(method)).await;
    !answer.is_err_and(|status| {
        // A part of a served method may be missing: then it is the part that is named.
        Refusal::of(&status).unserved().is_some_and(|unserved| unserved == method.name())
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_belongs_to_another_workspace_does_not_exist() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let mut faults = Vec::new();
    let mut walked = 0;
    for method in contract::methods(&contract::pool()) {
        let name = path(&method);
        if !is_served(&stage, &method).await {
            continue;
        }
        let recipe = match recipes::recipe(&mut stage, &method).await {
            Some(Ok(recipe)) => recipe,
            Some(Err(error)) => {
                faults.push(format!("{name}: its object cannot be made: {error:#}"));
                continue;
            }
            None => {
                faults.push(format!("{name}: has no recipe"));
                continue;
            }
        };
        faults.extend(match &recipe.object {
            Object::One(id) => about_an_object(&stage, &method, &recipe, id).await,
            Object::Everything { shows } => about_everything(&stage, &method, &recipe, *shows).await,
        });
        walked += 1;
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    assert!(walked > 50, "only {walked} methods were walked over");
    stage.world.stop().await?;
    Ok(())
}

#[test]
fn the_judge_convicts() {
    let refusal =
        |message: &str, reason| Seen::Refusal(Refusal::of(&tgmesh_proto::status::status(reason, message).build()));
    let none = refusal("there is no account ID", ErrorReason::AccountNotFound);
    assert_eq!(judge("Get", &none, &none), None);
    for other in [
        refusal("account ID is not yours", ErrorReason::AccountNotFound),
        refusal("there is no account ID", ErrorReason::AccountDeleting),
        Seen::Answer("account".to_owned()),
    ] {
        assert!(judge("Get", &other, &none).is_some(), "{other:?}");
    }
    let both = refusal("no", ErrorReason::TokenInvalid);
    assert!(judge("Get", &both, &both).is_some(), "refused for another reason, it proves nothing");
}

/// Who may not call, and what he is told.
#[tokio::test(flavor = "multi_thread")]
async fn only_admitted_callers_are_served() -> anyhow::Result<()> {
    let world = World::start().await?;
    let past = ManualClock::new(world.clock.now() - std::time::Duration::from_secs(3_600));
    assert!(past.now() < world.clock.now());
    let old = |name: &str| -> anyhow::Result<Issuer> {
        let key = SigningKey::load_or_create(name, &world.config.key_dir().join(format!("{name}.key")))?;
        Ok(Issuer::new(key, past.clone()))
    };
    let (old_users, old_invite) = (old(USERS)?, old("invite")?);
    let liar = Issuer::new(SigningKey::generate(USERS)?, world.clock.clone());
    let mut faults = Vec::new();
    for method in contract::methods(&contract::pool()) {
        let name = path(&method);
        let here = audience(&method);
        let elsewhere = if here == "invite" { "parsing" } else { "invite" };
        let info = MethodInfo::find(&name).expect("it is in the table");
        let owner = world.owner;
        let mut cases = vec![
            ("no token", None, ErrorReason::TokenInvalid),
            ("garbage", Some("a.b.c".to_owned()), ErrorReason::TokenInvalid),
            ("an expired token of a user", Some(old_users.user(owner, true)), ErrorReason::TokenInvalid),
            ("an expired token of a service", Some(old_invite.service(owner, here)), ErrorReason::TokenInvalid),
            ("a user's token signed by nobody", Some(liar.user(owner, true)), ErrorReason::TokenInvalid),
            (
                "a token for another service",
                Some(world.issuer("invite").service(owner, elsewhere)),
                ErrorReason::TokenInvalid,
            ),
            (
                "a service that nobody admits",
                Some(world.issuer("integration").service(owner, here)),
                ErrorReason::CallerNotAllowed,
            ),
        ];
        for caller in [Caller::User, Caller::Invite, Caller::Parsing] {
            if !info.callers.contains(&caller) {
                cases.push((
                    "a caller of the wrong kind",
                    Some(world.token(caller, owner, here)),
                    ErrorReason::CallerNotAllowed,
                ));
            }
        }
        let request = recipes::encode(&requests::valid(&method.input()));
        for (case, token, reason) in cases {
            let answer = world.call(&method, vec![request.clone()], token.as_deref(), Read::First).await;
            match answer {
                Ok(_) => faults.push(format!("{name}: {case} is served")),
                Err(status) => {
                    let refusal = Refusal::of(&status);
                    if refusal.reason != Some(reason) {
                        faults.push(format!("{name}: {case}: {refusal:?}"));
                    }
                    faults.extend(refusal.faults().into_iter().map(|fault| format!("{name}: {case}: {fault}")));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    world.stop().await?;
    Ok(())
}
