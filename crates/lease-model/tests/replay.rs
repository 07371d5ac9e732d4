//! Histories that are told to the model: it follows a good one to its end, and
//! says where a bad one went wrong.

use lease_model::Process::{Holder, Replica};
use lease_model::{
    Answer, CONN_1, Call, Config, Event, LEASE_1, LEASE_2, Model, Mutant, Process, Rejected, State, Timed, Token,
    Verdict, Write,
};

const MODEL: Model =
    Model { config: Config { lease_ttl: 3, claim_ttl: 3, disconnect_delay: 2, grace: 2, slip: 0, mutant: None } };

const fn token(number: u32) -> Token {
    Token { epoch: 1, number }
}

fn asked(by: Process, call: Call, answer: Answer) -> [Event; 2] {
    [Event::Ask { by, run: 1, epoch: 1, call }, Event::Execute { by, answer }]
}

fn answered(by: Process, call: Call, answer: Answer) -> Vec<Event> {
    [&asked(by, call, answer)[..], &[Event::Receive { by }]].concat()
}

fn written(replica: usize, write: Write) -> [Event; 2] {
    [Event::Decide { replica, write }, Event::Written { replica }]
}

fn leased(holder: usize, number: u32, owner: u32) -> Vec<Event> {
    let answer = Answer::Leased { token: token(number), owner: Some(token(owner)) };
    let told = [Event::Register { holder }, Event::Receive { by: Holder(holder) }];
    [&asked(Holder(holder), Call::Acquire, answer)[..], &told].concat()
}

fn sent(replica: usize, number: u32) -> [Event; 2] {
    [Event::HandOver { replica, token: token(number) }, Event::Arrive { replica, token: token(number) }]
}

/// One holder after another, then a clean hand-over to another replica, which
/// looks up the lease that there is.
fn good() -> Vec<Event> {
    let known = Answer::Known(Some(Timed { token: token(3), left: 3 }));
    [
        &answered(Replica(0), Call::Claim { connected: false }, Answer::Owned(token(1)))[..],
        &written(0, Write::Dial),
        &leased(0, 2, 1),
        &sent(0, 2),
        &[Event::Tick],
        &answered(Replica(0), Call::Keep(token(1)), Answer::Owned(token(1))),
        &written(0, Write::Ping),
        &answered(Holder(0), Call::Release(token(2)), Answer::Done),
        &leased(1, 3, 1),
        &sent(0, 3),
        &[Event::Close { replica: 0 }, Event::Closed { replica: 0 }],
        &answered(Replica(0), Call::Disown(token(1)), Answer::Done),
        &answered(Replica(1), Call::Claim { connected: false }, Answer::Owned(token(4))),
        &answered(Replica(1), Call::Load, known),
        &written(1, Write::Dial),
        &sent(1, 3),
    ]
    .concat()
}

fn replay(history: &[Event]) -> Result<State, Verdict> {
    MODEL.replay(MODEL.start(2, 2), history.iter().copied())
}

#[test]
fn a_good_history_is_accepted() {
    let end = replay(&good()).expect("it is what the design does");
    assert_eq!(end.seen, token(3));
    assert_eq!(end.links().count(), 1);
}

#[test]
fn a_history_with_another_result_is_rejected_where_it_differs() {
    let mut history = good();
    let at = history
        .iter()
        .position(|event| matches!(event, Event::Execute { by: Holder(1), .. }))
        .expect("the second holder got a lease");
    // The store forgot that the first holder gave his back, and gave the same token again.
    let again = Answer::Leased { token: token(2), owner: Some(token(1)) };
    let rather = Answer::Leased { token: token(3), owner: Some(token(1)) };
    history[at] = Event::Execute { by: Holder(1), answer: again };
    assert_eq!(replay(&history), Err(Verdict::Rejected(at, Rejected::OtherResult(rather))));
}

#[test]
fn a_second_lease_while_the_first_lasts_is_rejected() {
    let [first, second] = [1, 2].map(|number| Answer::Leased { token: token(number), owner: None });
    let history =
        [answered(Holder(0), Call::Acquire, first), asked(Holder(1), Call::Acquire, second).to_vec()].concat();
    assert_eq!(replay(&history), Err(Verdict::Rejected(4, Rejected::OtherResult(Answer::Refused))));
}

#[test]
fn a_request_of_an_ended_lease_is_rejected() {
    let mut history = good();
    let stale = history.len();
    history.push(Event::HandOver { replica: 1, token: token(2) });
    assert_eq!(replay(&history), Err(Verdict::Rejected(stale, Rejected::Stale)));
    history.truncate(stale);
    history.extend([Event::Tick; 3]);
    history.push(Event::HandOver { replica: 1, token: token(3) });
    assert_eq!(replay(&history), Err(Verdict::Rejected(stale + 3, Rejected::Stale)));
}

#[test]
fn a_connection_in_the_grace_is_rejected() {
    let history = [
        &answered(Replica(0), Call::Claim { connected: false }, Answer::Owned(token(1)))[..],
        &written(0, Write::Dial),
        &[Event::Tick; 3],
        &answered(Replica(1), Call::Claim { connected: false }, Answer::Owned(token(2))),
    ]
    .concat();
    assert_eq!(replay(&history), Err(Verdict::Rejected(history.len() - 2, Rejected::OtherResult(Answer::Refused))));
}

#[test]
fn what_only_a_broken_system_does_is_named_by_its_invariant() {
    let model = Model { config: Config { mutant: Some(Mutant::NoGrace), ..MODEL.config } };
    let history = [
        &answered(Replica(0), Call::Claim { connected: false }, Answer::Owned(token(1)))[..],
        &[Event::Tick; 2],
        &written(0, Write::Dial),
        &[Event::Tick],
        &answered(Replica(1), Call::Claim { connected: false }, Answer::Owned(token(2))),
        &written(1, Write::Dial),
    ]
    .concat();
    let verdict = model.replay(model.start(0, 2), history.iter().copied());
    assert_eq!(verdict, Err(Verdict::Broken(history.len() - 1, CONN_1)));
}

#[test]
fn invariants_have_the_names_that_everybody_uses() {
    let document = include_str!("../../../docs/invariants.md");
    for name in [LEASE_1, LEASE_2, CONN_1] {
        assert!(document.contains(&format!("| `{name}` |")), "{name} is in no registry");
    }
}
