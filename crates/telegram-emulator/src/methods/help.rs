//! `help.*`

use grammers_tl_types::{enums, functions as f, types as t};

use super::tl::{NO_FLAGS, blank, part};
use super::{Answer, Context, Method, ok};

impl Method for f::help::GetConfig {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        Ok(grammers_tl_types::Serializable::to_bytes(&config(context)))
    }
}

/// Clients take the addresses for migrations from here, so every data centre is listed, by loopback address only.
fn config(context: &Context<'_>) -> enums::Config {
    let dc_options: Vec<enums::DcOption> = context
        .dcs
        .iter()
        .map(|(id, address)| {
            let port = i32::from(address.port());
            let base: t::DcOption =
                blank(&[NO_FLAGS, &id.to_le_bytes(), &part(address.ip().to_string()), &port.to_le_bytes()]);
            t::DcOption { r#static: true, ..base }.into()
        })
        .collect();
    let base: t::Config = blank(&[
        NO_FLAGS,
        &context.now.to_le_bytes(),
        &context.now.saturating_add(3600).to_le_bytes(),
        &part(false),
        &context.origin.dc.to_le_bytes(),
        &part(dc_options),
    ]);
    t::Config {
        chat_size_max: 200,
        megagroup_size_max: 200_000,
        forwarded_count_max: 100,
        caption_length_max: 1024,
        message_length_max: i32::try_from(super::messages::MAX_TEXT).unwrap_or(i32::MAX),
        online_update_period_ms: 210_000,
        ..base
    }
    .into()
}

impl Method for f::help::GetNearestDc {
    const NEEDS_LOGIN: bool = false;

    fn run(self, context: &mut Context<'_>) -> Answer {
        let dc = context.origin.dc;
        ok(enums::NearestDc::Dc(t::NearestDc { country: "DE".into(), this_dc: dc, nearest_dc: dc }))
    }
}

impl Method for f::help::GetAppConfig {
    /// Says of what it says on Telegram only since when the account is frozen
    /// (<https://core.telegram.org/api/auth#frozen-accounts>).
    fn run(self, context: &mut Context<'_>) -> Answer {
        let me = context.me()?;
        let frozen = context.world.account(me).is_some_and(|account| account.frozen);
        let since = frozen.then(|| {
            let value = t::JsonNumber { value: f64::from(context.now) }.into();
            t::JsonObjectValue { key: "freeze_since_date".into(), value }.into()
        });
        let config = t::JsonObject { value: since.into_iter().collect() }.into();
        ok(enums::help::AppConfig::Config(t::help::AppConfig { hash: 0, config }))
    }
}
