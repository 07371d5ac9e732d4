//! Authorisation keys, the sessions under them, and logins on their way.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, SystemTime};

use tokio::sync::broadcast;

use crate::error::RpcError;
use crate::wire::crypto::{AuthKey, key_id, random};
use crate::wire::session::Session;
use crate::wire::srp::Challenge;
use crate::world::hashing::{Dice, IdMap};

/// Sessions remembered for one key; the oldest goes first.
const MAX_SESSIONS: usize = 32;
/// How long a login code stays good.
const CODE_LIFETIME: Duration = Duration::from_secs(300);
/// How long a QR token stays good, as <https://core.telegram.org/api/qr-login> says.
pub(crate) const QR_LIFETIME: Duration = Duration::from_secs(30);
/// Codes that somebody who hears of them may be behind by.
const CODES_AHEAD: usize = 64;
/// Digits of a login code.
pub(crate) const CODE_LENGTH: usize = 5;

/// A key and what it may do.
pub(crate) struct KeyRecord {
    pub(crate) key: AuthKey,
    /// The only data centre that knows it.
    pub(crate) dc: i32,
    /// The account that is logged in with it.
    pub(crate) user: Option<i64>,
    /// Answers everything from now on: the key has been revoked or destroyed.
    pub(crate) verdict: Option<RpcError>,
    /// The account whose code was right and whose password is still missing.
    pub(crate) password_pending: Option<i64>,
    pub(crate) challenge: Option<Challenge>,
    /// The QR token shown last.
    pub(crate) qr_token: Option<Vec<u8>>,
    sessions: HashMap<i64, Session>,
    session_order: VecDeque<i64>,
    /// The layer announced last in any session; a session without one of its own takes it over.
    layer: Option<i32>,
}

impl KeyRecord {
    fn new(key: AuthKey, dc: i32) -> Self {
        Self {
            key,
            dc,
            user: None,
            verdict: None,
            password_pending: None,
            challenge: None,
            qr_token: None,
            sessions: HashMap::new(),
            session_order: VecDeque::new(),
            layer: None,
        }
    }

    /// The session of this id, and whether it has just been made.
    pub(crate) fn session(&mut self, id: i64) -> (&mut Session, bool) {
        let new = !self.sessions.contains_key(&id);
        if new {
            if self.session_order.len() >= MAX_SESSIONS
                && let Some(oldest) = self.session_order.pop_front()
            {
                self.sessions.remove(&oldest);
            }
            self.session_order.push_back(id);
        }
        (self.sessions.entry(id).or_default(), new)
    }

    pub(crate) fn destroy_session(&mut self, id: i64) -> bool {
        self.session_order.retain(|session| *session != id);
        self.sessions.remove(&id).is_some()
    }

    /// Notes what the wrappers of a request said; answers the layer in force.
    pub(crate) fn note_request(&mut self, session: i64, layer: Option<i32>, without_updates: bool) -> Option<i32> {
        self.layer = layer.or(self.layer);
        let known = self.layer;
        let (session, _) = self.session(session);
        session.layer = layer.or(session.layer).or(known);
        session.wants_updates |= !without_updates;
        session.layer
    }

    pub(crate) fn wants_updates(&self, session: i64) -> bool {
        self.sessions.get(&session).is_some_and(|session| session.wants_updates)
    }
}

/// A login code on its way to a phone.
#[derive(Clone)]
pub(crate) struct LoginCode {
    pub(crate) hash: String,
    pub(crate) code: String,
    expires: SystemTime,
}

impl LoginCode {
    pub(crate) fn is_expired(&self, now: SystemTime) -> bool {
        now >= self.expires
    }
}

/// A login code that has been sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SentCode {
    /// Phone number: digits alone.
    pub phone: String,
    /// The code.
    pub code: String,
}

/// A QR token that somebody may scan.
pub(crate) struct QrToken {
    /// The key that shows it; it need not be logged in.
    pub(crate) key: i64,
    pub(crate) expires: SystemTime,
    /// The account whose phone has scanned it.
    pub(crate) accepted_by: Option<i64>,
}

/// All keys and logins.
pub(crate) struct Keys {
    records: IdMap<i64, KeyRecord>,
    by_user: IdMap<i64, Vec<i64>>,
    codes: HashMap<u64, LoginCode>,
    sent_codes: broadcast::Sender<SentCode>,
    qr_tokens: HashMap<Vec<u8>, QrToken>,
    /// Authorisations exported to another data centre: token → (account, data centre).
    exported: HashMap<Vec<u8>, (i64, i32)>,
    dice: Dice,
}

impl Keys {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            records: IdMap::default(),
            by_user: IdMap::default(),
            codes: HashMap::new(),
            sent_codes: broadcast::Sender::new(CODES_AHEAD),
            qr_tokens: HashMap::new(),
            exported: HashMap::new(),
            dice: Dice::new(seed),
        }
    }

    pub(crate) fn add(&mut self, key: AuthKey, dc: i32) -> i64 {
        let id = key_id(&key);
        self.records.insert(id, KeyRecord::new(key, dc));
        id
    }

    pub(crate) fn get(&self, id: i64) -> Option<&KeyRecord> {
        self.records.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: i64) -> Option<&mut KeyRecord> {
        self.records.get_mut(&id)
    }

    /// Forgets a key: the next packet under it is answered with -404.
    pub(crate) fn forget(&mut self, id: i64) {
        self.sign_out(id);
        self.records.remove(&id);
    }

    pub(crate) fn sign_in(&mut self, id: i64, user: i64) {
        self.sign_out(id);
        if let Some(record) = self.records.get_mut(&id) {
            record.user = Some(user);
            record.password_pending = None;
            record.challenge = None;
            self.by_user.entry(user).or_default().push(id);
        }
    }

    pub(crate) fn sign_out(&mut self, id: i64) -> Option<i64> {
        let user = self.records.get_mut(&id)?.user.take()?;
        if let Some(keys) = self.by_user.get_mut(&user) {
            keys.retain(|key| *key != id);
        }
        Some(user)
    }

    /// Keys logged in as a user.
    pub(crate) fn of_user(&self, user: i64) -> &[i64] {
        self.by_user.get(&user).map(Vec::as_slice).unwrap_or_default()
    }

    /// Users with at least one key.
    pub(crate) fn users(&self) -> Vec<i64> {
        self.by_user.iter().filter(|(_, keys)| !keys.is_empty()).map(|(user, _)| *user).collect()
    }

    /// Sends a code to a phone, replacing one on its way.
    pub(crate) fn send_code(&mut self, phone: u64, now: SystemTime) -> LoginCode {
        let code = LoginCode {
            hash: format!("{:016x}", u64::from_le_bytes(random())),
            code: format!("{:05}", self.dice.below(100_000)),
            expires: now + CODE_LIFETIME,
        };
        self.codes.insert(phone, code.clone());
        // Mostly nobody listens.
        let _ = self.sent_codes.send(SentCode { phone: phone.to_string(), code: code.code.clone() });
        code
    }

    /// Codes that are sent from now on.
    pub(crate) fn sent_codes(&self) -> broadcast::Receiver<SentCode> {
        self.sent_codes.subscribe()
    }

    pub(crate) fn code(&self, phone: u64) -> Option<&LoginCode> {
        self.codes.get(&phone)
    }

    pub(crate) fn drop_code(&mut self, phone: u64) {
        self.codes.remove(&phone);
    }

    /// Makes a QR token for a key, replacing the one it showed.
    pub(crate) fn show_qr(&mut self, key: i64, now: SystemTime) -> (Vec<u8>, SystemTime) {
        let (token, expires) = (random::<32>().to_vec(), now + QR_LIFETIME);
        self.qr_tokens.retain(|_, token| token.key != key && now < token.expires + QR_LIFETIME);
        self.qr_tokens.insert(token.clone(), QrToken { key, expires, accepted_by: None });
        if let Some(record) = self.records.get_mut(&key) {
            record.qr_token = Some(token.clone());
        }
        (token, expires)
    }

    pub(crate) fn qr(&self, token: &[u8]) -> Option<&QrToken> {
        self.qr_tokens.get(token)
    }

    /// The phone of `user` scans a token; answers the key that shows it.
    pub(crate) fn accept_qr(&mut self, token: &[u8], user: i64, now: SystemTime) -> Result<i64, RpcError> {
        let token = self.qr_tokens.get_mut(token).ok_or(RpcError::AUTH_TOKEN_INVALID)?;
        if now >= token.expires {
            return Err(RpcError::AUTH_TOKEN_EXPIRED);
        }
        if token.accepted_by.is_some() {
            return Err(RpcError::AUTH_TOKEN_ALREADY_ACCEPTED);
        }
        token.accepted_by = Some(user);
        Ok(token.key)
    }

    pub(crate) fn drop_qr(&mut self, token: &[u8]) {
        self.qr_tokens.remove(token);
    }

    pub(crate) fn export(&mut self, user: i64, dc: i32) -> Vec<u8> {
        let bytes = random::<64>().to_vec();
        self.exported.insert(bytes.clone(), (user, dc));
        bytes
    }

    /// Redeems an exported authorisation; each is good once, in one data centre.
    pub(crate) fn import(&mut self, user: i64, bytes: &[u8], dc: i32) -> bool {
        let good = self.exported.get(bytes) == Some(&(user, dc));
        if good {
            self.exported.remove(bytes);
        }
        good
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sessions_of_a_key_are_bounded() {
        let mut record = KeyRecord::new([1; 256], 2);
        for id in 0..100 {
            assert!(record.session(id).1);
        }
        assert!(!record.session(99).1);
        assert!(record.session(0).1, "forgotten long ago");
        assert_eq!(record.sessions.len(), MAX_SESSIONS);
    }

    #[test]
    fn a_session_takes_over_the_layer_of_its_key() {
        let mut record = KeyRecord::new([1; 256], 2);
        assert_eq!(record.note_request(1, None, true), None);
        assert_eq!(record.note_request(1, Some(229), true), Some(229));
        assert!(!record.wants_updates(1));
        assert_eq!(record.note_request(2, None, false), Some(229));
        assert!(record.wants_updates(2));
    }

    #[test]
    fn tokens_and_exports_are_good_once() {
        let mut keys = Keys::new(1);
        let now = SystemTime::UNIX_EPOCH;
        let key = keys.add([1; 256], 2);
        let (token, _) = keys.show_qr(key, now);
        assert_eq!(keys.accept_qr(&token, 5, now + QR_LIFETIME), Err(RpcError::AUTH_TOKEN_EXPIRED));
        assert_eq!(keys.accept_qr(&token, 5, now), Ok(key));
        assert_eq!(keys.accept_qr(&token, 6, now), Err(RpcError::AUTH_TOKEN_ALREADY_ACCEPTED));
        assert_eq!(keys.accept_qr(b"x", 6, now), Err(RpcError::AUTH_TOKEN_INVALID));
        let bytes = keys.export(5, 4);
        assert!(!keys.import(5, &bytes, 2) && !keys.import(6, &bytes, 4));
        assert!(keys.import(5, &bytes, 4) && !keys.import(5, &bytes, 4));
    }
}
