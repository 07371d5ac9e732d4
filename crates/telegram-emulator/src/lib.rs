//! An emulator of Telegram's servers for tests and demonstrations: MTProto 2.0 on loopback TCP, a made-up world
//! behind it, faults on demand, and a flight recorder that remembers what every account did.
//!
//! Start one with [`Emulator::start`]; the [`Handle`] it gives out has every ability of the control API. The
//! README beside this crate describes scenarios, faults and the exact rules of strict mode.

mod clock;
mod control;
mod emulator;
mod error;
mod faults;
mod handle;
mod kernel;
mod keys;
mod methods;
mod recorder;
pub mod scenario;
mod wire;
mod world;

pub use clock::{TimeSource, system_time_source};
pub use emulator::{DcAddress, Emulator, EmulatorConfig, Info, StartError};
pub use error::RpcError;
pub use faults::{ActiveFault, Fault, FaultFilter, FaultKind, Hold, HoldPoint, Release};
pub use handle::{
    ChatFacts, ChatRules, ControlError, Handle, MemberFacts, NewUser, Post, SentCode, SessionFormat, UserFacts,
};
pub use recorder::{
    Call, CallFilter, CallState, ConnectionEnd, ConnectionRecord, Effect, Overlap, RecorderLimits, Subject, Summary,
};
pub use scenario::{Scenario, ScenarioError};
pub use world::{
    AdminRights, BannedRights, ChatKind, InvitePrivacy, LastSeen, LoginDemand, MediaKind, MessagePrivacy, Standing,
};
