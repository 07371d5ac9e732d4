//! Sessions as other libraries write them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;

/// A session as Telethon writes it.
pub fn telethon(key: &[u8; 256]) -> String {
    let mut bytes = vec![2, 127, 0, 0, 1, 0, 80];
    bytes.extend_from_slice(key);
    format!("1{}", URL_SAFE.encode(bytes))
}
