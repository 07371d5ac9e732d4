//! What a method works with.

use std::net::SocketAddrV4;

use grammers_tl_types::{enums, types as t};

use super::events::Event;
use super::view::View;
use crate::error::RpcError;
use crate::kernel::{Kernel, Origin, State};
use crate::keys::{KeyRecord, Keys};
use crate::recorder::Effect;
use crate::world::World;

/// One call's view of the emulator, and what it has done so far.
pub(crate) struct Context<'a> {
    pub(crate) world: &'a mut World,
    pub(crate) keys: &'a mut Keys,
    pub(crate) dcs: &'a [(i32, SocketAddrV4)],
    pub(crate) origin: Origin,
    /// Seconds since the epoch.
    pub(crate) now: i32,
    pub(crate) time: std::time::SystemTime,
    /// The account of the calling key.
    pub(crate) account: Option<i64>,
    pub(crate) effects: Vec<Effect>,
    pub(crate) events: Vec<Event>,
}

impl<'a> Context<'a> {
    pub(crate) fn new(kernel: &'a Kernel, state: &'a mut State, origin: Origin) -> Self {
        let account = state.keys.get(origin.key).and_then(|record| record.user);
        Self {
            world: &mut state.world,
            keys: &mut state.keys,
            dcs: &kernel.dcs,
            origin,
            now: kernel.clock.unix(),
            time: kernel.clock.now(),
            account,
            effects: Vec::new(),
            events: Vec::new(),
        }
    }

    /// The calling account.
    pub(super) fn me(&self) -> Result<i64, RpcError> {
        self.account.ok_or(RpcError::AUTH_KEY_UNREGISTERED)
    }

    /// The record of the calling key.
    pub(super) fn key(&mut self) -> Result<&mut KeyRecord, RpcError> {
        self.keys.get_mut(self.origin.key).ok_or(RpcError::AUTH_KEY_UNREGISTERED)
    }

    /// The world as the caller sees it; before a login, as nobody in particular.
    pub(super) fn view(&self) -> View<'_> {
        View { world: self.world, viewer: self.account.unwrap_or(0), now: self.now }
    }

    /// Logs the calling key in.
    pub(super) fn sign_in(&mut self, user: i64) -> enums::auth::Authorization {
        self.keys.sign_in(self.origin.key, user);
        self.account = Some(user);
        self.effects.push(Effect::SignedIn { user });
        self.authorization(user)
    }

    pub(super) fn authorization(&self, user: i64) -> enums::auth::Authorization {
        let view = View { world: self.world, viewer: user, now: self.now };
        t::auth::Authorization {
            setup_password_required: false,
            otherwise_relogin_days: None,
            tmp_sessions: None,
            future_auth_token: None,
            user: view.user(user),
        }
        .into()
    }
}
