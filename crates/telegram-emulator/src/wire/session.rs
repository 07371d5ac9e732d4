//! Numbers that the server gives out within a session: message ids, sequence numbers, salts.

use std::collections::VecDeque;
use std::time::Duration;

use super::crypto::{AuthKey, Direction, encrypt, sha256};
use super::message::MSG_CONTAINER;
use crate::clock::Clock;

/// Seconds for which a salt is the current one; it stays valid for as long again.
const SALT_LIFETIME: u64 = 3600;

/// What a message is to the client, which decides the two low bits of its id
/// (<https://core.telegram.org/mtproto/description#message-identifier-msg-id>).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// An answer to a request.
    Answer,
    /// A notification, such as an update.
    Notice,
}

/// A message on its way to a client.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) purpose: Purpose,
    /// Whether the client has to acknowledge it, which makes the sequence number odd.
    pub(crate) content: bool,
    pub(crate) body: Vec<u8>,
    /// The call it answers, by its number in the flight recorder.
    pub(crate) call: Option<u64>,
}

impl Outgoing {
    /// A service message such as a pong.
    pub(crate) fn service(body: Vec<u8>) -> Self {
        Self { purpose: Purpose::Answer, content: false, body, call: None }
    }

    /// An update.
    pub(crate) fn update(body: Vec<u8>) -> Self {
        Self { purpose: Purpose::Notice, content: true, body, call: None }
    }
}

/// The server's half of one session. It outlives a connection: a client that reconnects goes on with it.
#[derive(Debug, Default)]
pub(crate) struct Session {
    /// The layer last announced by `invokeWithLayer`.
    pub(crate) layer: Option<i32>,
    /// Set by the first request that was not wrapped in `invokeWithoutUpdates`.
    pub(crate) wants_updates: bool,
    content_messages: i32,
    last_message_id: i64,
    /// Ids of the client's last requests.
    requests: VecDeque<i64>,
}

/// Requests remembered in a session, so that one sent twice is executed once.
const REMEMBERED: usize = 512;

impl Session {
    /// Notes a request; false when it has been seen before. Clients repeat what they have no answer to.
    pub(crate) fn is_new(&mut self, request: i64) -> bool {
        if self.requests.contains(&request) {
            return false;
        }
        if self.requests.len() == REMEMBERED {
            self.requests.pop_front();
        }
        self.requests.push_back(request);
        true
    }

    /// Ids follow the clock, never repeat and never fall, also when the clock stands still or goes back.
    fn message_id(&mut self, clock: &Clock, purpose: Purpose) -> i64 {
        let now = clock.since_epoch();
        let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
        let time = ((now.as_secs() << 32) | (fraction & 0xffff_fffc)) as i64;
        let base = time.max((self.last_message_id & !3) + 4);
        let id = base | if purpose == Purpose::Answer { 1 } else { 3 };
        self.last_message_id = id;
        id
    }

    fn sequence_number(&mut self, content: bool) -> i32 {
        let number = self.content_messages.wrapping_mul(2) + i32::from(content);
        self.content_messages = self.content_messages.wrapping_add(i32::from(content));
        number
    }

    /// Seals messages into one packet, in a container when there are several.
    pub(crate) fn seal(&mut self, clock: &Clock, key: &AuthKey, id: i64, messages: &[Outgoing]) -> Vec<u8> {
        let mut inner = Vec::new();
        for message in messages {
            inner.extend_from_slice(&self.message_id(clock, message.purpose).to_le_bytes());
            inner.extend_from_slice(&self.sequence_number(message.content).to_le_bytes());
            inner.extend_from_slice(&(message.body.len() as u32).to_le_bytes());
            inner.extend_from_slice(&message.body);
        }
        let mut plain = current_salt(clock, key).to_le_bytes().to_vec();
        plain.extend_from_slice(&id.to_le_bytes());
        if messages.len() == 1 {
            plain.extend(inner);
        } else {
            plain.extend_from_slice(&self.message_id(clock, Purpose::Answer).to_le_bytes());
            plain.extend_from_slice(&self.sequence_number(false).to_le_bytes());
            plain.extend_from_slice(&(inner.len() as u32 + 8).to_le_bytes());
            plain.extend_from_slice(&MSG_CONTAINER.to_le_bytes());
            plain.extend_from_slice(&(messages.len() as u32).to_le_bytes());
            plain.extend(inner);
        }
        encrypt(plain, key, Direction::FromServer)
    }
}

/// The id of an unencrypted answer, which has no session to count in.
pub(crate) fn plain_message_id(clock: &Clock) -> i64 {
    Session::default().message_id(clock, Purpose::Answer)
}

/// A salt with the seconds between which it is the current one.
pub(crate) struct Salt {
    pub(crate) since: i32,
    pub(crate) until: i32,
    pub(crate) value: i64,
}

/// The salt to be used now.
pub(crate) fn current_salt(clock: &Clock, key: &AuthKey) -> i64 {
    salt_of(key, slot(clock))
}

/// Whether a client's salt is current, or was until not long ago.
pub(crate) fn salt_is_valid(clock: &Clock, key: &AuthKey, salt: i64) -> bool {
    let slot = slot(clock);
    salt == salt_of(key, slot) || slot.checked_sub(1).is_some_and(|last| salt == salt_of(key, last))
}

/// The current salt and those that follow it.
///
/// Never fewer than two: a client told of a single one asks again at once, for ever.
pub(crate) fn future_salts(clock: &Clock, key: &AuthKey, wanted: i32) -> Vec<Salt> {
    let length = slot_length(clock);
    let first = slot(clock);
    (0..wanted.clamp(2, 64).unsigned_abs().into())
        .map(|ahead| {
            let slot = first + ahead;
            let second = |slot: u64| i32::try_from(slot * length).unwrap_or(i32::MAX);
            Salt { since: second(slot), until: second(slot + 2), value: salt_of(key, slot) }
        })
        .collect()
}

/// An accelerated clock must not make salts change every few real seconds.
fn slot_length(clock: &Clock) -> u64 {
    let real = clock.real(Duration::from_secs(SALT_LIFETIME)).as_secs_f64().max(1e-3);
    let factor = (SALT_LIFETIME as f64 / real).max(1.0);
    (SALT_LIFETIME as f64 * factor) as u64
}

fn slot(clock: &Clock) -> u64 {
    clock.since_epoch().as_secs() / slot_length(clock)
}

/// Salts are derived, not stored; never 0, with which clients begin and which must be corrected.
fn salt_of(key: &AuthKey, slot: u64) -> i64 {
    let hash = sha256(&[b"salt", key, &slot.to_le_bytes()]);
    let mut salt = [0; 8];
    salt.copy_from_slice(&hash[..8]);
    i64::from_le_bytes(salt).max(i64::MIN + 1).checked_abs().unwrap_or(1).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::crypto::{decrypt, random};
    use crate::wire::message::{Envelope, flatten};
    use std::sync::Arc;
    use std::time::UNIX_EPOCH;

    fn clock_at(seconds: u64) -> Clock {
        Clock::new(Arc::new(move || UNIX_EPOCH + Duration::from_secs(seconds)), 1.0)
    }

    #[test]
    fn ids_rise_while_the_clock_stands_still_or_goes_back() {
        let mut session = Session::default();
        let mut last = 0;
        for seconds in [1000, 1000, 1000, 900, 1001] {
            let id = session.message_id(&clock_at(seconds), Purpose::Notice);
            assert!(id > last && id % 4 == 3);
            last = id;
        }
        assert_eq!(last >> 32, 1001);
    }

    #[test]
    fn a_repeated_request_is_noticed() {
        let mut session = Session::default();
        assert!(session.is_new(4) && session.is_new(8) && !session.is_new(4));
        assert!((100..100 + REMEMBERED as i64).all(|id| session.is_new(id)));
        assert!(session.is_new(4), "forgotten long ago");
    }

    #[test]
    fn several_messages_travel_in_one_container() {
        let (clock, key) = (clock_at(5000), random());
        let mut session = Session::default();
        let messages = [Outgoing::service(vec![1; 4]), Outgoing::update(vec![2; 8])];
        let packet = session.seal(&clock, &key, 77, &messages);
        let plain = decrypt(&packet, &key, Direction::FromServer).unwrap();
        let envelope = Envelope::read(&plain).unwrap();
        assert_eq!((envelope.session, envelope.salt), (77, current_salt(&clock, &key)));
        let inner = flatten(envelope.message).unwrap();
        assert_eq!(inner.iter().map(|m| (m.seq_no, m.id % 4)).collect::<Vec<_>>(), [(0, 1), (1, 3)]);
    }

    #[test]
    fn salts_change_but_overlap() {
        let key = random();
        let old = current_salt(&clock_at(3600), &key);
        assert!(salt_is_valid(&clock_at(7300), &key, old));
        assert!(!salt_is_valid(&clock_at(10_900), &key, old));
        assert!(!salt_is_valid(&clock_at(3600), &key, 0));
        let salts = future_salts(&clock_at(3600), &key, 1);
        assert_eq!(salts.len(), 2);
        assert_eq!(salts[0].value, old);
        assert!(salts.iter().all(|salt| salt.since < salt.until));
    }
}
