//! Makes and verifies tokens.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use jsonwebtoken::{Algorithm, Header, Validation};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

use super::{Acting, Identity, Service, SigningKey, TrustedKeys, USERS};
use crate::clock::{SharedClock, Time};

/// Longest life of a user's token.
const USER_LIFE: Duration = Duration::from_secs(5 * 60);
/// Longest life of a service's token.
const SERVICE_LIFE: Duration = Duration::from_secs(60);
/// How far clocks of two machines may differ.
const LEEWAY: Duration = Duration::from_secs(5);
/// Most verified tokens remembered.
const CACHE: usize = 10_000;
/// Audience of users' tokens: every service.
const EVERYONE: &str = "tgmesh";

#[derive(Debug, Serialize, Deserialize)]
struct Claims {
    /// Issuer.
    iss: String,
    /// Audience.
    aud: String,
    /// User.
    sub: Uuid,
    /// Workspace.
    ws: Uuid,
    /// Whether the user is an operator of the deployment.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    op: bool,
    /// Issued at, in seconds since the epoch.
    iat: i64,
    /// Expires at, in seconds since the epoch.
    exp: i64,
}

/// Why a token is refused. Callers learn only that it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not a token, or signed by nobody trusted.
    #[error("the token is not one of ours")]
    Foreign,
    /// For another service.
    #[error("the token is for {0}")]
    Audience(String),
    /// Over, or not yet begun, or living too long.
    #[error("the token is over, not yet begun, or lives too long")]
    Time,
}

/// A token, and until when it is handed out again.
type Kept = (String, Time);

/// Makes tokens with one key.
pub struct Issuer {
    key: SigningKey,
    clock: SharedClock,
    cache: Mutex<HashMap<(Acting, &'static str), Kept>>,
}

/// Without the tokens that it keeps: they are good.
impl std::fmt::Debug for Issuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Issuer").field("key", &self.key).finish_non_exhaustive()
    }
}

impl Issuer {
    /// With this key.
    pub fn new(key: SigningKey, clock: SharedClock) -> Self {
        Self { key, clock, cache: Mutex::default() }
    }

    /// A token for a user, good at every service for 5 minutes.
    ///
    /// # Panics
    /// Never: plain values can be encoded.
    pub fn user(&self, acting: Acting, operator: bool) -> String {
        self.sign(acting, EVERYONE, operator, USER_LIFE)
    }

    /// A token with which this service acts for a user at `audience`. Repeated
    /// calls get the same one until half its life is over.
    ///
    /// # Panics
    /// Never: plain values can be encoded.
    pub fn service(&self, acting: Acting, audience: &'static str) -> String {
        let now = self.clock.now();
        let mut cache = self.cache.lock().expect("no panic holds the lock");
        if let Some((token, until)) = cache.get(&(acting, audience))
            && *until > now
        {
            return token.clone();
        }
        if cache.len() >= CACHE {
            cache.retain(|_, (_, until)| *until > now);
        }
        let token = self.sign(acting, audience, false, SERVICE_LIFE);
        cache.insert((acting, audience), (token.clone(), now + SERVICE_LIFE / 2));
        token
    }

    fn sign(&self, acting: Acting, audience: &str, operator: bool, life: Duration) -> String {
        let now = self.clock.now();
        let claims = Claims {
            iss: self.key.issuer().to_owned(),
            aud: audience.to_owned(),
            sub: acting.user_id,
            ws: acting.workspace_id,
            op: operator,
            iat: now.secs(),
            exp: (now + life).secs(),
        };
        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some(self.key.id().to_owned());
        jsonwebtoken::encode(&header, &claims, self.key.encoding()).expect("plain claims can be encoded")
    }
}

/// Verifies tokens for one service.
#[derive(Debug)]
pub struct Verifier {
    service: &'static str,
    keys: TrustedKeys,
    clock: SharedClock,
    cache: Mutex<HashMap<[u8; 32], Identity>>,
}

impl Verifier {
    /// For the service of this name.
    pub fn new(service: &'static str, keys: TrustedKeys, clock: SharedClock) -> Self {
        Self { service, keys, clock, cache: Mutex::default() }
    }

    /// The caller that a token speaks of.
    ///
    /// # Errors
    /// When the token is not one of ours, not for this service, or over.
    ///
    /// # Panics
    /// Never.
    pub fn verify(&self, token: &str) -> Result<Identity, TokenError> {
        let now = self.clock.now();
        let hash: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        if let Some(identity) = self.cache.lock().expect("no panic holds the lock").get(&hash) {
            return if identity.expires_at > now { Ok(identity.clone()) } else { Err(TokenError::Time) };
        }
        let identity = self.check(token, now)?;
        let mut cache = self.cache.lock().expect("no panic holds the lock");
        if cache.len() >= CACHE {
            cache.retain(|_, identity| identity.expires_at > now);
            if cache.len() >= CACHE {
                cache.clear();
            }
        }
        cache.insert(hash, identity.clone());
        Ok(identity)
    }

    fn check(&self, token: &str, now: Time) -> Result<Identity, TokenError> {
        let header = jsonwebtoken::decode_header(token).map_err(|_| TokenError::Foreign)?;
        let key_id = header.kid.ok_or(TokenError::Foreign)?;
        // The issuer decides which keys may have signed; it is trusted only
        // after the signature has been checked with one of them.
        let issuer = unverified_issuer(token).ok_or(TokenError::Foreign)?;
        let key = self.keys.find(&issuer, &key_id).ok_or(TokenError::Foreign)?;
        let mut validation = Validation::new(Algorithm::EdDSA);
        // Audience and times are checked below, by our own clock.
        validation.validate_aud = false;
        validation.validate_exp = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Claims>(token, key, &validation).map_err(|_| TokenError::Foreign)?.claims;
        let service =
            if claims.iss == USERS { None } else { Some(Service::from_name(&claims.iss).ok_or(TokenError::Foreign)?) };
        let (audience, life) = match service {
            None => (EVERYONE, USER_LIFE),
            Some(_) => (self.service, SERVICE_LIFE),
        };
        if claims.aud != audience {
            return Err(TokenError::Audience(claims.aud));
        }
        let (issued, expires) = (Time::from_secs(claims.iat), Time::from_secs(claims.exp));
        let lives = expires.since(issued);
        if issued > now + LEEWAY || expires <= now || lives > life || claims.exp <= claims.iat {
            return Err(TokenError::Time);
        }
        Ok(Identity {
            user_id: claims.sub,
            workspace_id: claims.ws,
            service,
            operator: claims.op && service.is_none(),
            expires_at: expires,
        })
    }
}

fn unverified_issuer(token: &str) -> Option<String> {
    use base64::Engine as _;
    #[derive(Deserialize)]
    struct Named {
        iss: String,
    }
    let payload = token.split('.').nth(1)?;
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(payload).ok()?;
    serde_json::from_slice::<Named>(&json).ok().map(|named| named.iss)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::ManualClock;

    fn acting() -> Acting {
        Acting { user_id: Uuid::from_u128(1), workspace_id: Uuid::from_u128(2) }
    }

    struct World {
        clock: std::sync::Arc<ManualClock>,
        users: Issuer,
        invite: Issuer,
        verifier: Verifier,
    }

    fn world() -> World {
        let clock = ManualClock::new(Time::from_secs(1_800_000_000));
        let users = SigningKey::generate(USERS).unwrap();
        let invite = SigningKey::generate("invite").unwrap();
        let mut trusted = TrustedKeys::default();
        trusted.trust(USERS, &users.public()).unwrap();
        trusted.trust("invite", &invite.public()).unwrap();
        World {
            users: Issuer::new(users, clock.clone()),
            invite: Issuer::new(invite, clock.clone()),
            verifier: Verifier::new("integration", trusted, clock.clone()),
            clock,
        }
    }

    #[test]
    fn a_users_token_is_good_until_it_ends() {
        let world = world();
        let token = world.users.user(acting(), true);
        let identity = world.verifier.verify(&token).unwrap();
        assert_eq!((identity.acting(), identity.service, identity.operator), (acting(), None, true));
        world.clock.advance(USER_LIFE);
        assert_eq!(world.verifier.verify(&token), Err(TokenError::Time));
    }

    #[test]
    fn a_services_token_is_good_at_its_audience_only() {
        let world = world();
        let token = world.invite.service(acting(), "integration");
        assert_eq!(world.verifier.verify(&token).unwrap().service, Some(Service::Invite));
        let elsewhere = world.invite.service(acting(), "parsing");
        assert_eq!(world.verifier.verify(&elsewhere), Err(TokenError::Audience("parsing".to_owned())));
    }

    #[test]
    fn a_service_cannot_speak_as_a_user_or_another_service() {
        let world = world();
        let stranger = SigningKey::generate(USERS).unwrap();
        let forged = Issuer::new(stranger, world.clock.clone()).user(acting(), true);
        assert_eq!(world.verifier.verify(&forged), Err(TokenError::Foreign));
        // The invite service's own key, under the name of the issuer of users.
        let seed = [9; 32];
        let honest = SigningKey::from_seed("invite", &seed).unwrap();
        let liar = SigningKey::from_seed(USERS, &seed).unwrap();
        let mut trusted = TrustedKeys::default();
        trusted.trust("invite", &honest.public()).unwrap();
        let verifier = Verifier::new("integration", trusted, world.clock.clone());
        let lie = Issuer::new(liar, world.clock.clone()).user(acting(), true);
        assert_eq!(verifier.verify(&lie), Err(TokenError::Foreign));
    }

    #[test]
    fn whoever_holds_tokens_does_not_show_them() {
        let world = world();
        let token = world.invite.service(acting(), "integration");
        let signature = token.rsplit('.').next().unwrap();
        let issuer = std::sync::Arc::new(world.invite);
        assert!(!format!("{issuer:?}").contains(signature));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let channel = runtime.block_on(async {
            crate::client::ServiceChannel::new("http://localhost:1", "integration", issuer.clone()).unwrap()
        });
        let leases = crate::lease::Leases::new(channel.clone(), world.clock.clone());
        let shown = format!("{channel:?} {leases:?}");
        assert!(shown.contains("Issuer") && !shown.contains(signature), "{shown}");
    }

    #[test]
    fn a_changed_token_is_refused() {
        let world = world();
        let token = world.users.user(acting(), false);
        let (head, tail) = token.split_at(token.len() / 2);
        let swapped = if tail.starts_with('A') { 'B' } else { 'A' };
        assert!(world.verifier.verify(&format!("{head}{swapped}{}", &tail[1..])).is_err());
        assert!(world.verifier.verify("").is_err());
        assert!(world.verifier.verify("a.b.c").is_err());
    }
}
