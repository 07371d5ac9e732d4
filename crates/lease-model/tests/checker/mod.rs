//! The model under the checker: which events to try, and how many of each.

use lease_model::{
    Answer, CONN_1, Call, Config, Event, Exchange, LEASE_1, LEASE_2, Message, Model, Mutant, Process, Rejected, State,
    Write,
};
use stateright::Property;

use Action::One;

/// How often things may happen on one path. What is not here may happen
/// without limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Counts {
    pub crashes: u8,
    pub given_up: u8,
    pub revokes: u8,
    /// Restarts and failovers.
    pub store_changes: u8,
    pub replications: u8,
    pub cuts: u8,
}

/// One search.
#[derive(Clone, Debug)]
pub struct Scope {
    pub model: Model,
    pub holders: usize,
    pub replicas: usize,
    /// The most leases and claims together that one store gives in one epoch.
    pub numbers: u32,
    pub most: Counts,
    /// Whether requests are sent.
    pub requests: bool,
    /// Whether holders' calls are answered at once.
    pub prompt_holders: bool,
    /// Whether replicas' calls are.
    pub prompt_replicas: bool,
    /// The only property to look at, if not all.
    pub judged: Option<&'static str>,
}

/// What the checker does in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// One event.
    One(Event),
    /// A call, its execution, and its answer.
    Prompt(Process, Message),
    /// A check and the write behind it. With a slip of 0 no time can pass in
    /// between, and nothing else that happens in between matters to either.
    Write(usize, Write),
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Searched {
    pub state: State,
    spent: Counts,
}

/// The name of what is shown to be possible.
pub const LATE: &str = "a request arrives after its lease has a successor";
/// The names of what shows that a search got anywhere.
pub const OWNED_AGAIN: &str = "an account has a second owner, who is connected";

fn asked(by: Process, message: Message) -> Event {
    Event::Ask { by, run: message.run, epoch: message.epoch, call: message.call }
}

impl Scope {
    pub fn new(config: Config, holders: usize, replicas: usize) -> Self {
        let model = Model { config };
        Self {
            model,
            holders,
            replicas,
            numbers: 3,
            most: Counts::default(),
            requests: holders > 0,
            prompt_holders: false,
            prompt_replicas: false,
            judged: None,
        }
    }

    fn spend(&self, spent: &Counts, action: &Action) -> Option<Counts> {
        let One(event) = action else { return Some(*spent) };
        let mut spent = *spent;
        let (count, most) = match event {
            Event::Crash { .. } => (&mut spent.crashes, self.most.crashes),
            Event::GiveUp { .. } => (&mut spent.given_up, self.most.given_up),
            Event::Revoke(_) => (&mut spent.revokes, self.most.revokes),
            Event::Restart { .. } | Event::Failover => (&mut spent.store_changes, self.most.store_changes),
            Event::Replicate => (&mut spent.replications, self.most.replications),
            Event::Cut { .. } => (&mut spent.cuts, self.most.cuts),
            _ => return Some(spent),
        };
        *count += 1;
        (*count <= most).then_some(spent)
    }

    /// What may become of a call, and whether one is under way.
    fn of_exchange(&self, state: &State, by: Process, exchange: Option<&Exchange>, actions: &mut Vec<Action>) -> bool {
        let Some(exchange) = exchange else { return false };
        if exchange.answer.is_none() {
            actions.extend(self.model.result(state, by).ok().map(|answer| One(Event::Execute { by, answer })));
        } else {
            actions.push(One(Event::Receive { by }));
        }
        actions.push(One(Event::GiveUp { by }));
        true
    }

    /// The stores that can be asked, with the epochs that they may be believed
    /// to have. One that has a later epoch already refuses for ever.
    fn ask(&self, state: &State, by: Process, calls: &[Call], actions: &mut Vec<Action>) {
        let prompt = match by {
            Process::Holder(_) => self.prompt_holders,
            Process::Replica(_) => self.prompt_replicas,
        };
        for store in &state.stores {
            for epoch in store.epoch.max(1)..=state.epoch() {
                // Taking a store into use that is in use does nothing.
                for call in calls.iter().copied().filter(|call| *call != Call::Seed || store.epoch < epoch) {
                    let message = Message { run: store.run, epoch, call };
                    actions.push(if prompt { Action::Prompt(by, message) } else { One(asked(by, message)) });
                }
            }
        }
    }

    fn write(&self, replica: usize, write: Write) -> Action {
        if self.model.config.slip == 0 { Action::Write(replica, write) } else { One(Event::Decide { replica, write }) }
    }

    /// A call whose answer waits for nothing; where it cannot be received it
    /// is left where it is.
    fn prompt(&self, state: &State, by: Process, message: Message) -> Result<State, Rejected> {
        let mut state = self.model.step(state, asked(by, message))?;
        let answer = self.model.result(&state, by)?;
        state = self.model.step(&state, Event::Execute { by, answer })?;
        if let (Process::Holder(holder), Answer::Leased { owner: Some(_), .. }) = (by, answer) {
            state = self.model.step(&state, Event::Register { holder }).unwrap_or(state);
        }
        Ok(self.model.step(&state, Event::Receive { by }).unwrap_or(state))
    }

    fn act(&self, state: &State, action: &Action) -> Result<State, Rejected> {
        match *action {
            One(event) => self.model.step(state, event),
            Action::Prompt(by, message) => self.prompt(state, by, message),
            Action::Write(replica, write) => {
                let checked = self.model.step(state, Event::Decide { replica, write })?;
                self.model.step(&checked, Event::Written { replica })
            }
        }
    }

    fn of_holders(&self, state: &State, actions: &mut Vec<Action>) {
        for (at, holder) in state.holders.iter().enumerate() {
            let by = Process::Holder(at);
            if !self.of_exchange(state, by, holder.exchange.as_ref(), actions) {
                match holder.guard {
                    Some(guard) => {
                        self.ask(state, by, &[Call::Renew(guard.token), Call::Release(guard.token)], actions)
                    }
                    None => self.ask(state, by, &[Call::Acquire], actions),
                }
            }
            if let Some(Some(Answer::Leased { owner: Some(_), .. })) = holder.exchange.map(|exchange| exchange.answer) {
                actions.push(One(Event::Register { holder: at }));
            }
            actions.push(One(Event::Crash { by }));
        }
    }

    fn of_replicas(&self, state: &State, actions: &mut Vec<Action>) {
        for (replica, one) in state.replicas.iter().enumerate() {
            let by = Process::Replica(replica);
            if !self.of_exchange(state, by, one.exchange.as_ref(), actions) {
                match one.owned.map(|owned| owned.token) {
                    Some(owned) => {
                        let calls =
                            [Call::Seed, Call::Claim { connected: true }, Call::Keep(owned), Call::Disown(owned)];
                        self.ask(state, by, &calls, actions);
                        // Who sends nothing need not know leases.
                        if self.requests {
                            self.ask(state, by, &[Call::Load], actions);
                        }
                    }
                    None => self.ask(state, by, &[Call::Seed, Call::Claim { connected: false }], actions),
                }
            }
            match (one.pending, one.link) {
                (Some(_), _) => actions.push(One(Event::Written { replica })),
                (None, None) => actions.extend(one.owned.map(|_| self.write(replica, Write::Dial))),
                (None, Some(link)) if link.closing => actions.push(One(Event::Closed { replica })),
                (None, Some(_)) => {
                    actions.extend(one.owned.map(|_| self.write(replica, Write::Ping)));
                    actions.extend([Event::Close { replica }, Event::Cut { replica }].map(One));
                }
            }
            actions.push(One(Event::Crash { by }));
            if self.requests {
                if self.model.config.mutant == Some(Mutant::CheckedApart) {
                    actions.extend(one.accepts().map(|token| Event::CheckEarly { replica, token }).map(One));
                    actions.extend(one.checked.iter().map(|&token| Event::HandOver { replica, token }).map(One));
                } else {
                    actions.extend(one.accepts().map(|token| Event::HandOver { replica, token }).map(One));
                }
                let on_its_way = one.link.and_then(|link| link.handed_over);
                actions.extend(on_its_way.map(|token| Event::Arrive { replica, token }).map(One));
            }
        }
    }
}

impl stateright::Model for Scope {
    type State = Searched;
    type Action = Action;

    fn init_states(&self) -> Vec<Searched> {
        vec![Searched { state: self.model.start(self.holders, self.replicas), spent: Counts::default() }]
    }

    fn actions(&self, searched: &Searched, actions: &mut Vec<Action>) {
        let state = &searched.state;
        actions.push(One(Event::Tick));
        self.of_holders(state, actions);
        self.of_replicas(state, actions);
        for (orphan, link) in state.orphans.iter().enumerate() {
            actions.extend(link.handed_over.map(|token| Event::ArriveLate { orphan, token }).map(One));
        }
        for at in 0..state.strays.len() {
            actions.extend([Event::StrayArrives(at), Event::StrayLost(at)].map(One));
        }
        for store in &state.stores {
            actions.extend(store.lease.map(|_| Event::Revoke(store.run)).map(One));
            let other = state.recorded(state.epoch()) != Some(store.run);
            actions.extend(other.then_some(One(Event::Record(store.run))));
        }
        if state.stores.len() > 1 {
            actions.push(One(Event::Demote));
        }
        actions.extend(state.copy.as_ref().map(|_| Event::Failover).map(One));
        actions.extend([Event::Replicate, Event::Restart { kept: true }, Event::Restart { kept: false }].map(One));
        // What the limits forbid need not be tried.
        actions.retain(|action| self.spend(&searched.spent, action).is_some());
    }

    /// Processes are alike, and nothing names them by their place: states that
    /// differ in their order alone are one.
    fn next_state(&self, searched: &Searched, action: Action) -> Option<Searched> {
        let spent = self.spend(&searched.spent, &action)?;
        let mut state = self.act(&searched.state, &action).ok()?;
        state.holders.sort_unstable();
        state.replicas.sort_unstable();
        // Every change of the store may lead to an epoch; no more than one more, of a store deposed and believed again.
        let epochs = 2 + u32::from(self.most.store_changes);
        let within = state.stores.iter().all(|store| store.number <= self.numbers) && state.epoch() <= epochs;
        within.then_some(Searched { state, spent })
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let all = vec![
            Property::always(LEASE_1, |scope: &Self, searched: &Searched| scope.model.lease_1(&searched.state)),
            Property::always(LEASE_2, |scope: &Self, searched: &Searched| scope.model.lease_2(&searched.state)),
            Property::always(CONN_1, |scope: &Self, searched: &Searched| scope.model.conn_1(&searched.state)),
            Property::sometimes(LATE, |_, searched: &Searched| searched.state.late_request()),
            Property::sometimes(OWNED_AGAIN, |_, searched: &Searched| {
                searched.state.replicas.iter().any(|replica| {
                    replica.open().is_some() && replica.owned.is_some_and(|owned| owned.token.number > 1)
                })
            }),
        ];
        all.into_iter().filter(|property| self.judged.is_none_or(|judged| judged == property.name)).collect()
    }
}
