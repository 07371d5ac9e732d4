//! Which Telegram the integration service talks to.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, ensure};
use service_kit::SharedClock;
use telegram_emulator::{Emulator, EmulatorConfig, Info, Scenario};
use tgmesh_integration::TelegramNetwork;
use tgmesh_integration::connections::config::RsaKey;

use crate::config::Config;

/// The world of the demo.
pub const DEMO: &str = include_str!("../../telegram-emulator/scenarios/demo.toml");

/// An emulator as the network to use.
///
/// # Errors
/// When it has no data centre.
pub fn of_emulator(info: &Info) -> anyhow::Result<TelegramNetwork> {
    let first = info.dcs.first().context("the emulator has no data centre")?;
    Ok(TelegramNetwork {
        // The emulator takes any application.
        api_id: 1,
        api_hash: "emulator".to_owned().into(),
        data_centres: info.dcs.iter().map(|dc| (dc.id.to_string(), SocketAddr::V4(dc.address))).collect(),
        default_data_centre: first.id,
        rsa_keys: vec![RsaKey { modulus: info.rsa_modulus.clone(), exponent: info.rsa_exponent.to_string() }],
    })
}

/// What the configuration says: Telegram, or an emulator that runs elsewhere.
/// `None` when an emulator is to be started.
///
/// # Errors
/// When what it says cannot be used.
pub fn configured(config: &Config) -> anyhow::Result<Option<TelegramNetwork>> {
    let telegram = &config.telegram;
    if !telegram.emulator_info.as_os_str().is_empty() {
        return read_info(&telegram.emulator_info).and_then(|info| of_emulator(&info)).map(Some);
    }
    if telegram.api_id == 0 {
        return Ok(None);
    }
    ensure!(!telegram.data_centres.is_empty(), "telegram.data_centres is empty: no data centre may be contacted");
    Ok(Some(TelegramNetwork {
        api_id: telegram.api_id,
        api_hash: telegram.api_hash.clone(),
        data_centres: telegram.data_centres.clone(),
        default_data_centre: telegram.default_data_centre,
        rsa_keys: telegram.rsa_keys.clone(),
    }))
}

/// Reads what an emulator wrote about itself.
///
/// # Errors
/// When it cannot be read.
pub fn read_info(file: &Path) -> anyhow::Result<Info> {
    let text =
        std::fs::read(file).with_context(|| format!("the emulator's info file {} cannot be read", file.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} is no info file of an emulator", file.display()))
}

/// Starts the embedded profile's emulator. It shares the process's clock.
///
/// # Errors
/// When the scenario is at fault, or a port is taken.
pub async fn start_emulator(config: &Config, clock: &SharedClock) -> anyhow::Result<Emulator> {
    let scenario = if config.emulator.scenario.as_os_str().is_empty() {
        Scenario::parse(DEMO)?
    } else {
        Scenario::load(&config.emulator.scenario)?
    };
    let clock = clock.clone();
    let start = EmulatorConfig {
        control: Some(config.emulator.control),
        strict: config.emulator.strict,
        time: std::sync::Arc::new(move || clock.now().to_system()),
        ..EmulatorConfig::new(scenario)
    };
    Ok(Emulator::start(start).await?)
}
