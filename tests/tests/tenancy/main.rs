//! Two workspaces: what belongs to one does not exist for the other. Walks over all methods of the contracts.

#[path = "../common/mod.rs"]
mod common;
mod recipes;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context as _;
use common::wire::{Read, Refusal, enough};
use common::{World, audience, path};
use prost_reflect::{DynamicMessage, Kind, MessageDescriptor, MethodDescriptor, Value};
use service_kit::clock::{Clock as _, ManualClock};
use service_kit::identity::{Acting, Issuer, SigningKey, USERS};
use tgmesh_proto::{Caller, ErrorReason, MethodInfo};
use tgmesh_tests::{contract, requests};
use tonic::Status;

use recipes::{Object, Recipe, Secondary, Stage, Strangers};

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
async fn about_an_object(walk: &Walk<'_>, method: &MethodDescriptor, recipe: &Recipe, id: &str) -> Vec<String> {
    let world = walk.world();
    let name = path(method);
    let mut faults = Vec::new();
    let strangers = async |caller: Caller, when: &str| {
        let token = world.token(caller, walk.stranger, audience(method));
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
    faults.extend(strangers(recipe.caller, "before").await);
    let token = world.token(recipe.caller, world.owner, audience(method));
    if let Err(status) = world.call(method, recipe.requests.clone(), Some(&token), recipe.read).await {
        faults.push(format!("{name}: the owner is refused, so nothing is proven: {:?}", Refusal::of(&status)));
    }
    faults.extend(strangers(recipe.caller, "after").await);
    if recipe.caller == Caller::User && !operators(method) {
        faults.extend(strangers(Caller::Operator, "as an operator").await);
    }
    faults
}

/// Whether an operator of the deployment is served about other workspaces: he sees states, counters, leases and
/// quotas, and may revoke and pause.
fn operators(method: &MethodDescriptor) -> bool {
    let info = MethodInfo::find(&path(method)).expect("it is in the table");
    let quotas = ["GetUsage", "ListUsageHistory", "CheckAction"].contains(&method.name());
    // Limits of others he sees, and sets only his own and the deployment's.
    (info.callers.contains(&Caller::Operator) || quotas) && method.name() != "UpdateLimits"
}

/// An operator is served, and learns nothing of audiences and texts.
async fn about_an_operator(walk: &Walk<'_>, method: &MethodDescriptor, recipe: &Recipe) -> Vec<String> {
    let (world, name) = (walk.world(), path(method));
    let token = world.token(Caller::Operator, walk.stranger, audience(method));
    let requests = match &recipe.request_id {
        Some(request_id) => replace(&recipe.requests, request_id, &world.id()),
        None => recipe.requests.clone(),
    };
    match world.call(method, requests, Some(&token), recipe.read).await {
        Ok(messages) => {
            let seen = text(method, &messages);
            let private = walk.stage.private().into_iter().filter(|private| seen.contains(private));
            private.map(|private| format!("{name}: an operator sees {private}")).collect()
        }
        Err(status) => vec![format!("{name}: an operator is refused: {:?}", Refusal::of(&status))],
    }
}

/// The owner's answer shows what is his; a stranger's, to the same bytes, shows nothing of it.
async fn about_everything(walk: &Walk<'_>, method: &MethodDescriptor, recipe: &Recipe, shows: bool) -> Vec<String> {
    let (world, owned) = (walk.world(), &walk.stage.owned);
    let name = path(method);
    let ask = async |caller: Caller, acting: Acting| {
        let token = world.token(caller, acting, audience(method));
        match world.call(method, recipe.requests.clone(), Some(&token), recipe.read).await {
            Ok(messages) => Ok(text(method, &messages)),
            Err(status) => Err(Refusal::of(&status)),
        }
    };
    let mut faults = Vec::new();
    match ask(recipe.caller, world.owner).await {
        Ok(text) if shows && !owned.iter().any(|id| text.contains(id)) => {
            faults.push(format!("{name}: the owner sees nothing, so nothing is proven: {text}"));
        }
        Ok(_) => {}
        Err(refusal) => return vec![format!("{name}: the owner is refused, so nothing is proven: {refusal:?}")],
    }
    let mut callers = vec![recipe.caller];
    if recipe.caller == Caller::User && !operators(method) {
        callers.push(Caller::Operator);
    }
    for caller in callers {
        let seen = format!("{:?}", ask(caller, walk.stranger).await);
        let ids = owned.iter().filter(|id| seen.contains(*id));
        faults.extend(ids.map(|id| format!("{name}: a stranger sees {id} as {caller:?}")));
    }
    faults
}

/// A stranger's own call names, beside what is his, something of the owner's, and something that is nobody's.
async fn about_a_second(walk: &Walk<'_>, method: &MethodDescriptor, second: &Secondary) -> Vec<String> {
    let (world, name) = (walk.world(), format!("{} {}", path(method), second.path));
    let ask = async |acting: Acting, requests: &[Vec<u8>], id: &str| {
        let mut requests = replace(requests, &second.id, id);
        if let Some(request_id) = &second.request_id {
            requests = replace(&requests, request_id, &world.id());
        }
        let token = world.token(second.caller, acting, audience(method));
        let answer = world.call(method, requests, Some(&token), enough(method)).await;
        Seen::of(method, &answer, id)
    };
    let unused = world.id();
    let mut faults = Vec::new();
    let owners = ask(world.owner, &second.by_owner, &second.id).await;
    if second.matters && owners == ask(world.owner, &second.by_owner, &unused).await {
        faults.push(format!("{name}: the owner learns nothing either, so nothing is proven: {owners:?}"));
    }
    let about_owners = ask(walk.stranger, &second.by_stranger, &second.id).await;
    let about_none = ask(walk.stranger, &second.by_stranger, &unused).await;
    faults.extend(judge(&name, &about_owners, &about_none));
    faults
}

/// Paths of all ids in a request, but for its own.
fn ids_in(message: &MessageDescriptor) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for field in message.fields().filter(|field| field.name() != "request_id") {
        if contract::rules(&field).uuid {
            found.insert(field.name().to_owned());
        }
        if let Kind::Message(inner) = field.kind()
            && contract::is_ours(&inner)
        {
            found.extend(ids_in(&inner).into_iter().map(|path| format!("{}.{path}", field.name())));
        }
    }
    found
}

/// Whether the text of a message names the id at the path.
fn names(message: &DynamicMessage, path: &str, id: &str) -> bool {
    let (field, rest) = path.split_once('.').map_or((path, None), |(field, rest)| (field, Some(rest)));
    let value = message.get_field_by_name(field).map(Cow::into_owned);
    match (value, rest) {
        (Some(Value::Message(inner)), Some(rest)) => names(&inner, rest, id),
        (Some(Value::String(found)), None) => found == id,
        (Some(Value::List(found)), None) => found.iter().any(|found| found.as_str() == Some(id)),
        _ => false,
    }
}

/// Ids of a request that neither the recipe nor one for a second id is about.
fn forgotten(method: &MethodDescriptor, recipe: &Recipe, seconds: &[Secondary]) -> Vec<String> {
    let mut left = ids_in(&method.input());
    for second in seconds {
        left.remove(second.path);
    }
    if let (Object::One(id), Some(request)) = (&recipe.object, recipe.requests.first())
        && let Ok(request) = DynamicMessage::decode(method.input(), request.as_slice())
    {
        left.retain(|path| !names(&request, path, id));
    }
    left.into_iter().map(|left| format!("{}: has no recipe for {left}", path(method))).collect()
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

/// A walk over all methods, by somebody who takes the owner for another.
struct Walk<'a> {
    stage: &'a Stage,
    stranger: Acting,
}

impl Walk<'_> {
    fn world(&self) -> &World {
        &self.stage.world
    }
}

/// What the walk finds, by method; only methods that are served.
async fn walk(stage: &mut Stage, stranger: Acting) -> anyhow::Result<BTreeMap<String, Vec<String>>> {
    let mut found = BTreeMap::new();
    let mut walked = Vec::new();
    for method in contract::methods(&contract::pool()) {
        let name = path(&method);
        if !is_served(stage, &method).await {
            continue;
        }
        let faults = match recipes::recipe(stage, &method).await {
            Some(Ok(recipe)) => {
                let walk = Walk { stage, stranger };
                let mut faults = match &recipe.object {
                    Object::One(id) => about_an_object(&walk, &method, &recipe, id).await,
                    Object::Everything { shows } => about_everything(&walk, &method, &recipe, *shows).await,
                };
                if operators(&method) {
                    faults.extend(about_an_operator(&walk, &method, &recipe).await);
                }
                walked.push((method, recipe));
                faults
            }
            Some(Err(error)) => vec![format!("{name}: its object cannot be made: {error:#}")],
            None => vec![format!("{name}: has no recipe")],
        };
        found.insert(name, faults);
    }
    // Last: with accounts of his own, a stranger's calls get farther.
    let strangers = Strangers::set(stage).await.context("what a stranger has")?;
    for (method, recipe) in walked {
        let seconds = recipes::secondary(stage, &strangers, method.name()).await;
        let seconds = seconds.with_context(|| path(&method))?;
        let faults = found.entry(path(&method)).or_default();
        faults.extend(forgotten(&method, &recipe, &seconds));
        for second in &seconds {
            faults.extend(about_a_second(&Walk { stage, stranger }, &method, second).await);
        }
    }
    Ok(found)
}

#[tokio::test(flavor = "multi_thread")]
async fn long_what_belongs_to_another_workspace_does_not_exist() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let stranger = stage.world.stranger;
    let found = walk(&mut stage, stranger).await?;
    let faults: Vec<&str> = found.values().flatten().map(String::as_str).collect();
    assert!(faults.is_empty(), "{} faults:\n  {}", faults.len(), faults.join("\n  "));
    assert!(found.len() > 50, "only {} methods were walked over", found.len());
    stage.world.stop().await?;
    Ok(())
}

/// The same walk where it must convict: the stranger's token names the owner's workspace, as if nobody asked whose
/// things are.
#[tokio::test(flavor = "multi_thread")]
async fn long_the_walk_convicts() -> anyhow::Result<()> {
    let mut stage = Stage::set().await?;
    let Acting { workspace_id, .. } = stage.world.owner;
    let liar = Acting { workspace_id, ..stage.world.stranger };
    let found = walk(&mut stage, liar).await?;
    // What only makes something new shows nothing that was there.
    let new = ["StartPhoneLogin", "StartQrLogin", "ImportSessions", "GetFleetSummary", "CreateParseTasks"]
        .into_iter()
        .chain(["UploadAudience", "ValidateAudience", "AddDoNotContact"]);
    let new: BTreeSet<&str> = new.collect();
    let missed: Vec<&String> = found
        .iter()
        .filter(|(name, faults)| faults.is_empty() && !name.rsplit('/').next().is_some_and(|name| new.contains(name)))
        .map(|(name, _)| name)
        .collect();
    assert!(missed.is_empty(), "nobody is convicted for {missed:?}");
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
