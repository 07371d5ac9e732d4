//! Ends calls at their deadline: the caller's, or the contract's if it is earlier.

use std::time::Duration;

use tgmesh_proto::{ErrorReason, MethodInfo};
use tonic::body::Body;

use super::middleware::{Inner, Middleware, call};

/// By how much this fires before tonic's own timer, which would answer CANCELLED.
const MARGIN: Duration = Duration::from_millis(5);

/// The layer.
#[derive(Debug, Clone)]
pub(crate) struct Deadline;

impl Middleware for Deadline {
    async fn run<S: Inner>(self, request: http::Request<Body>, inner: S) -> http::Response<Body> {
        let method = request.extensions().get::<&'static MethodInfo>().copied();
        let asked = request.headers().get("grpc-timeout").and_then(|header| parse(header.to_str().ok()?));
        let asked = asked.map(|asked| asked.saturating_sub(MARGIN));
        let allowed = method.and_then(|method| method.deadline);
        let Some(limit) = asked.into_iter().chain(allowed).min() else {
            return call(inner, request).await;
        };
        match tokio::time::timeout(limit, call(inner, request)).await {
            Ok(response) => response,
            Err(_) => tgmesh_proto::status::status(
                ErrorReason::DeadlineExceeded,
                format!("the call took longer than {} ms", limit.as_millis()),
            )
            .build()
            .into_http(),
        }
    }
}

/// Reads a `grpc-timeout` header: up to eight digits and a unit.
fn parse(header: &str) -> Option<Duration> {
    let (value, unit) = header.split_at_checked(header.len().checked_sub(1)?)?;
    if value.is_empty() || value.len() > 8 {
        return None;
    }
    let value: u64 = value.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(value * 3_600),
        "M" => Duration::from_secs(value * 60),
        "S" => Duration::from_secs(value),
        "m" => Duration::from_millis(value),
        "u" => Duration::from_micros(value),
        "n" => Duration::from_nanos(value),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_unit() {
        for (header, expected) in [
            ("1H", Some(Duration::from_secs(3_600))),
            ("2M", Some(Duration::from_secs(120))),
            ("3S", Some(Duration::from_secs(3))),
            ("250m", Some(Duration::from_millis(250))),
            ("5u", Some(Duration::from_micros(5))),
            ("7n", Some(Duration::from_nanos(7))),
            ("", None),
            ("S", None),
            ("123456789S", None),
            ("1x", None),
            ("-1S", None),
        ] {
            assert_eq!(parse(header), expected, "{header}");
        }
    }
}
