//! `tgmesh token`: lets any other client make calls.

use clap::Args;
use service_kit::client::TokenSource as _;

use super::client::{Caller, local_tokens};
use super::output::print_line;
use super::{Context, Done, Failure};
use crate::config::Profile;

/// Arguments of `token`.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    #[command(flatten)]
    caller: Caller,
}

/// Prints a fresh token.
pub(crate) fn print(context: &Context, args: &TokenArgs) -> Done {
    if context.config.profile != Profile::Embedded {
        return Err(Failure::forbidden("only the embedded profile has a user of its own")
            .advice("elsewhere tokens come from whoever runs the deployment"));
    }
    let token = local_tokens(context, &args.caller)?.token();
    print_line(&if context.json { serde_json::json!({ "token": token }).to_string() } else { token });
    Ok(())
}
