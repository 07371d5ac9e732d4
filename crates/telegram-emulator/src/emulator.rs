//! Starting and stopping.

use std::collections::BTreeMap;
use std::net::{SocketAddr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;

use tokio_util::task::TaskTracker;

use crate::clock::{Clock, TimeSource, system_time_source};
use crate::control;
use crate::handle::Handle;
use crate::kernel::{Kernel, State};
use crate::keys::Keys;
use crate::recorder::{Recorder, RecorderLimits};
use crate::scenario::{Scenario, ScenarioError};
use crate::wire::request::LAYERS;
use crate::wire::rsa::RsaKey;
use crate::wire::server;

/// How to start an emulator.
#[derive(Clone)]
pub struct EmulatorConfig {
    /// The world.
    pub scenario: Scenario,
    /// Port of each data centre; 0, and any that is not listed, takes a free one.
    pub dc_ports: BTreeMap<i32, u16>,
    /// Where to serve the control API; nowhere when `None`. Only loopback addresses are taken.
    pub control: Option<SocketAddr>,
    /// A key seen on two live connections dies, as with Telegram.
    pub strict: bool,
    /// Where the time comes from.
    pub time: TimeSource,
    /// Seconds of emulated time per real second. Must fit `time`; it decides how soon a silent connection is closed.
    pub time_factor: f64,
    /// In place of the scenario's seed.
    pub seed: Option<u64>,
    /// How much the flight recorder keeps.
    pub recorder: RecorderLimits,
}

impl EmulatorConfig {
    /// A configuration with free ports, the system's time, and without strict mode or control API.
    pub fn new(scenario: Scenario) -> Self {
        Self {
            scenario,
            dc_ports: BTreeMap::new(),
            control: None,
            strict: false,
            time: system_time_source(),
            time_factor: 1.0,
            seed: None,
            recorder: RecorderLimits::default(),
        }
    }
}

impl std::fmt::Debug for EmulatorConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EmulatorConfig")
            .field("dc_ports", &self.dc_ports)
            .field("control", &self.control)
            .field("strict", &self.strict)
            .field("time_factor", &self.time_factor)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Why an emulator could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The scenario is at fault.
    #[error(transparent)]
    Scenario(#[from] ScenarioError),
    /// A port cannot be listened on.
    #[error("cannot listen on loopback port {port} for {what}: {source}")]
    Bind {
        /// The port asked for.
        port: u16,
        /// What it was for.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The control API has no notion of identity, so nobody else may reach it.
    #[error("the control API is for loopback only, not for {0}")]
    ControlNotLoopback(SocketAddr),
    /// The control API cannot describe itself.
    #[error("the control API cannot describe itself: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The info file cannot be written.
    #[error("cannot write the info file {path}: {source}")]
    InfoFile {
        /// The file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// Address of a data centre.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DcAddress {
    /// Its number.
    pub id: i32,
    /// Always on loopback.
    pub address: SocketAddrV4,
}

/// What a client has to know.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Info {
    /// Data centres, by ascending number. The first one is where clients without a home should begin.
    pub dcs: Vec<DcAddress>,
    /// Modulus of the RSA key, in decimal.
    pub rsa_modulus: String,
    /// Public exponent of the RSA key.
    pub rsa_exponent: u32,
    /// Fingerprint of the RSA key.
    pub rsa_fingerprint: i64,
    /// Address of the control API.
    pub control: Option<SocketAddr>,
    /// Lowest layer that is spoken.
    pub layer_min: i32,
    /// Highest layer that is spoken.
    pub layer_max: i32,
}

impl Info {
    /// Writes the info as JSON, completely or not at all.
    pub fn write_file(&self, path: &Path) -> Result<(), StartError> {
        let failed = |source| StartError::InfoFile { path: path.display().to_string(), source };
        let text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        let temporary = path.with_extension("tmp");
        std::fs::write(&temporary, text).map_err(failed)?;
        std::fs::rename(&temporary, path).map_err(failed)
    }
}

/// A running emulator. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Emulator {
    handle: Handle,
    info: Info,
    tasks: TaskTracker,
}

impl Emulator {
    /// Builds the world and starts to listen.
    pub async fn start(config: EmulatorConfig) -> Result<Self, StartError> {
        let clock = Clock::new(config.time, config.time_factor);
        let (scenario, now, seed) = (config.scenario, clock.unix(), config.seed);
        let dc_ids = scenario.dc_ids();
        let seed_of_keys = seed.unwrap_or(scenario.seed);
        // Large worlds take seconds, which the runtime's threads must not.
        let built = tokio::task::spawn_blocking(move || scenario.build(now, seed)).await;
        let (world, faults) = built.map_err(|error| ScenarioError::Inconsistent(vec![error.to_string()]))??;

        let (mut listeners, mut dcs) = (Vec::new(), Vec::new());
        for id in dc_ids {
            let port = config.dc_ports.get(&id).copied().unwrap_or(0);
            let what = format!("data centre {id}");
            let (listener, address) =
                server::bind(port).await.map_err(|source| StartError::Bind { port, what, source })?;
            listeners.push((id, listener));
            dcs.push((id, address));
        }
        let state = State { world, keys: Keys::new(seed_of_keys) };
        let kernel = Arc::new(Kernel::new(clock, dcs.clone(), config.strict, state, Recorder::new(config.recorder)));
        for fault in faults {
            kernel.faults.inject(fault);
        }
        let tasks = TaskTracker::new();
        for (id, listener) in listeners {
            tasks.spawn(server::accept(Arc::clone(&kernel), id, listener, tasks.clone()));
        }
        let key = RsaKey::emulator();
        let mut info = Info {
            dcs: dcs.into_iter().map(|(id, address)| DcAddress { id, address }).collect(),
            rsa_modulus: key.modulus_decimal(),
            rsa_exponent: key.public_exponent(),
            rsa_fingerprint: key.fingerprint(),
            control: None,
            layer_min: *LAYERS.start(),
            layer_max: *LAYERS.end(),
        };
        let handle = Handle::new(kernel);
        if let Some(address) = config.control {
            info.control = Some(control::serve(&handle, &info, address, &tasks).await?);
        }
        tracing::info!(dcs = ?info.dcs, control = ?info.control, strict = config.strict, "the emulator is up");
        Ok(Self { handle, info, tasks })
    }

    /// What a client has to know.
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// Writes [`Self::info`] as JSON.
    pub fn write_info_file(&self, path: &Path) -> Result<(), StartError> {
        self.info.write_file(path)
    }

    /// The typed control of this emulator; cheap to clone.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Closes every connection and waits for all tasks.
    pub async fn shutdown(self) {
        self.handle.kernel().shutdown.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.handle.kernel().shutdown.cancel();
    }
}
