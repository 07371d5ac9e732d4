//! The listeners: one per data centre, on loopback and nowhere else.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use super::connection;
use crate::kernel::Kernel;

/// Opens the listener of a data centre; port 0 takes any.
pub(crate) async fn bind(port: u16) -> std::io::Result<(TcpListener, SocketAddrV4)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    let address = SocketAddrV4::new(Ipv4Addr::LOCALHOST, listener.local_addr()?.port());
    Ok((listener, address))
}

/// Accepts connections until shutdown.
pub(crate) async fn accept(kernel: Arc<Kernel>, dc: i32, listener: TcpListener, tasks: TaskTracker) {
    loop {
        let accepted = tokio::select! {
            () = kernel.shutdown.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                tasks.spawn(connection::serve(Arc::clone(&kernel), dc, stream));
            }
            Err(error) => {
                // Out of descriptors, most likely: others have to close first.
                tracing::warn!(dc, %error, "cannot accept a connection");
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
    }
}
