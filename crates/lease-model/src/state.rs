//! What the model knows at one moment. Times are ticks that are left, so that
//! a state has no date and the number of states stays finite.

/// A fencing token: the durable epoch, then the store's counter. Numbers both
/// leases and claims of the account's connection, in one sequence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Token {
    /// Which store counted it, as recorded in PostgreSQL; from 1.
    pub epoch: u32,
    /// The store's counter; from 1.
    pub number: u32,
}

/// A token and how long it is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timed {
    /// What is held.
    pub token: Token,
    /// Ticks left.
    pub left: u32,
}

/// One run of a Redis process (its `run_id`); from 1, never repeated.
pub type Run = u32;

/// What a store says of the account's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ownership {
    /// Nobody has it, and nobody's connection can be left over.
    Free,
    /// A replica has it.
    Held(Timed),
    /// Its owner was lost: its connection may live for `left` ticks yet.
    Grace {
        /// Ticks left.
        left: u32,
        /// Whether the store was empty when it was taken into use, so that an
        /// owner may be out there of which it does not know.
        unknown: bool,
    },
}

/// What one run of Redis holds for the account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Store {
    /// Its `run_id`.
    pub run: Run,
    /// The epoch written into it when it was taken into use; 0 when it was not.
    pub epoch: u32,
    /// The counter behind tokens.
    pub number: u32,
    /// The live lease.
    pub lease: Option<Timed>,
    /// Who has the connection.
    pub ownership: Ownership,
}

/// What a process asks of a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Call {
    /// A lease.
    Acquire,
    /// The lease, for another ttl.
    Renew(Token),
    /// The lease is given back.
    Release(Token),
    /// The account's connection.
    Claim {
        /// By the owner of the epoch before, whose connection is up.
        connected: bool,
    },
    /// The claim, for another ttl.
    Keep(Token),
    /// The claim is given back, its connection being closed.
    Disown(Token),
    /// What lease there is.
    Load,
    /// The store is taken into use under the epoch of the message.
    Seed,
}

/// A call on its way to a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// To which run of Redis: a connection leads to one, and ends with it.
    pub run: Run,
    /// The epoch that the sender believes this run to have.
    pub epoch: u32,
    /// What is asked.
    pub call: Call,
}

/// What a store answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Answer {
    /// No.
    Refused,
    /// Done, or nothing to do.
    Done,
    /// The lease is the asker's.
    Leased {
        /// Its token.
        token: Token,
        /// The claim of the connection's owner, who has to hear of the lease
        /// before the asker does. `None` once he has, and when there is none.
        owner: Option<Token>,
    },
    /// The connection is the asker's.
    Owned(Token),
    /// The lease there is.
    Known(Option<Timed>),
}

/// A call that its asker waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Exchange {
    /// What was asked.
    pub message: Message,
    /// What the answer will be worth, in ticks: the ttl, less what has passed
    /// since the call was made.
    pub left: u32,
    /// The store's answer, on its way back.
    pub answer: Option<Answer>,
}

/// A process that works with the account: one of `invite` or `parsing`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Holder {
    /// The lease as its guard sees it.
    pub guard: Option<Timed>,
    /// The call under way.
    pub exchange: Option<Exchange>,
}

/// A connection as Telegram sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Ticks since the last ping.
    pub silent: u32,
    /// Closed by the client; Telegram has not seen it yet.
    pub closing: bool,
    /// The token of the request that was handed over and has not arrived. One
    /// at most: this is what the model promises of a late request.
    pub handed_over: Option<Token>,
}

/// What was checked and is written a moment later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Write {
    /// The first frame of a connection, with a ping that sets its delay.
    Dial,
    /// A ping.
    Ping,
}

/// A process of `integration`.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    /// Its claim of the connection, as it sees it.
    pub owned: Option<Timed>,
    /// The newest lease that it knows of; `left` is 0 when that has ended.
    pub registry: Option<Timed>,
    /// The connection, if there is one.
    pub link: Option<Link>,
    /// A write that was checked, and the ticks since.
    pub pending: Option<(Write, u32)>,
    /// Requests that were checked before their turn, one a token; only of a
    /// mutant.
    pub checked: Vec<Token>,
    /// The call under way.
    pub exchange: Option<Exchange>,
}

/// Everything, for one account.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct State {
    /// In PostgreSQL: the run of Redis recorded for each epoch, the first
    /// epoch being 1.
    pub epochs: Vec<Run>,
    /// The highest run so far.
    pub last_run: Run,
    /// The primary, then one that was deposed and does not know it.
    pub stores: Vec<Store>,
    /// What the primary's replica has received.
    pub copy: Option<Store>,
    /// Who wants the account.
    pub holders: Vec<Holder>,
    /// Who may connect it.
    pub replicas: Vec<Replica>,
    /// Connections whose process is gone, as long as Telegram keeps them.
    pub orphans: Vec<Link>,
    /// Calls that nobody waits for any more, and that may arrive yet.
    pub strays: Vec<Message>,
    /// The highest token that Telegram has seen.
    pub seen: Token,
    /// Whether Telegram has seen a lower token after a higher one.
    pub regressed: bool,
}

impl Ownership {
    pub(crate) fn claim(self) -> Option<Token> {
        match self {
            Self::Held(held) => Some(held.token),
            Self::Free | Self::Grace { .. } => None,
        }
    }
}

impl Replica {
    /// The link while it can be written to.
    pub fn open(&self) -> Option<&Link> {
        self.link.as_ref().filter(|link| !link.closing)
    }

    /// The token of the requests that it would hand over now: that of the
    /// newest lease it knows, while that and its claim last and it is
    /// connected.
    pub fn accepts(&self) -> Option<Token> {
        self.open().and(self.owned).and(self.registry).filter(|lease| lease.left > 0).map(|lease| lease.token)
    }

    /// Hears of a lease. Word of an older one changes nothing.
    pub(crate) fn hear(&mut self, lease: Timed) {
        self.registry = self.registry.max(Some(lease));
    }

    /// Has the connection no longer.
    pub(crate) fn lose_claim(&mut self) {
        self.owned = None;
        self.checked.clear();
    }
}

impl State {
    /// The epoch in PostgreSQL.
    pub fn epoch(&self) -> u32 {
        u32::try_from(self.epochs.len()).unwrap_or(u32::MAX)
    }

    /// The run that was recorded for an epoch.
    pub fn recorded(&self, epoch: u32) -> Option<Run> {
        let at = usize::try_from(epoch.checked_sub(1)?).ok()?;
        self.epochs.get(at).copied()
    }

    /// The store of a run, while it runs.
    pub fn store(&self, run: Run) -> Option<&Store> {
        self.stores.iter().find(|store| store.run == run)
    }

    /// The connections that Telegram sees as live.
    pub fn links(&self) -> impl Iterator<Item = &Link> {
        self.replicas.iter().filter_map(|replica| replica.link.as_ref()).chain(&self.orphans)
    }
}
