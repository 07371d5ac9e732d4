//! Calls of any method by its descriptor, with any bytes and any token.

use std::collections::BTreeMap;

use anyhow::Context as _;
use bytes::{Buf as _, BufMut as _, Bytes};
use http::uri::PathAndQuery;
use prost_reflect::MethodDescriptor;
use tgmesh_proto::ErrorReason;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::{Request, Status};

use super::{PATIENCE, World, path};

/// How much of the answer is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Read {
    /// All of it.
    All,
    /// Its first message, or its end.
    First,
    /// That there will be one.
    Begin,
}

/// How much to read of a method's answer unless there is a reason for more: streams may never end.
pub fn enough(method: &MethodDescriptor) -> Read {
    if method.is_server_streaming() { Read::First } else { Read::All }
}

impl World {
    /// Makes a call: sends these messages, returns those of the answer.
    pub async fn call(
        &self,
        method: &MethodDescriptor,
        requests: Vec<Vec<u8>>,
        token: Option<&str>,
        read: Read,
    ) -> Result<Vec<Bytes>, Status> {
        let call = self.calling(method, requests, token, read);
        match tokio::time::timeout(PATIENCE, call).await {
            Ok(answer) => answer,
            Err(_) => panic!("{} did not answer", path(method)),
        }
    }

    async fn calling(
        &self,
        method: &MethodDescriptor,
        requests: Vec<Vec<u8>>,
        token: Option<&str>,
        read: Read,
    ) -> Result<Vec<Bytes>, Status> {
        let mut client = tonic::client::Grpc::new(self.channel_of(method));
        client.ready().await.map_err(|error| Status::from_error(error.into()))?;
        let mut request = Request::new(tokio_stream::iter(requests.into_iter().map(Bytes::from)));
        if let Some(token) = token {
            let value = format!("Bearer {token}").parse().expect("a token is text");
            request.metadata_mut().insert("authorization", value);
        }
        let path: PathAndQuery = path(method).parse().expect("a path");
        let mut answer = client.streaming(request, path, Raw).await?.into_inner();
        let mut messages = Vec::new();
        if read == Read::Begin {
            return Ok(messages);
        }
        while let Some(message) = answer.message().await? {
            messages.push(message);
            if read == Read::First {
                break;
            }
        }
        Ok(messages)
    }
}

/// A failure as a client sees it, in an order that can be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The status code.
    pub code: tonic::Code,
    /// The text.
    pub message: String,
    /// The reason, when the status is of the catalogue.
    pub reason: Option<ErrorReason>,
    /// Its metadata.
    pub metadata: BTreeMap<String, String>,
    /// Paths of the fields, with what is wrong with each.
    pub violations: Vec<(String, String)>,
    /// Whether it says when to try again.
    pub retry: bool,
}

impl Refusal {
    /// Reads a status.
    pub fn of(status: &Status) -> Self {
        let failure = tgmesh_proto::status::read(status);
        Self {
            code: status.code(),
            message: status.message().to_owned(),
            reason: failure.as_ref().map(|failure| failure.reason),
            metadata: failure.iter().flat_map(|failure| failure.metadata.clone()).collect(),
            violations: failure.iter().flat_map(|failure| failure.violations.clone()).collect(),
            retry: failure.is_some_and(|failure| failure.retry_after.is_some()),
        }
    }

    /// What is not served yet, when that is why: the method, of a part also its field and value.
    pub fn unserved(&self) -> Option<String> {
        let names = ["method", "field", "value"].into_iter().filter_map(|key| self.metadata.get(key));
        (self.reason == Some(ErrorReason::NotImplemented))
            .then(|| names.map(String::as_str).collect::<Vec<_>>().join(" "))
    }

    /// What is not as the catalogue says: code, domain, and metadata that always come.
    pub fn faults(&self) -> Vec<String> {
        let Some(reason) = self.reason else { return vec![format!("{self:?} is not of the catalogue")] };
        let mut faults = Vec::new();
        if self.code != reason.code() {
            faults.push(format!("{}: the code is {:?}", reason.as_reason(), self.code));
        }
        for key in reason.metadata_keys() {
            if !self.metadata.contains_key(*key) {
                faults.push(format!("{}: no {key} in {:?}", reason.as_reason(), self.metadata));
            }
        }
        if self.code == tonic::Code::InvalidArgument
            && reason == ErrorReason::FieldInvalid
            && self.violations.is_empty()
        {
            faults.push(format!("{}: no field is named", reason.as_reason()));
        }
        faults
    }
}

/// The last call's refusal.
///
/// # Errors
/// When it succeeded.
pub fn refused<T>(answer: Result<T, Status>) -> anyhow::Result<Refusal> {
    answer.err().map(|status| Refusal::of(&status)).context("the call succeeded")
}

/// Messages as they are on the wire.
#[derive(Debug, Clone, Copy)]
struct Raw;

impl Codec for Raw {
    type Encode = Bytes;
    type Decode = Bytes;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, target: &mut EncodeBuf<'_>) -> Result<(), Status> {
        target.put(item);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Bytes;
    type Error = Status;

    fn decode(&mut self, source: &mut DecodeBuf<'_>) -> Result<Option<Bytes>, Status> {
        Ok(Some(source.copy_to_bytes(source.remaining())))
    }
}
