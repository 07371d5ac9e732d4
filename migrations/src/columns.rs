//! Columns and tables that every schema has alike.

use sea_orm_migration::prelude::*;

/// A required UUID.
pub fn uuid(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).uuid().not_null().take()
}

/// A required text.
pub fn text(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).text().not_null().take()
}

/// A required whole number of 64 bits: ids of Telegram, counts, and times in
/// milliseconds since the epoch.
pub fn big(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).big_integer().not_null().take()
}

/// A required whole number of 32 bits: enums, by the number of the contract.
pub fn int(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).integer().not_null().take()
}

/// Required bytes.
pub fn bytes(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).binary().not_null().take()
}

/// A required truth value.
pub fn boolean(name: &'static str) -> ColumnDef {
    ColumnDef::new(Alias::new(name)).boolean().not_null().take()
}

/// The same column, allowed to be NULL.
pub fn nullable(mut column: ColumnDef) -> ColumnDef {
    column.null().take()
}

/// The table behind `service_kit::requests`.
pub fn requests_table() -> TableCreateStatement {
    Table::create()
        .table(Alias::new("requests"))
        .col(text("scope"))
        .col(uuid("request_id"))
        .col(bytes("body_hash"))
        .col(nullable(bytes("answer")))
        .col(uuid("process"))
        .col(big("created_at"))
        .primary_key(Index::create().col(Alias::new("scope")).col(Alias::new("request_id")))
        .to_owned()
}

/// The index by which old requests are swept.
pub fn requests_index() -> IndexCreateStatement {
    Index::create().name("requests_by_age").table(Alias::new("requests")).col(Alias::new("created_at")).to_owned()
}

/// Until when the process that serves a call holds it. Calls that are there
/// already are held by nobody.
pub fn requests_held_until() -> TableAlterStatement {
    Table::alter().table(Alias::new("requests")).add_column(big("held_until_at").default(0)).to_owned()
}
