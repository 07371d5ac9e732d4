//! The control API: `tgmesh.emulator.v1.EmulatorService`, a thin layer on [`Handle`].
//!
//! It has no notion of identity, so it is served on loopback addresses only.

mod convert;
mod service;

use std::net::SocketAddr;

use tgmesh_proto::emulator::v1::emulator_service_server::EmulatorServiceServer;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::task::TaskTracker;
use tonic::server::NamedService as _;
use tonic::transport::Server;

use crate::emulator::{Info, StartError};
use crate::handle::Handle;

fn reflection() -> tonic_reflection::server::Builder<'static> {
    tonic_reflection::server::Builder::configure()
        .register_encoded_file_descriptor_set(tgmesh_proto::FILE_DESCRIPTOR_SET)
        .with_service_name(EmulatorServiceServer::<service::Service>::NAME)
}

/// Serves the control API until shutdown; answers the address that it got.
pub(crate) async fn serve(
    handle: &Handle,
    info: &Info,
    address: SocketAddr,
    tasks: &TaskTracker,
) -> Result<SocketAddr, StartError> {
    if !address.ip().is_loopback() {
        return Err(StartError::ControlNotLoopback(address));
    }
    let bind = |source| StartError::Bind { port: address.port(), what: "the control API".into(), source };
    let listener = TcpListener::bind(address).await.map_err(bind)?;
    let bound = listener.local_addr().map_err(bind)?;
    let shutdown = handle.kernel().shutdown.clone();
    let service = service::Service::new(handle.clone(), info.clone());
    // Old tools ask the v1alpha interface, new ones v1.
    let server = Server::builder()
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?)
        .add_service(EmulatorServiceServer::new(service));
    tasks.spawn(async move {
        let incoming = TcpListenerStream::new(listener);
        // Streams that wait for news end by themselves on shutdown; others are short.
        let served = server.serve_with_incoming_shutdown(incoming, shutdown.cancelled_owned()).await;
        if let Err(error) = served {
            tracing::error!(%error, "the control API ended");
        }
    });
    Ok(bound)
}
