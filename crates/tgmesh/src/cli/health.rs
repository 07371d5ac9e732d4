//! Asks a running service whether it is healthy: for containers and scripts.

use std::time::Duration;

use clap::Args;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::{Context, Done, Failure};
use crate::launch::SERVICES;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// Arguments of `healthcheck`.
#[derive(Debug, Args)]
pub(crate) struct HealthcheckArgs {
    /// What is asked about: integration, invite or parsing; "ready"; or any name that the health service knows, ""
    /// being the process itself.
    #[arg(long, default_value = "ready")]
    service: String,
    /// Where it is asked; the service's own address when left out.
    #[arg(long, value_name = "ADDRESS")]
    address: Option<String>,
}

/// Asks once.
pub(crate) async fn check(context: &Context, args: HealthcheckArgs) -> Done {
    let short = SERVICES.contains(&args.service.as_str());
    let address = super::client::resolve(
        &context.config,
        args.address.as_deref(),
        if short { &args.service } else { "integration" },
    );
    let asked = if short { full_name(&args.service) } else { &args.service };
    let channel = service_kit::client::bare_channel(&address)?;
    let request = HealthCheckRequest { service: asked.to_owned() };
    let mut client = HealthClient::new(channel);
    let answer = tokio::time::timeout(PATIENCE, client.check(request)).await;
    let status = match answer {
        Ok(Ok(answer)) => ServingStatus::try_from(answer.into_inner().status).unwrap_or(ServingStatus::Unknown),
        Ok(Err(status)) if status.code() == tonic::Code::NotFound => ServingStatus::ServiceUnknown,
        Ok(Err(status)) => {
            return Err(Failure::new(format!("no health can be had at {address}: {}", super::failure::cause(&status))));
        }
        Err(_) => return Err(Failure::new(format!("no answer at {address} within {} s", PATIENCE.as_secs()))),
    };
    if context.json {
        let answer = serde_json::json!({ "address": address, "service": asked, "status": status.as_str_name() });
        super::output::print_line(&answer.to_string());
    }
    let what = if asked.is_empty() { "the process" } else { asked };
    match status {
        ServingStatus::Serving => {
            if !context.json {
                super::output::print_line(&format!("{what} at {address} is serving"));
            }
            Ok(())
        }
        ServingStatus::ServiceUnknown => Err(Failure::new(format!("{address} serves nothing called {asked}"))),
        _ => Err(Failure::new(format!("{what} at {address} is not serving"))
            .advice("its log, or /readyz on its admin port, names the dependency that fails")),
    }
}

fn full_name(service: &str) -> &'static str {
    match service {
        "invite" => "tgmesh.invite.v1.InviteService",
        "parsing" => "tgmesh.parsing.v1.ParsingService",
        _ => "tgmesh.integration.v1.IntegrationService",
    }
}
