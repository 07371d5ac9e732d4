//! The parsing service in this process, over real gRPC and both databases.

mod calls;
mod engine;
mod support;
