//! What a store does with a call: the scripts.

use crate::config::{Config, Mutant};
use crate::state::{Answer, Call, Message, Ownership, Run, Store, Timed, Token};

impl Store {
    /// One that nobody has used yet.
    pub(crate) fn blank(config: &Config, run: Run) -> Self {
        let epoch = u32::from(config.is(Mutant::EpochIgnored));
        Self { run, epoch, number: 0, lease: None, ownership: Ownership::Free }
    }

    /// Whether it would let this token's lease be renewed.
    pub(crate) fn holds(&self, config: &Config, token: Token) -> bool {
        self.lease.is_some_and(|lease| lease.token == token || config.is(Mutant::RenewWithoutToken))
    }

    /// Runs a script.
    pub(crate) fn execute(&mut self, config: &Config, message: &Message) -> Answer {
        if message.call == Call::Seed {
            return self.seed(config, message.epoch);
        }
        if self.epoch != message.epoch {
            return Answer::Refused;
        }
        match message.call {
            Call::Acquire if self.lease.is_none() => {
                let token = self.next();
                self.lease = Some(Timed { token, left: config.lease_ttl });
                Answer::Leased { token, owner: self.ownership.claim() }
            }
            Call::Renew(token) if self.holds(config, token) => {
                if let Some(lease) = &mut self.lease {
                    lease.left = config.lease_ttl;
                }
                Answer::Leased { token, owner: self.ownership.claim() }
            }
            Call::Release(token) => {
                self.lease = self.lease.filter(|lease| lease.token != token);
                Answer::Done
            }
            Call::Claim { connected } if self.may_be_claimed(connected) => {
                let token = self.next();
                self.ownership = Ownership::Held(Timed { token, left: config.claim_ttl });
                Answer::Owned(token)
            }
            Call::Keep(token) if self.ownership.claim() == Some(token) => {
                self.ownership = Ownership::Held(Timed { token, left: config.claim_ttl });
                Answer::Owned(token)
            }
            Call::Disown(token) => {
                if self.ownership.claim() == Some(token) {
                    self.ownership = Ownership::Free;
                }
                Answer::Done
            }
            Call::Load => Answer::Known(self.lease),
            Call::Acquire | Call::Renew(_) | Call::Claim { .. } | Call::Keep(_) | Call::Seed => Answer::Refused,
        }
    }

    /// Nothing that it holds is believed: it may be old. Whoever owned the
    /// connection until now may have renewed his claim just before the epoch
    /// changed, so it is treated as lost at the end of that.
    fn seed(&mut self, config: &Config, epoch: u32) -> Answer {
        if self.epoch < epoch {
            let grace = Ownership::Grace { left: config.claim_ttl + config.grace, unknown: true };
            let ownership = if config.is(Mutant::NoGraceAfterStoreLoss) { Ownership::Free } else { grace };
            *self = Self { epoch, number: 0, lease: None, ownership, run: self.run };
        }
        Answer::Done
    }

    fn next(&mut self) -> Token {
        self.number += 1;
        Token { epoch: self.epoch, number: self.number }
    }

    fn may_be_claimed(&self, connected: bool) -> bool {
        match self.ownership {
            Ownership::Free => true,
            Ownership::Grace { unknown, .. } => unknown && connected,
            Ownership::Held(_) => false,
        }
    }

    pub(crate) fn tick(&mut self, config: &Config) {
        self.lease = self.lease.and_then(Timed::tick);
        self.ownership = match self.ownership {
            Ownership::Free => Ownership::Free,
            Ownership::Held(held) => match held.tick() {
                Some(held) => Ownership::Held(held),
                None if config.grace == 0 || config.is(Mutant::NoGrace) => Ownership::Free,
                None => Ownership::Grace { left: config.grace, unknown: false },
            },
            Ownership::Grace { left: 0 | 1, .. } => Ownership::Free,
            Ownership::Grace { left, unknown } => Ownership::Grace { left: left - 1, unknown },
        };
    }
}

impl Timed {
    /// A tick later; `None` when it is over.
    pub(crate) fn tick(self) -> Option<Self> {
        (self.left > 1).then(|| Self { left: self.left - 1, ..self })
    }
}
