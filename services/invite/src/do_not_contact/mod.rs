//! The do-not-contact list.
