//! Clients of the public contracts: where the services are, and who calls.

use super::Context;
use super::serve::read_ready;

/// Where a service is: what was asked for, else where a running process says it
/// is, else where the configuration expects it.
pub(crate) fn resolve(context: &Context, asked: Option<&str>, service: &str) -> String {
    let config = &context.config;
    let found = || {
        let served = read_ready(&config.data_dir)?;
        served.services.get(service).map(ToString::to_string)
    };
    let configured = || match service {
        "parsing" => config.addresses.parsing.clone(),
        "invite" => config.addresses.invite.clone(),
        _ => config.addresses.integration.clone(),
    };
    let address = asked.map(str::to_owned).or_else(found).unwrap_or_else(configured);
    if address.contains("://") { address } else { format!("http://{address}") }
}
