//! What each event does to the state.

use crate::Model;
use crate::config::Mutant;
use crate::event::{Event, Process, Rejected};
use crate::state::{Answer, Call, Exchange, Holder, Link, Message, Replica, Run, State, Store, Timed, Token, Write};

type Step = Result<(), Rejected>;

/// That it holds, or why the step cannot be.
fn ensure(holds: bool, otherwise: Rejected) -> Step {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn holder(state: &mut State, at: usize) -> Result<&mut Holder, Rejected> {
    state.holders.get_mut(at).ok_or(Rejected::Nobody)
}

fn replica(state: &mut State, at: usize) -> Result<&mut Replica, Rejected> {
    state.replicas.get_mut(at).ok_or(Rejected::Nobody)
}

fn exchange(state: &mut State, by: Process) -> Result<&mut Option<Exchange>, Rejected> {
    match by {
        Process::Holder(at) => holder(state, at).map(|holder| &mut holder.exchange),
        Process::Replica(at) => replica(state, at).map(|replica| &mut replica.exchange),
    }
}

fn store(state: &mut State, run: Run) -> Result<&mut Store, Rejected> {
    state.stores.iter_mut().find(|store| store.run == run).ok_or(Rejected::Nobody)
}

fn open(replica: &mut Replica) -> Result<&mut Link, Rejected> {
    replica.link.as_mut().filter(|link| !link.closing).ok_or(Rejected::Nobody)
}

impl Model {
    /// The state after an event.
    ///
    /// # Errors
    ///
    /// Why the event cannot happen in this state. That an invariant is broken
    /// afterwards is no such reason: see [`Model::broken`].
    pub fn step(&self, before: &State, event: Event) -> Result<State, Rejected> {
        let mut state = before.clone();
        self.apply(&mut state, event)?;
        state.orphans.sort_unstable();
        state.strays.sort_unstable();
        Ok(state)
    }

    /// What the store will answer to the call of a process.
    ///
    /// # Errors
    ///
    /// There is no call on its way, or its store is gone.
    pub fn result(&self, state: &State, by: Process) -> Result<Answer, Rejected> {
        let exchange = match by {
            Process::Holder(at) => state.holders.get(at).and_then(|holder| holder.exchange),
            Process::Replica(at) => state.replicas.get(at).and_then(|replica| replica.exchange),
        };
        let asked = exchange.filter(|exchange| exchange.answer.is_none()).ok_or(Rejected::Nobody)?;
        let mut store = state.store(asked.message.run).cloned().ok_or(Rejected::Nobody)?;
        Ok(store.execute(&self.config, &asked.message))
    }

    fn apply(&self, state: &mut State, event: Event) -> Step {
        match event {
            Event::Tick => self.tick(state),
            Event::Ask { by, run, epoch, call } => self.ask(state, by, Message { run, epoch, call }),
            Event::Execute { by, answer } => self.execute(state, by, answer),
            Event::Register { holder } => register(state, holder),
            Event::Receive { by: Process::Holder(at) } => self.holder_receives(holder(state, at)?),
            Event::Receive { by: Process::Replica(at) } => self.replica_receives(replica(state, at)?),
            Event::GiveUp { by } => give_up(state, by),
            Event::StrayArrives(at) => {
                let message = state.strays.get(at).copied().ok_or(Rejected::Nobody)?;
                store(state, message.run)?.execute(&self.config, &message);
                state.strays.remove(at);
                Ok(())
            }
            Event::StrayLost(at) => {
                ensure(at < state.strays.len(), Rejected::Nobody)?;
                state.strays.remove(at);
                Ok(())
            }
            Event::Revoke(run) => store(state, run)?.lease.take().map(|_| ()).ok_or(Rejected::Nobody),
            Event::Record(run) => {
                store(state, run)?;
                let other = state.recorded(state.epoch()) != Some(run) && !self.config.is(Mutant::EpochIgnored);
                ensure(other, Rejected::NotEntitled)?;
                state.epochs.push(run);
                Ok(())
            }
            Event::Replicate => {
                state.copy = state.stores.first().cloned();
                Ok(())
            }
            Event::Restart { kept } => {
                state.last_run += 1;
                let run = state.last_run;
                let primary = state.stores.first_mut().ok_or(Rejected::Nobody)?;
                *primary = if kept { Store { run, ..primary.clone() } } else { Store::blank(&self.config, run) };
                Ok(())
            }
            Event::Failover => {
                let copy = state.copy.take().ok_or(Rejected::Nobody)?;
                state.last_run += 1;
                state.stores.insert(0, Store { run: state.last_run, ..copy });
                state.stores.truncate(2);
                Ok(())
            }
            Event::Demote => {
                ensure(state.stores.len() > 1, Rejected::Nobody)?;
                state.stores.truncate(1);
                Ok(())
            }
            Event::Decide { replica: at, write } => decide(replica(state, at)?, write),
            Event::Written { replica: at } => written(replica(state, at)?),
            Event::Close { replica: at } => {
                let replica = replica(state, at)?;
                ensure(replica.pending.is_none(), Rejected::Busy)?;
                open(replica)?.closing = true;
                Ok(())
            }
            Event::Closed { replica: at } => {
                let replica = replica(state, at)?;
                ensure(replica.link.is_some_and(|link| link.closing), Rejected::Nobody)?;
                replica.link = None;
                Ok(())
            }
            Event::Cut { replica: at } => replica(state, at)?.link.take().map(|_| ()).ok_or(Rejected::Nobody),
            Event::CheckEarly { replica: at, token } => {
                ensure(self.config.is(Mutant::CheckedApart), Rejected::OnlyMutants)?;
                let replica = replica(state, at)?;
                ensure(!replica.checked.contains(&token), Rejected::Busy)?;
                ensure(replica.accepts() == Some(token), Rejected::Stale)?;
                replica.checked.push(token);
                Ok(())
            }
            Event::HandOver { replica: at, token } => self.hand_over(replica(state, at)?, token),
            Event::Arrive { replica: at, token } => {
                arrive(replica(state, at)?.link.as_mut(), token)?;
                state.show(token);
                Ok(())
            }
            Event::ArriveLate { orphan, token } => {
                arrive(state.orphans.get_mut(orphan), token)?;
                state.show(token);
                Ok(())
            }
            Event::Crash { by } => crash(state, by),
        }
    }

    fn tick(&self, state: &mut State) -> Step {
        let overdue = |replica: &Replica| replica.pending.is_some_and(|(_, age)| age >= self.config.slip);
        ensure(!state.replicas.iter().any(overdue), Rejected::Overdue)?;
        for store in state.stores.iter_mut().chain(&mut state.copy) {
            store.tick(&self.config);
        }
        for holder in &mut state.holders {
            holder.guard = holder.guard.and_then(Timed::tick);
            self.wait(&mut holder.exchange);
        }
        for replica in &mut state.replicas {
            self.wait(&mut replica.exchange);
            if let Some((_, age)) = &mut replica.pending {
                *age += 1;
            }
            if let Some(lease) = &mut replica.registry {
                lease.left = lease.left.saturating_sub(1);
            }
            let owned = replica.owned.and_then(Timed::tick);
            if owned.is_some() || !self.config.is(Mutant::NoSelfFence) {
                replica.owned = owned;
            }
            if replica.owned.is_none() {
                replica.lose_claim();
            }
            replica.link = replica.link.and_then(|link| self.silence(link));
        }
        state.orphans = state.orphans.iter().filter_map(|link| self.silence(*link)).collect();
        Ok(())
    }

    fn wait(&self, exchange: &mut Option<Exchange>) {
        let Some(exchange) = exchange else { return };
        if !self.config.is(Mutant::DeadlineFromAnswer) {
            exchange.left = exchange.left.saturating_sub(1);
        }
        if let Some(Answer::Known(lease)) = &mut exchange.answer {
            *lease = lease.and_then(Timed::tick);
        }
    }

    /// Telegram closes a connection that has been silent for too long.
    fn silence(&self, link: Link) -> Option<Link> {
        (link.silent + 1 < self.config.disconnect_delay).then(|| Link { silent: link.silent + 1, ..link })
    }

    fn ask(&self, state: &mut State, by: Process, message: Message) -> Step {
        ensure(exchange(state, by)?.is_none(), Rejected::Busy)?;
        store(state, message.run)?;
        let ignored = self.config.is(Mutant::EpochIgnored);
        ensure(ignored || state.recorded(message.epoch) == Some(message.run), Rejected::WrongEpoch)?;
        let newest = message.epoch == state.epoch();
        let left = match by {
            Process::Holder(at) => {
                may_ask_for_lease(holder(state, at)?, message.call)?;
                self.config.lease_ttl
            }
            Process::Replica(at) => {
                let newest = newest || ignored || self.config.is(Mutant::DeposedStoreBelieved);
                self.may_ask_for_claim(replica(state, at)?, &message, newest)?;
                self.config.claim_ttl
            }
        };
        *exchange(state, by)? = Some(Exchange { message, left, answer: None });
        Ok(())
    }

    fn may_ask_for_claim(&self, replica: &mut Replica, message: &Message, newest: bool) -> Step {
        let owned = replica.owned.map(|owned| owned.token);
        match message.call {
            Call::Claim { connected: false } => {
                ensure(newest, Rejected::WrongEpoch)?;
                ensure(owned.is_none(), Rejected::NotEntitled)
            }
            Call::Claim { connected: true } => {
                ensure(newest, Rejected::WrongEpoch)?;
                let of_before = owned.is_some_and(|owned| owned.epoch < message.epoch);
                ensure(of_before && replica.open().is_some(), Rejected::NotEntitled)
            }
            Call::Keep(token) => {
                ensure(newest, Rejected::WrongEpoch)?;
                ensure(owned == Some(token), Rejected::NotEntitled)
            }
            Call::Load => ensure(owned.is_some_and(|owned| owned.epoch == message.epoch), Rejected::NotEntitled),
            Call::Disown(token) => {
                let closed = replica.link.is_none() && replica.pending.is_none();
                let may = closed || self.config.is(Mutant::DisownBeforeClosed);
                ensure(may && owned == Some(token), Rejected::NotEntitled)?;
                // From here on it is no owner, whatever becomes of the call.
                replica.lose_claim();
                Ok(())
            }
            Call::Seed => ensure(newest, Rejected::WrongEpoch),
            Call::Acquire | Call::Renew(_) | Call::Release(_) => Err(Rejected::NotEntitled),
        }
    }

    fn execute(&self, state: &mut State, by: Process, observed: Answer) -> Step {
        let answer = self.result(state, by)?;
        ensure(answer == observed, Rejected::OtherResult(answer))?;
        let Some(asked) = exchange(state, by)? else { return Err(Rejected::Nobody) };
        asked.answer = Some(answer);
        let message = asked.message;
        store(state, message.run)?.execute(&self.config, &message);
        Ok(())
    }

    fn holder_receives(&self, holder: &mut Holder) -> Step {
        let Some(Exchange { message, left, answer: Some(answer) }) = holder.exchange else {
            return Err(Rejected::Nobody);
        };
        match (message.call, answer) {
            (_, Answer::Leased { owner: Some(_), .. }) if !self.config.is(Mutant::AnswerBeforeRegistration) => {
                return Err(Rejected::Unregistered);
            }
            (Call::Acquire, Answer::Leased { token, .. }) if left > 0 => holder.guard = Some(Timed { token, left }),
            // A guard that has run out meanwhile has stopped the work: it is not revived.
            (Call::Renew(token), Answer::Leased { .. }) if left > 0 => {
                holder.guard = holder.guard.filter(|guard| guard.token == token).map(|_| Timed { token, left });
            }
            (Call::Renew(token), Answer::Refused) => {
                holder.guard = holder.guard.filter(|guard| guard.token != token);
            }
            _ => {}
        }
        holder.exchange = None;
        Ok(())
    }

    fn replica_receives(&self, replica: &mut Replica) -> Step {
        let Some(Exchange { message, left, answer: Some(answer) }) = replica.exchange else {
            return Err(Rejected::Nobody);
        };
        let mine = |token| replica.owned.is_some_and(|owned| owned.token == token);
        match (message.call, answer) {
            (Call::Claim { .. }, Answer::Owned(token)) if left > 0 => {
                replica.owned = Some(Timed { token, left });
                replica.checked.clear();
                if !self.config.is(Mutant::RegistryKept) {
                    replica.registry = None;
                }
            }
            (Call::Keep(token), Answer::Owned(_)) if mine(token) && left > 0 => {
                replica.owned = Some(Timed { token, left });
            }
            (Call::Keep(token), Answer::Refused) if mine(token) => replica.lose_claim(),
            // Of this claim's store; an answer to an earlier claim was dropped with it.
            (Call::Load, Answer::Known(Some(lease))) if replica.owned.is_some() => replica.hear(lease),
            _ => {}
        }
        replica.exchange = None;
        Ok(())
    }

    fn hand_over(&self, replica: &mut Replica, token: Token) -> Step {
        if self.config.is(Mutant::CheckedApart) {
            ensure(replica.checked.contains(&token), Rejected::Stale)?;
        } else {
            ensure(replica.accepts() == Some(token), Rejected::Stale)?;
        }
        let link = open(replica)?;
        ensure(link.handed_over.is_none(), Rejected::Busy)?;
        link.handed_over = Some(token);
        replica.checked.retain(|checked| *checked != token);
        Ok(())
    }
}

fn may_ask_for_lease(holder: &mut Holder, call: Call) -> Step {
    let held = holder.guard.map(|guard| guard.token);
    match call {
        Call::Acquire => ensure(held.is_none(), Rejected::NotEntitled),
        Call::Renew(token) => ensure(held == Some(token), Rejected::NotEntitled),
        Call::Release(token) => {
            ensure(held == Some(token), Rejected::NotEntitled)?;
            holder.guard = None;
            Ok(())
        }
        _ => Err(Rejected::NotEntitled),
    }
}

/// Word of a lease counts for the claim that the store saw with it, and for no
/// later one of the same process.
fn register(state: &mut State, at: usize) -> Step {
    let Some(Exchange { left, answer: Some(Answer::Leased { token, owner }), .. }) = &mut holder(state, at)?.exchange
    else {
        return Err(Rejected::Nobody);
    };
    let (claim, lease) = (owner.take().ok_or(Rejected::Nobody)?, Timed { token: *token, left: *left });
    let owner = state.replicas.iter_mut().find(|replica| replica.owned.is_some_and(|owned| owned.token == claim));
    owner.ok_or(Rejected::Nobody)?.hear(lease);
    Ok(())
}

fn give_up(state: &mut State, by: Process) -> Step {
    let given_up = exchange(state, by)?.take().ok_or(Rejected::Nobody)?;
    if given_up.answer.is_none() {
        state.strays.push(given_up.message);
    }
    Ok(())
}

fn decide(replica: &mut Replica, write: Write) -> Step {
    ensure(replica.pending.is_none(), Rejected::Busy)?;
    ensure(replica.owned.is_some(), Rejected::Stale)?;
    let fits = match write {
        Write::Dial => replica.link.is_none(),
        Write::Ping => replica.open().is_some(),
    };
    ensure(fits, Rejected::NotEntitled)?;
    replica.pending = Some((write, 0));
    Ok(())
}

fn written(replica: &mut Replica) -> Step {
    match replica.pending.take().ok_or(Rejected::Nobody)?.0 {
        Write::Dial => replica.link = Some(Link::default()),
        // Into a connection that Telegram has closed it goes nowhere.
        Write::Ping => {
            if let Some(link) = &mut replica.link {
                link.silent = 0;
            }
        }
    }
    Ok(())
}

fn arrive(link: Option<&mut Link>, token: Token) -> Step {
    let link = link.ok_or(Rejected::Nobody)?;
    ensure(link.handed_over == Some(token), Rejected::Nobody)?;
    link.handed_over = None;
    Ok(())
}

fn crash(state: &mut State, by: Process) -> Step {
    let _ = give_up(state, by);
    match by {
        Process::Holder(at) => *holder(state, at)? = Holder::default(),
        Process::Replica(at) => {
            let link = std::mem::take(replica(state, at)?).link;
            state.orphans.extend(link);
        }
    }
    Ok(())
}

impl State {
    /// Telegram sees a request.
    fn show(&mut self, token: Token) {
        self.regressed |= token < self.seen;
        self.seen = self.seen.max(token);
    }
}
