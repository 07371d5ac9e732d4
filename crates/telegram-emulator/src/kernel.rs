//! What all connections share, and the way of an API call through it.

use std::net::SocketAddrV4;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use grammers_tl_types::{Serializable as _, enums, types as t};
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::error::RpcError;
use crate::faults::{Faults, Hold, HoldPoint, Plan, Probe, Release};
use crate::keys::Keys;
use crate::methods::{self, Answer, Call as Method, Context};
use crate::recorder::{Call, CallState, ConnectionEnd, Recorder, Subject};
use crate::wire::connections::Connections;
use crate::wire::message::rpc_result;
use crate::wire::request::{Unwrapped, unwrap};
use crate::wire::session::{Outgoing, Purpose};
use crate::world::World;

/// Everything that a request may change, under one lock: requests take microseconds.
pub(crate) struct State {
    pub(crate) world: World,
    pub(crate) keys: Keys,
}

/// The heart of the emulator.
pub(crate) struct Kernel {
    pub(crate) clock: Clock,
    pub(crate) dcs: Vec<(i32, SocketAddrV4)>,
    /// A key seen on two live connections dies.
    pub(crate) strict: bool,
    state: Mutex<State>,
    pub(crate) faults: Faults,
    pub(crate) recorder: Recorder,
    pub(crate) connections: Connections,
    pub(crate) shutdown: CancellationToken,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Origin {
    pub(crate) connection: u64,
    pub(crate) key: i64,
    pub(crate) session: i64,
    pub(crate) dc: i32,
}

/// What becomes of a request.
pub(crate) enum Outcome {
    /// This is its answer.
    Reply(Outgoing),
    /// The answer comes later.
    Later,
    /// No answer will come, and nobody is told.
    Never,
    /// The connection is to be closed.
    Close,
}

impl Kernel {
    pub(crate) fn new(
        clock: Clock,
        dcs: Vec<(i32, SocketAddrV4)>,
        strict: bool,
        state: State,
        recorder: Recorder,
    ) -> Self {
        Self {
            clock,
            dcs,
            strict,
            state: Mutex::new(state),
            faults: Faults::default(),
            recorder,
            connections: Connections::default(),
            shutdown: CancellationToken::new(),
        }
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes an API call: unwraps, records, spoils it as faults demand, executes it.
    pub(crate) fn submit(self: &Arc<Self>, origin: Origin, message: i64, body: Vec<u8>) -> Outcome {
        let unwrapped = match unwrap(body) {
            Ok(unwrapped) => unwrapped,
            Err(error) => return Outcome::Reply(reply(message, None, &Err(error))),
        };
        let decoded = methods::decode(&unwrapped.body);
        let method = decoded.name;
        let subject = decoded.call.as_ref().map(|call| call.subject()).unwrap_or_default();
        let (account, refusal) = self.admit(origin, &unwrapped);
        let number = self.recorder.begin(Call {
            number: 0,
            requested: self.clock.now(),
            answered: None,
            state: CallState::Pending,
            account,
            auth_key_id: origin.key,
            connection: origin.connection,
            dc: origin.dc,
            method,
            subject: subject.clone(),
            effects: Vec::new(),
            error: None,
        });
        let call = match (refusal, decoded.call) {
            (Some(error), _) | (None, Err(error)) => {
                return Outcome::Reply(self.refuse(number, message, error));
            }
            (None, Ok(call)) => call,
        };
        let probe = Probe { account, method, subject: &subject, dc: origin.dc, now: self.clock.now() };
        let plan = self.faults.plan(&probe);
        if plan.silence || plan.drop_before {
            self.recorder.unanswered(number);
            return if plan.drop_before { Outcome::Close } else { Outcome::Never };
        }
        let pending = Pending { origin, message, number, method, subject, account, plan };
        if pending.plan.is_immediate() {
            return self.run(&pending, call);
        }
        tokio::spawn(Arc::clone(self).run_later(pending, call));
        Outcome::Later
    }

    /// Notes layer and wish for updates; answers the account, and why nothing may be executed.
    fn admit(&self, origin: Origin, request: &Unwrapped) -> (Option<i64>, Option<RpcError>) {
        let mut state = self.lock();
        let Some(record) = state.keys.get_mut(origin.key) else {
            return (None, Some(RpcError::AUTH_KEY_UNREGISTERED));
        };
        let layer = record.note_request(origin.session, request.layer, request.without_updates);
        let refusal = record.verdict.clone().or_else(|| layer.is_none().then_some(RpcError::CONNECTION_NOT_INITED));
        (record.user, refusal)
    }

    fn refuse(&self, number: u64, message: i64, error: RpcError) -> Outgoing {
        self.recorder.executed(number, Vec::new(), Some(error.name.to_string()), None);
        reply(message, Some(number), &Err(error))
    }

    /// Executes a call on the spot.
    fn run(&self, pending: &Pending, call: Box<dyn Method>) -> Outcome {
        let answer = self.execute(pending, call);
        if pending.plan.drop_after {
            self.recorder.unanswered(pending.number);
            return Outcome::Close;
        }
        Outcome::Reply(reply(pending.message, Some(pending.number), &answer))
    }

    /// Executes a call with its holds and delays; the connection may be gone by the time it has an answer.
    async fn run_later(self: Arc<Self>, pending: Pending, call: Box<dyn Method>) {
        if pending.plan.hold_before && self.hold(&pending, HoldPoint::BeforeEffect).await == Release::Drop {
            return self.cut(&pending);
        }
        // The key may have been revoked meanwhile, but the request had been let in before that.
        let outcome = self.run(&pending, call);
        if pending.plan.hold_after && self.hold(&pending, HoldPoint::AfterEffect).await == Release::Drop {
            return self.cut(&pending);
        }
        if !pending.plan.delay.is_zero() {
            tokio::select! {
                () = tokio::time::sleep(self.clock.real(pending.plan.delay)) => {}
                () = self.shutdown.cancelled() => {}
            }
        }
        match outcome {
            Outcome::Reply(reply) => {
                let sent = self
                    .connections
                    .get(pending.origin.connection)
                    .is_some_and(|handle| handle.send(pending.origin.session, reply));
                if !sent {
                    self.recorder.unanswered(pending.number);
                }
            }
            Outcome::Later | Outcome::Never => {}
            Outcome::Close => self.cut(&pending),
        }
    }

    async fn hold(&self, pending: &Pending, point: HoldPoint) -> Release {
        let released = self.faults.park(Hold {
            id: 0,
            point,
            call: pending.number,
            account: pending.account,
            method: pending.method,
            subject: pending.subject.clone(),
        });
        tokio::select! {
            release = released => release.unwrap_or(Release::Drop),
            () = self.shutdown.cancelled() => Release::Drop,
        }
    }

    fn cut(&self, pending: &Pending) {
        self.recorder.unanswered(pending.number);
        if let Some(handle) = self.connections.get(pending.origin.connection) {
            handle.close(ConnectionEnd::ByFault);
        }
    }

    fn execute(&self, pending: &Pending, call: Box<dyn Method>) -> Answer {
        if let Some(error) = &pending.plan.error {
            self.recorder.executed(pending.number, Vec::new(), Some(error.name.to_string()), None);
            return Err(error.clone());
        }
        let mut state = self.lock();
        let mut context = Context::new(self, &mut state, pending.origin);
        let answer = if call.needs_login() && context.account.is_none() {
            Err(RpcError::AUTH_KEY_UNREGISTERED)
        } else {
            call.run(&mut context)
        };
        let (effects, events) = (std::mem::take(&mut context.effects), std::mem::take(&mut context.events));
        let account = context.account;
        let error = answer.as_ref().err().map(|error| error.name.to_string());
        self.recorder.executed(pending.number, effects, error, account);
        self.deliver(&mut state, &events, Some(pending.origin.session));
        answer
    }

    /// Sends what has happened to everybody whom it concerns, but not to the session that caused it.
    pub(crate) fn deliver(&self, state: &mut State, events: &[methods::Event], except: Option<i64>) {
        for (key, updates) in methods::render_events(state, events, self.clock.unix()) {
            let body = updates.to_bytes();
            for handle in self.connections.of_key(key) {
                let Some(session) = handle.session.filter(|session| Some(*session) != except) else { continue };
                if state.keys.get(key).is_some_and(|record| record.wants_updates(session)) {
                    handle.send(session, Outgoing::update(body.clone()));
                }
            }
        }
    }

    /// Destroys a key that was seen on two live connections, as Telegram does: both get 406 from now on, and so
    /// does whoever comes after them.
    pub(crate) fn destroy_duplicated(&self, key: i64) {
        let mut state = self.lock();
        if let Some(record) = state.keys.get_mut(key) {
            record.verdict = Some(RpcError::AUTH_KEY_DUPLICATED);
        }
    }
}

/// A call that is being executed.
struct Pending {
    origin: Origin,
    message: i64,
    number: u64,
    method: &'static str,
    subject: Subject,
    account: Option<i64>,
    plan: Plan,
}

fn reply(message: i64, call: Option<u64>, answer: &Answer) -> Outgoing {
    let body = match answer {
        Ok(bytes) => rpc_result(message, bytes),
        Err(error) => {
            let error: enums::RpcError =
                t::RpcError { error_code: error.code, error_message: error.name.to_string() }.into();
            rpc_result(message, &error.to_bytes())
        }
    };
    Outgoing { purpose: Purpose::Answer, content: true, body, call }
}
