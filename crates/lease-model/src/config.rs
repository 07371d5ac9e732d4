//! How long things last, and what is broken on purpose.

/// Times in ticks. A tick is as long as the reader likes; all clocks run at the
/// same rate (real ones differ, which is what margins are for).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Config {
    /// Of a lease; at least 1.
    pub lease_ttl: u32,
    /// Of a claim of the connection; at least 1.
    pub claim_ttl: u32,
    /// After how many ticks without a ping Telegram closes a connection; at
    /// least 1.
    pub disconnect_delay: u32,
    /// For how long after a claim has run out nobody may claim. What it has to
    /// be is [`Config::least_grace`].
    pub grace: u32,
    /// For how long a process may be stopped exactly between the check of its
    /// claim and the write of a ping or of a connection's first frame. Anywhere
    /// else it may be stopped for ever.
    pub slip: u32,
    /// What is broken.
    pub mutant: Option<Mutant>,
}

/// A rule left out, each of which the checker has to notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mutant {
    /// A lease is renewed for whoever asks.
    RenewWithoutToken,
    /// A claim that has run out can be claimed at once.
    NoGrace,
    /// A store that was just taken into use can be claimed at once.
    NoGraceAfterStoreLoss,
    /// Nobody looks whether Redis is another one than it was.
    EpochIgnored,
    /// A claim is renewed in a store that PostgreSQL no longer names.
    DeposedStoreBelieved,
    /// A request is checked first, and handed over later without a look.
    CheckedApart,
    /// An owner goes on pinging when its claim has run out.
    NoSelfFence,
    /// A claim is given back while its connection is still closing.
    DisownBeforeClosed,
    /// What was asked for lasts from its answer, not from the question.
    DeadlineFromAnswer,
    /// A holder gets its lease before the connection's owner knows of it.
    AnswerBeforeRegistration,
    /// A new owner starts with what it knew of leases as an owner before.
    RegistryKept,
}

impl Config {
    /// The least grace for which CONN-1 holds, in ticks. Two things set it:
    ///
    /// - The last ping of a lost owner arrives at most `slip` after the last
    ///   tick of its claim, and its connection lives for the server's delay
    ///   from then on.
    /// - A claim that was asked for before the epoch changed may be executed by
    ///   a deposed store once the record there is free. By then it has to have
    ///   run out by its asker's clock.
    ///
    /// Both less one, since a claim's last tick is one before its end.
    pub fn least_grace(&self) -> u32 {
        (self.disconnect_delay + self.slip).max(self.claim_ttl) - 1
    }

    pub(crate) fn is(&self, mutant: Mutant) -> bool {
        self.mutant == Some(mutant)
    }
}
