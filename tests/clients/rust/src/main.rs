//! Uses the crate `clickhouse` with its default, which is LZ4. It prints nothing but what went wrong.
use clickhouse::{Client, Row};
use serde::{Deserialize, Serialize};
use std::env::var;

#[derive(Row, Serialize, Deserialize)]
struct Line {
    a: i64,
    s: String,
}

fn client(user: &str) -> Client {
    Client::default()
        .with_url(var("URL_").unwrap())
        .with_user(var(user).unwrap())
        .with_password(var(format!("{user}_PASSWORD")).unwrap())
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let admin = client("ADMIN");
    admin.query("CREATE OR REPLACE TABLE rust (a Int64, s String) ENGINE = Memory").execute().await?;
    let mut insert = admin.insert("rust")?;
    for a in 0..1000 {
        insert.write(&Line { a, s: "ä".into() }).await?;
    }
    insert.end().await?;

    let reader = client("READER");
    let lines: Vec<Line> = reader.query("SELECT ?fields FROM rust WHERE a >= ? ORDER BY a").bind(500).fetch_all().await?;
    assert_eq!((lines.len(), lines[0].a, lines[0].s.as_str()), (500, 500, "ä"));

    let mut cursor = reader.query("SELECT number FROM numbers(300000)").fetch::<u64>()?;
    let mut count = 0;
    while cursor.next().await?.is_some() {
        count += 1;
    }
    assert_eq!(count, 300_000);

    let late = "SELECT throwIf(number = 900000, 'too far') FROM numbers(1000000)";
    // This version of the crate does not know how servers since 25.11 frame the text: that it is an error must do.
    assert!(reader.query(late).fetch_all::<u8>().await.is_err());
    let error = reader.query("SELECT file('/etc/hostname')").fetch_one::<String>().await.unwrap_err().to_string();
    assert!(error.contains("497"), "{error}");
    Ok(())
}
