//! Many rows of an entity by few statements.
//!
//! A query builder that knows each value costs more than the rows themselves, and PostgreSQL takes longest of all over a
//! statement of thousands of parameters. So SQLite is given the values as they are, and PostgreSQL one parameter: the
//! rows as JSON, which it takes apart itself.

use sea_orm::sea_query::{ColumnType, Iden as _};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait, DbBackend, DbErr, EntityTrait, Iterable as _, ModelTrait as _, QueryResult,
    Statement, Value,
};
use serde_json::{Map, Number, Value as Json};

/// Most rows of a statement in SQLite: far below the parameters that it takes.
const MOST_SQLITE: usize = 256;
/// Most rows of a statement in PostgreSQL: a few hundred kilobytes of JSON.
const MOST_POSTGRES: usize = 1_000;

/// Inserts rows. `conflict` is what stands after them, such as `ON CONFLICT (id) DO NOTHING`; both databases write it
/// alike, and the row that was to be added is `excluded`.
///
/// # Errors
/// Those of the database.
pub async fn insert<E: EntityTrait>(
    conn: &impl ConnectionTrait,
    rows: &[E::Model],
    conflict: &str,
) -> Result<(), DbErr> {
    let table = Table::of::<E>()?;
    for piece in pieces(rows, table.most(conn)) {
        conn.execute_raw(table.statement::<E>(conn, piece, conflict)?).await?;
    }
    Ok(())
}

/// The same; answers what `RETURNING` at the end of `conflict` asks for.
///
/// # Errors
/// Those of the database.
pub async fn insert_returning<E: EntityTrait>(
    conn: &impl ConnectionTrait,
    rows: &[E::Model],
    conflict: &str,
) -> Result<Vec<QueryResult>, DbErr> {
    let table = Table::of::<E>()?;
    let mut answers = Vec::new();
    for piece in pieces(rows, table.most(conn)) {
        answers.extend(conn.query_all_raw(table.statement::<E>(conn, piece, conflict)?).await?);
    }
    Ok(answers)
}

/// Parts of rows whose lengths are powers of two, the longest first.
///
/// The driver keeps the statements it has prepared, by their text, and a statement of 200 rows takes half a megabyte in
/// SQLite. Written with as many rows as a batch happens to have, almost every text would be new: parsed anew, and kept
/// in place of one that is needed. So there are a few sizes only.
pub fn pieces<T>(mut rows: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    std::iter::from_fn(move || {
        let length = match rows.len() {
            0 => return None,
            length => (1 << length.ilog2()).min(most),
        };
        let (piece, rest) = rows.split_at(length);
        rows = rest;
        Some(piece)
    })
}

/// Where rows go.
struct Table {
    name: &'static str,
    columns: Vec<Column>,
}

/// A column, its type in PostgreSQL, and how it is read out of JSON there.
struct Column {
    name: String,
    json_type: &'static str,
    bytes: bool,
}

impl Table {
    fn of<E: EntityTrait>() -> Result<Self, DbErr> {
        let columns = E::Column::iter().map(|column| {
            let json_type = match column.def().get_column_type() {
                ColumnType::Boolean => "boolean",
                ColumnType::Integer => "integer",
                ColumnType::BigInteger => "bigint",
                ColumnType::Uuid => "uuid",
                // JSON has no bytes: they come as text in hexadecimal.
                ColumnType::String(_) | ColumnType::Text | ColumnType::Blob | ColumnType::VarBinary(_) => "text",
                other => return Err(DbErr::Custom(format!("rows with {other:?} cannot be written in bulk"))),
            };
            let bytes = matches!(column.def().get_column_type(), ColumnType::Blob | ColumnType::VarBinary(_));
            Ok(Column { name: column.unquoted().to_owned(), json_type, bytes })
        });
        Ok(Self { name: E::default().table_name(), columns: columns.collect::<Result<_, _>>()? })
    }

    fn most(&self, conn: &impl ConnectionTrait) -> usize {
        if conn.get_database_backend() == DbBackend::Sqlite { MOST_SQLITE } else { MOST_POSTGRES }
    }

    fn statement<E: EntityTrait>(
        &self,
        conn: &impl ConnectionTrait,
        rows: &[E::Model],
        conflict: &str,
    ) -> Result<Statement, DbErr> {
        let names: Vec<&str> = self.columns.iter().map(|column| column.name.as_str()).collect();
        let into = format!("INSERT INTO {} ({})", self.name, names.join(", "));
        let backend = conn.get_database_backend();
        if backend == DbBackend::Sqlite {
            let values = rows.iter().flat_map(|row| E::Column::iter().map(|column| row.get(column)));
            let row = format!("({})", vec!["?"; names.len()].join(","));
            let sql = format!("{into} VALUES {} {conflict}", vec![row; rows.len()].join(","));
            return Ok(Statement::from_sql_and_values(backend, sql, values));
        }
        let rows = rows.iter().map(|row| {
            let values = E::Column::iter().enumerate().map(|(at, column)| Ok((key(at), json(row.get(column))?)));
            values.collect::<Result<Map<String, Json>, DbErr>>().map(Json::Object)
        });
        let rows = Json::Array(rows.collect::<Result<_, _>>()?).to_string();
        let taken: Vec<String> = self
            .columns
            .iter()
            .enumerate()
            .map(|(at, column)| if column.bytes { format!("decode({}, 'hex')", key(at)) } else { key(at) })
            .collect();
        let types: Vec<String> =
            self.columns.iter().enumerate().map(|(at, column)| format!("{} {}", key(at), column.json_type)).collect();
        let sql = format!(
            "{into} SELECT {} FROM json_to_recordset($1::json) AS given({}) {conflict}",
            taken.join(", "),
            types.join(", ")
        );
        Ok(Statement::from_sql_and_values(backend, sql, [Value::from(rows)]))
    }
}

/// The key of a column in JSON: short, since it stands in each row.
fn key(at: usize) -> String {
    format!("c{at}")
}

fn json(value: Value) -> Result<Json, DbErr> {
    Ok(match value {
        Value::Bool(value) => value.map_or(Json::Null, Json::Bool),
        Value::Int(value) => value.map_or(Json::Null, |value| Json::Number(Number::from(value))),
        Value::BigInt(value) => value.map_or(Json::Null, |value| Json::Number(Number::from(value))),
        Value::String(value) => value.map_or(Json::Null, Json::String),
        Value::Uuid(value) => value.map_or(Json::Null, |value| Json::String(value.simple().to_string())),
        Value::Bytes(value) => value.map_or(Json::Null, |value| Json::String(hex(&value))),
        other => return Err(DbErr::Custom(format!("{other:?} cannot be written in bulk"))),
    })
}

fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use sea_orm::QueryOrder as _;
    use sea_orm::entity::prelude::*;

    /// A row of each kind of value.
    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "kinds")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: Uuid,
        pub big: i64,
        pub maybe_big: Option<i64>,
        pub int: i32,
        pub flag: bool,
        pub name: String,
        pub maybe_name: Option<String>,
        pub sealed: Vec<u8>,
        pub maybe_sealed: Option<Vec<u8>>,
        pub maybe_id: Option<Uuid>,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}

    fn table(postgres: bool) -> String {
        let (uuid, bytes) = if postgres { ("uuid", "bytea") } else { ("blob", "blob") };
        format!(
            "CREATE TABLE kinds (id {uuid} PRIMARY KEY, big bigint NOT NULL, maybe_big bigint, int integer NOT NULL, \
             flag boolean NOT NULL, name text NOT NULL, maybe_name text, sealed {bytes} NOT NULL, \
             maybe_sealed {bytes}, maybe_id {uuid})"
        )
    }

    fn row(n: u128) -> Model {
        let odd = n % 2 == 1;
        Model {
            id: Uuid::from_u128(n),
            big: i64::MAX - i64::try_from(n).unwrap(),
            maybe_big: odd.then_some(i64::MIN),
            int: i32::MIN,
            flag: odd,
            name: format!("o'neil \"{n}\" \\ \n\t\u{1} юникод 🙂 $1 ? {{}}"),
            maybe_name: odd.then(String::new),
            sealed: (0..=255).collect(),
            maybe_sealed: odd.then(Vec::new),
            maybe_id: odd.then(|| Uuid::from_u128(u128::MAX)),
        }
    }

    #[tokio::test]
    async fn rows_come_back_as_they_were_on_both_databases() -> anyhow::Result<()> {
        for database in tgmesh_tests::database::each().await? {
            let conn = database.connect().await?;
            let postgres = conn.get_database_backend() == DbBackend::Postgres;
            conn.execute_unprepared(&table(postgres)).await?;
            let rows: Vec<Model> = (1..=1_300).map(row).collect();
            insert::<Entity>(&conn, &rows, "").await?;
            let found = Entity::find().order_by_asc(self::Column::Id).all(&conn).await?;
            assert!(found == rows, "{}", database.url());

            let mut again = vec![row(1_300), row(1_301)];
            again[0].big = 7;
            let nothing = "ON CONFLICT (id) DO NOTHING RETURNING id";
            let added = insert_returning::<Entity>(&conn, &again, nothing).await?;
            let added: Vec<Uuid> = added.iter().map(|row| row.try_get("", "id")).collect::<Result<_, _>>()?;
            assert_eq!(added, [Uuid::from_u128(1_301)]);
            let sum = "ON CONFLICT (id) DO UPDATE SET big = excluded.big, int = kinds.int - excluded.int";
            insert::<Entity>(&conn, &again, sum).await?;
            let changed = Entity::find_by_id(Uuid::from_u128(1_300)).one(&conn).await?;
            assert_eq!(changed.map(|row| (row.big, row.int)), Some((7, 0)));
            insert::<Entity>(&conn, &[], "").await?;
        }
        Ok(())
    }

    #[test]
    fn pieces_are_all_rows_in_their_order_and_in_few_sizes() {
        for length in 0..600_usize {
            let rows: Vec<usize> = (0..length).collect();
            let pieces: Vec<&[usize]> = pieces(&rows, 128).collect();
            assert!(pieces.iter().all(|piece| piece.len().is_power_of_two() && piece.len() <= 128));
            assert_eq!(pieces.concat(), rows);
        }
    }
}
