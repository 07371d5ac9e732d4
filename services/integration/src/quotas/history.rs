//! The ledger, as the caller reads it.
