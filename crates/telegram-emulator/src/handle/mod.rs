//! The typed control of a running emulator: everything that the control API offers, without the wire.

mod facts;
mod session;
mod world;

use std::sync::Arc;
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
pub use facts::{ChatFacts, MemberFacts, UserFacts};
pub use session::SessionFormat;
use tokio::sync::broadcast;
pub use world::{ChatRules, NewUser, Post};

use crate::error::RpcError;
use crate::faults::{ActiveFault, Fault, Hold, Release};
use crate::kernel::Kernel;
pub use crate::keys::SentCode;
use crate::methods::Event;
use crate::recorder::{Call, CallFilter, ConnectionEnd, ConnectionRecord, Overlap, Summary};
use crate::world::parse_phone;

/// Base64 with the URL's alphabet, as logins and sessions are written; padded or not when it is read.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Why a control call was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// What was given makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// Telegram's own rules forbid it.
    #[error("refused: {0}")]
    Refused(#[from] RpcError),
}

/// The control of a running emulator; cheap to clone, safe from any thread.
#[derive(Clone)]
pub struct Handle {
    kernel: Arc<Kernel>,
}

impl std::fmt::Debug for Handle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl Handle {
    pub(crate) fn new(kernel: Arc<Kernel>) -> Self {
        Self { kernel }
    }

    pub(crate) fn kernel(&self) -> &Arc<Kernel> {
        &self.kernel
    }

    /// The emulator's time.
    pub fn now(&self) -> SystemTime {
        self.kernel.clock.now()
    }

    /// The code that the emulated phone of this number shows, the newest one.
    pub fn login_code(&self, phone: &str) -> Result<String, ControlError> {
        let number = parse_phone(phone).ok_or_else(|| ControlError::Invalid("no phone number".into()))?;
        let state = self.kernel.lock();
        let code = state.keys.code(number).filter(|code| !code.is_expired(self.now()));
        code.map(|code| code.code.clone()).ok_or_else(|| ControlError::NotFound("login code on its way".into()))
    }

    /// Login codes that are sent from now on. Who reads too slowly misses the oldest ones.
    pub fn sent_codes(&self) -> broadcast::Receiver<SentCode> {
        self.kernel.lock().keys.sent_codes()
    }

    /// The emulated phone of this number scans a QR code: `tg://login?token=…`, or the token alone in base64url.
    pub fn accept_login_token(&self, phone: &str, link: &str) -> Result<(), ControlError> {
        let user = self.user_by_phone(phone)?;
        let token = link.rsplit_once("token=").map_or(link, |(_, token)| token);
        let token = base64url(token).ok_or_else(|| ControlError::Invalid("no login token".into()))?;
        let mut state = self.kernel.lock();
        let key = state.keys.accept_qr(&token, user, self.now())?;
        self.kernel.deliver(&mut state, &[Event::LoginToken { key }], None);
        Ok(())
    }

    /// Injects a fault; answers its number.
    pub fn inject_fault(&self, fault: Fault) -> u64 {
        self.kernel.faults.inject(fault)
    }

    /// Faults that still wait for requests.
    pub fn faults(&self) -> Vec<ActiveFault> {
        self.kernel.faults.list()
    }

    /// Clears a fault, or all of them; answers how many. Parked requests stay parked.
    pub fn clear_faults(&self, id: Option<u64>) -> usize {
        self.kernel.faults.clear(id)
    }

    /// Requests parked now.
    pub fn holds(&self) -> Vec<Hold> {
        self.kernel.faults.holds()
    }

    /// Requests parked after the one with this number, released since or not; waits until there is one.
    pub async fn next_holds(&self, after: u64) -> Vec<Hold> {
        let mut changed = self.kernel.faults.watch_holds();
        loop {
            let holds = self.kernel.faults.holds_after(after);
            if !holds.is_empty() {
                return holds;
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = self.kernel.shutdown.cancelled() => return Vec::new(),
            }
        }
    }

    /// Lets a parked request go.
    pub fn release_hold(&self, id: u64, release: Release) -> Result<(), ControlError> {
        let released = self.kernel.faults.release(id, release);
        if released { Ok(()) } else { Err(ControlError::NotFound(format!("hold {id}"))) }
    }

    /// Closes connections at once: those of an account, or in a data centre, or all. Answers how many.
    pub fn drop_connections(&self, account: Option<i64>, dc: Option<i32>) -> usize {
        let keys: Option<Vec<i64>> = account.map(|account| self.kernel.lock().keys.of_user(account).to_vec());
        let mut dropped = 0;
        for handle in self.kernel.connections.all() {
            let of_account = keys.as_ref().is_none_or(|keys| handle.key.is_some_and(|key| keys.contains(&key)));
            if of_account && dc.is_none_or(|dc| handle.dc == dc) {
                handle.close(ConnectionEnd::ByFault);
                dropped += 1;
            }
        }
        dropped
    }

    /// Makes every key of an account answer with an error from now on, such as `SESSION_REVOKED`. With `None` the
    /// keys are forgotten: the transport answers -404. Answers how many keys there were.
    pub fn revoke_keys(&self, account: i64, error: Option<RpcError>) -> usize {
        let mut state = self.kernel.lock();
        let keys = state.keys.of_user(account).to_vec();
        for key in &keys {
            match (&error, state.keys.get_mut(*key)) {
                (Some(error), Some(record)) => record.verdict = Some(error.clone()),
                _ => state.keys.forget(*key),
            }
        }
        keys.len()
    }

    /// Ids of the keys that are logged in as an account, in the order of their logins.
    pub fn keys_of(&self, account: i64) -> Vec<i64> {
        self.kernel.lock().keys.of_user(account).to_vec()
    }

    /// Registers a key that nobody has negotiated, logged in as an account or not. Saves tests the exchange.
    pub fn add_key(&self, key: [u8; 256], dc: i32, account: Option<i64>) -> i64 {
        let mut state = self.kernel.lock();
        let id = state.keys.add(key, dc);
        if let Some(account) = account {
            state.keys.sign_in(id, account);
        }
        id
    }

    /// Recorded calls in order of arrival, with a number above `after`.
    pub fn calls(&self, filter: &CallFilter, after: u64, limit: usize) -> Vec<Call> {
        self.kernel.recorder.calls(filter, after, limit)
    }

    /// Calls in the order in which they finished, from position `after` on; waits until there is one. Answers the
    /// position to go on from.
    pub async fn next_calls(&self, filter: &CallFilter, after: u64, limit: usize) -> (Vec<Call>, u64) {
        let mut changed = self.kernel.recorder.watch();
        let mut position = after;
        loop {
            let (calls, next) = self.kernel.recorder.finished(filter, position, limit);
            position = next;
            if !calls.is_empty() {
                return (calls, position);
            }
            tokio::select! {
                _ = changed.changed() => {}
                () = self.kernel.shutdown.cancelled() => return (Vec::new(), position),
            }
        }
    }

    /// Connections, open and closed.
    pub fn connections(&self) -> Vec<ConnectionRecord> {
        self.kernel.recorder.connections()
    }

    /// Overlaps of two live connections of one key.
    pub fn overlaps(&self) -> Vec<Overlap> {
        self.kernel.recorder.overlaps()
    }

    /// Counts over everything recorded.
    pub fn summary(&self) -> Summary {
        self.kernel.recorder.summary()
    }

    /// Waits until something that the flight recorder holds fulfils a condition.
    pub async fn wait_until(&self, condition: impl Fn(&Self) -> bool) {
        let mut changed = self.kernel.recorder.watch();
        while !condition(self) {
            if changed.changed().await.is_err() {
                return;
            }
        }
    }
}

/// Decodes base64 in either alphabet, with padding or without.
fn base64url(text: &str) -> Option<Vec<u8>> {
    let text = text.trim().replace('+', "-").replace('/', "_");
    BASE64.decode(text).ok().filter(|bytes| !bytes.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_read_in_both_alphabets() {
        assert_eq!(base64url("-_8").unwrap(), [0xfb, 0xff]);
        assert_eq!(base64url("+/8=").unwrap(), [0xfb, 0xff]);
        assert_eq!(base64url("TWFu").unwrap(), b"Man");
        assert_eq!(base64url(""), None);
        assert_eq!(base64url("a b"), None);
    }
}
