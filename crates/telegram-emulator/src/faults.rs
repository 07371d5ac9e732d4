//! Faults: what the emulator does wrong on purpose, and holds, which park a request until the harness says so.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use tokio::sync::oneshot;

use crate::error::RpcError;
use crate::recorder::Subject;

/// Which requests a fault applies to; an empty filter takes all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FaultFilter {
    /// Only requests of keys that belong to this account.
    pub account: Option<i64>,
    /// Only this method, or all of a namespace: `channels.*`.
    pub method: Option<String>,
    /// Only requests about this chat.
    pub chat: Option<i64>,
    /// Only requests about this user, alone or among others.
    pub user: Option<i64>,
    /// Only this data centre.
    pub dc: Option<i32>,
}

/// What goes wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The request is refused with this error and has no effect.
    Error(RpcError),
    /// The answer is kept back for so long, in emulated time. The effect is not.
    SlowAnswer(Duration),
    /// The request is taken and never executed nor answered. Without a method, chat or user in the filter nothing at
    /// all is answered on matching connections, pings and handshakes included.
    Silence,
    /// The connection is closed instead of executing the request.
    DropBeforeEffect,
    /// The request is executed, then the connection closed instead of answering.
    DropAfterEffect,
    /// The request is parked before it is executed, until released.
    HoldBeforeEffect,
    /// The request is executed, its answer parked until released.
    HoldAfterEffect,
}

/// A fault to inject.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it applies to.
    pub filter: FaultFilter,
    /// What goes wrong.
    pub kind: FaultKind,
    /// Matching requests let pass first.
    pub skip: u32,
    /// How many requests it spoils; `None` for all, until cleared.
    pub times: Option<u32>,
    /// When it ends by itself, by the emulator's clock.
    pub until: Option<SystemTime>,
}

impl Fault {
    /// A fault that spoils every matching request until it is cleared.
    pub fn always(filter: FaultFilter, kind: FaultKind) -> Self {
        Self { filter, kind, skip: 0, times: None, until: None }
    }

    /// A fault that spoils one matching request.
    pub fn once(filter: FaultFilter, kind: FaultKind) -> Self {
        Self { times: Some(1), ..Self::always(filter, kind) }
    }
}

/// An injected fault as it stands.
#[derive(Clone, Debug)]
pub struct ActiveFault {
    /// Number, from 1, by which it is cleared.
    pub id: u64,
    /// What was injected; `skip` and `times` count down.
    pub fault: Fault,
    /// Requests spoiled so far.
    pub hits: u64,
}

/// Where a parked request stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HoldPoint {
    /// Not executed yet.
    BeforeEffect,
    /// Executed, its answer not sent.
    AfterEffect,
}

/// A parked request.
#[derive(Clone, Debug)]
pub struct Hold {
    /// Number, from 1, by which it is released.
    pub id: u64,
    /// Where it stands.
    pub point: HoldPoint,
    /// Its number in the flight recorder.
    pub call: u64,
    /// The account that sent it.
    pub account: Option<i64>,
    /// Its method.
    pub method: &'static str,
    /// What it is about.
    pub subject: Subject,
}

/// What becomes of a parked request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Release {
    /// It goes on as if nothing had happened.
    Continue,
    /// Its connection is closed; parked before the effect, it is never executed.
    Drop,
}

/// What a request looks like to the filters.
pub(crate) struct Probe<'a> {
    pub(crate) account: Option<i64>,
    pub(crate) method: &'a str,
    pub(crate) subject: &'a Subject,
    pub(crate) dc: i32,
    pub(crate) now: SystemTime,
}

impl FaultFilter {
    fn takes(&self, probe: &Probe<'_>) -> bool {
        self.takes_connection(probe.account, probe.dc)
            && self.method.as_deref().is_none_or(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => probe.method.starts_with(prefix),
                None => probe.method == pattern,
            })
            && self.chat.is_none_or(|chat| probe.subject.chat == Some(chat))
            && self.user.is_none_or(|user| probe.subject.users.contains(&user))
    }

    fn takes_connection(&self, account: Option<i64>, dc: i32) -> bool {
        self.account.is_none_or(|wanted| account == Some(wanted)) && self.dc.is_none_or(|wanted| dc == wanted)
    }

    fn is_about_connections(&self) -> bool {
        self.method.is_none() && self.chat.is_none() && self.user.is_none()
    }
}

/// Everything that is to go wrong with one request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) silence: bool,
    pub(crate) drop_before: bool,
    pub(crate) hold_before: bool,
    pub(crate) error: Option<RpcError>,
    pub(crate) hold_after: bool,
    pub(crate) drop_after: bool,
    pub(crate) delay: Duration,
}

impl Plan {
    /// Whether the request can be executed and answered on the spot.
    pub(crate) fn is_immediate(&self) -> bool {
        !self.hold_before && !self.hold_after && self.delay.is_zero()
    }
}

/// All faults and holds.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    inner: Mutex<Inner>,
    changed: tokio::sync::watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Inner {
    next_fault: u64,
    active: BTreeMap<u64, ActiveFault>,
    next_hold: u64,
    holds: BTreeMap<u64, (Hold, oneshot::Sender<Release>)>,
    /// Recently parked requests, for watchers that come a moment late.
    announced: VecDeque<Hold>,
}

const ANNOUNCED: usize = 4096;

impl Faults {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn inject(&self, fault: Fault) -> u64 {
        let mut inner = self.lock();
        inner.next_fault += 1;
        let id = inner.next_fault;
        inner.active.insert(id, ActiveFault { id, fault, hits: 0 });
        id
    }

    pub(crate) fn list(&self) -> Vec<ActiveFault> {
        self.lock().active.values().cloned().collect()
    }

    /// Clears one fault, or all; answers how many were cleared. Parked requests stay parked.
    pub(crate) fn clear(&self, id: Option<u64>) -> usize {
        let mut inner = self.lock();
        match id {
            Some(id) => usize::from(inner.active.remove(&id).is_some()),
            None => std::mem::take(&mut inner.active).len(),
        }
    }

    /// Whether nothing at all is to be answered on a connection.
    pub(crate) fn is_silent(&self, account: Option<i64>, dc: i32, now: SystemTime) -> bool {
        self.lock().active.values_mut().any(|active| {
            let fault = &active.fault;
            let silent = fault.kind == FaultKind::Silence
                && fault.filter.is_about_connections()
                && fault.filter.takes_connection(account, dc)
                && fault.until.is_none_or(|until| now < until);
            active.hits += u64::from(silent);
            silent
        })
    }

    /// Counts a request against every fault that matches it and says what is to go wrong.
    pub(crate) fn plan(&self, probe: &Probe<'_>) -> Plan {
        let mut plan = Plan::default();
        self.lock().active.retain(|_, active| {
            if active.fault.until.is_some_and(|until| probe.now >= until) {
                return false;
            }
            if !active.fault.filter.takes(probe) {
                return true;
            }
            if active.fault.skip > 0 {
                active.fault.skip -= 1;
                return true;
            }
            active.hits += 1;
            match &active.fault.kind {
                FaultKind::Error(error) => {
                    plan.error.get_or_insert_with(|| error.clone());
                }
                FaultKind::SlowAnswer(delay) => plan.delay = plan.delay.max(*delay),
                FaultKind::Silence => plan.silence = true,
                FaultKind::DropBeforeEffect => plan.drop_before = true,
                FaultKind::DropAfterEffect => plan.drop_after = true,
                FaultKind::HoldBeforeEffect => plan.hold_before = true,
                FaultKind::HoldAfterEffect => plan.hold_after = true,
            }
            match &mut active.fault.times {
                Some(times) => {
                    *times = times.saturating_sub(1);
                    *times > 0
                }
                None => true,
            }
        });
        plan
    }

    /// Parks a request; the receiver resolves when it is released, and fails when the emulator shuts down.
    pub(crate) fn park(&self, mut hold: Hold) -> oneshot::Receiver<Release> {
        let (release, released) = oneshot::channel();
        let mut inner = self.lock();
        inner.next_hold += 1;
        hold.id = inner.next_hold;
        if inner.announced.len() == ANNOUNCED {
            inner.announced.pop_front();
        }
        inner.announced.push_back(hold.clone());
        inner.holds.insert(hold.id, (hold, release));
        drop(inner);
        self.changed.send_modify(|version| *version += 1);
        released
    }

    /// Requests parked now.
    pub(crate) fn holds(&self) -> Vec<Hold> {
        self.lock().holds.values().map(|(hold, _)| hold.clone()).collect()
    }

    /// Requests parked after the one with this number, released since or not.
    pub(crate) fn holds_after(&self, id: u64) -> Vec<Hold> {
        self.lock().announced.iter().filter(|hold| hold.id > id).cloned().collect()
    }

    /// Wakes with every parked request.
    pub(crate) fn watch_holds(&self) -> tokio::sync::watch::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Lets a parked request go; false when there is none of that number.
    pub(crate) fn release(&self, id: u64, release: Release) -> bool {
        let Some((_, sender)) = self.lock().holds.remove(&id) else { return false };
        sender.send(release).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe<'a>(account: i64, method: &'a str, subject: &'a Subject) -> Probe<'a> {
        Probe { account: Some(account), method, subject, dc: 2, now: SystemTime::UNIX_EPOCH }
    }

    #[test]
    fn a_fault_spoils_exactly_as_many_requests_as_asked() {
        let faults = Faults::default();
        let filter = FaultFilter { account: Some(1), method: Some("channels.*".into()), ..FaultFilter::default() };
        let fault = Fault::always(filter, FaultKind::Error(RpcError::by_name("FLOOD_WAIT_31")));
        faults.inject(Fault { skip: 1, times: Some(2), ..fault });
        let subject = Subject::default();
        let mut spoiled = Vec::new();
        for _ in 0..5 {
            assert!(faults.plan(&probe(2, "channels.inviteToChannel", &subject)).error.is_none());
            assert!(faults.plan(&probe(1, "messages.sendMessage", &subject)).error.is_none());
            spoiled.push(faults.plan(&probe(1, "channels.inviteToChannel", &subject)).error.is_some());
        }
        assert_eq!(spoiled, [false, true, true, false, false]);
        assert!(faults.list().is_empty());
    }

    #[test]
    fn targets_narrow_a_fault() {
        let faults = Faults::default();
        let filter = FaultFilter { user: Some(9), chat: Some(5), ..FaultFilter::default() };
        faults.inject(Fault::always(filter, FaultKind::DropAfterEffect));
        let both = Subject { chat: Some(5), users: vec![8, 9], random_id: None };
        let other = Subject { chat: Some(5), users: vec![8], random_id: None };
        assert!(faults.plan(&probe(1, "x", &both)).drop_after);
        assert_eq!(faults.plan(&probe(1, "x", &other)), Plan::default());
        assert_eq!(faults.list()[0].hits, 1);
        assert_eq!(faults.clear(None), 1);
    }

    #[test]
    fn a_fault_ends_at_its_time() {
        let faults = Faults::default();
        let until = Some(SystemTime::UNIX_EPOCH);
        faults.inject(Fault { until, ..Fault::always(FaultFilter::default(), FaultKind::Silence) });
        assert!(!faults.is_silent(Some(1), 2, SystemTime::UNIX_EPOCH));
        assert!(!faults.plan(&probe(1, "x", &Subject::default())).silence);
        assert!(faults.list().is_empty());
    }

    #[tokio::test]
    async fn a_parked_request_is_announced_and_released_once() {
        let faults = Faults::default();
        let watch = faults.watch_holds();
        let hold = Hold {
            id: 0,
            point: HoldPoint::BeforeEffect,
            call: 3,
            account: None,
            method: "x",
            subject: Subject::default(),
        };
        let released = faults.park(hold);
        assert!(watch.has_changed().unwrap());
        let id = faults.holds()[0].id;
        assert!(faults.release(id, Release::Drop));
        assert!(!faults.release(id, Release::Continue));
        assert_eq!(released.await.unwrap(), Release::Drop);
        assert_eq!(faults.holds_after(0).len(), 1);
    }
}
