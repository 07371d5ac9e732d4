//! The codec of the generated clients and servers: protobuf, with the rules of
//! the contract checked on everything that is decoded.
//!
//! Only messages reachable from a request carry rules, so decoding an answer
//! in a client costs nothing more.

#![warn(clippy::all)]

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::validate::Validate;

/// Protobuf with validation.
#[derive(Debug, Clone)]
pub struct ValidatingCodec<T, U> {
    _types: PhantomData<(T, U)>,
}

impl<T, U> Default for ValidatingCodec<T, U> {
    fn default() -> Self {
        Self { _types: PhantomData }
    }
}

impl<T, U> Codec for ValidatingCodec<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Validate + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = ValidatingDecoder<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::default().encoder()
    }

    fn decoder(&mut self) -> Self::Decoder {
        ValidatingDecoder { inner: ProstCodec::<T, U>::default().decoder() }
    }
}

/// Decodes a message and checks its rules.
#[derive(Debug)]
pub struct ValidatingDecoder<U> {
    inner: ProstDecoder<U>,
}

impl<U: Message + Default + Validate> Decoder for ValidatingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        let Some(message) = self.inner.decode(src)? else {
            return Ok(None);
        };
        message.validate()?;
        Ok(Some(message))
    }
}
