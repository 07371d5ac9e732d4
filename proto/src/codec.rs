//! The codec of the generated clients and servers: protobuf, with the rules of
//! the contract checked on every request that is decoded.
//!
//! Answers are not judged: a client must be able to read those of a newer
//! server, with values that it does not know.

#![warn(clippy::all)]

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use crate::ErrorReason;
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

/// Decodes a message; of a request it checks the rules.
#[derive(Debug)]
pub struct ValidatingDecoder<U> {
    inner: ProstDecoder<U>,
}

impl<U: Message + Default + Validate> Decoder for ValidatingDecoder<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, src: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        if !U::REQUEST {
            return self.inner.decode(src);
        }
        // That the client sent nonsense is no fault of ours, which is what INTERNAL would say.
        let decoded = self.inner.decode(src).map_err(|error| {
            crate::status::status(ErrorReason::MessageInvalid, format!("the request: {}", error.message())).build()
        })?;
        if let Some(message) = &decoded {
            message.validate()?;
        }
        Ok(decoded)
    }
}
