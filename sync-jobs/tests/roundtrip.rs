//! Hard values of every type go through every pair of engines and come out as the same facts.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod bases;
mod facts;

use banyan_sync_jobs::{Job, Ports, RunMode, SideUrls, SyncError, VerifyOptions, ZeroDate};
use bases::{At, Base, Bases, facts_job};
use facts::{CLASSES, Class, REFUSALS};
use tokio_util::sync::CancellationToken;

/// Rows with values; one more has NULL everywhere.
const ROWS: usize = 6;

const BEFORE: [&str; 3] = [
    "SELECT 1",
    "CREATE TYPE mood AS ENUM ('sad','so so','it''s (ok)'); \
     CREATE DOMAIN short_name AS varchar(8) CHECK (VALUE <> 'x')",
    "SELECT 1",
];

fn create(table: &str, at: usize) -> String {
    let columns: Vec<String> =
        CLASSES.iter().map(|class| format!(", {} {}", class.name, class.types[at])).collect();
    // Row 0 must not get another number from the target.
    let counts = if at == 2 && table == "copies" { " AUTO_INCREMENT" } else { "" };
    format!("CREATE TABLE {table} (id BIGINT{counts} PRIMARY KEY{})", columns.concat())
}

fn insert(at: usize, row: usize) -> String {
    let values: Vec<&str> = CLASSES
        .iter()
        .map(|class| {
            let fact = class.facts.get(row % class.facts.len()).filter(|_| row < ROWS);
            fact.map_or("NULL", |(write, _)| write[at])
        })
        .collect();
    format!("INSERT INTO facts VALUES ({row}, {})", values.join(", "))
}

#[tokio::test]
async fn every_type_keeps_its_facts_between_every_two_engines() {
    let Some(bases) = Bases::start().await else { return };
    let mut wrong = Vec::new();
    for source in 0..3 {
        for target in 0..3 {
            pair(bases, source, target, &mut wrong).await;
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

async fn pair(bases: &Bases, source: usize, target: usize, wrong: &mut Vec<String>) {
    let name = |side: &str| format!("{side}_{source}{target}");
    let mut legacy = bases.make(At::ALL[source], &name("legacy")).await;
    let mut new = bases.make(At::ALL[target], &name("new")).await;
    legacy.run(BEFORE[source]).await;
    new.run(BEFORE[target]).await;
    legacy.run(&create("facts", source)).await;
    new.run(&create("copies", target)).await;
    for row in 0..=ROWS {
        legacy.run(&insert(source, row)).await;
    }
    let names: Vec<&str> = CLASSES.iter().map(|class| class.name).collect();
    let job = open(facts_job(&names), &legacy, &new);
    job.install().await.unwrap();
    let pair = format!("{:?} -> {:?}", At::ALL[source], At::ALL[target]);
    let copied = once(&job).await.unwrap_or_else(|error| panic!("{pair}: {}", error.chain()));
    assert_eq!(copied, u64::try_from(ROWS + 1).unwrap(), "{pair}");
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert!(report.is_clean(), "{pair}: {report:#?}");
    again_writes_nothing(&job, &mut new, &pair).await;
    for class in CLASSES {
        wrong.extend(seen(&mut new, class, target, &pair).await);
    }
}

/// Everything compared again: what a target stores differently from what it was given would show here.
async fn again_writes_nothing(job: &Job, new: &mut Base, pair: &str) {
    new.run("UPDATE by_state SET phase = 'list'").await;
    assert_eq!(once(job).await.unwrap(), 0, "{pair} writes the same again");
}

/// What a client of the target sees otherwise than it should.
async fn seen(new: &mut Base, class: &Class, at: usize, pair: &str) -> Vec<String> {
    let mut wrong = Vec::new();
    for row in 0..=ROWS {
        let fact = class.facts.get(row % class.facts.len()).filter(|_| row < ROWS);
        let (write, want) =
            fact.map_or(("NULL", None), |(write, seen)| (write[at], Some(seen[at].to_owned())));
        let read = words(class.read[at], class.name, write);
        let found = new.texts(&format!("SELECT {read} FROM copies WHERE id = {row}")).await;
        if found != [want.clone()] {
            wrong.push(format!(
                "{pair}: {} of row {row}: {found:?} instead of {want:?}",
                class.name
            ));
        }
    }
    wrong
}

/// Replaces the words `c` and `w`.
fn words(read: &str, column: &str, written: &str) -> String {
    let split = |c: char| !c.is_ascii_alphanumeric() && c != '_';
    let mut text = String::new();
    let mut rest = read;
    while let Some(at) = rest.find(|c: char| !split(c)) {
        let (before, from) = rest.split_at(at);
        let (word, after) = from.split_at(from.find(split).unwrap_or(from.len()));
        text.push_str(before);
        text.push_str(match word {
            "c" => column,
            "w" => written,
            other => other,
        });
        rest = after;
    }
    text + rest
}

fn open(spec: banyan_sync_jobs::JobSpec, legacy: &Base, new: &Base) -> Job {
    let urls = SideUrls { legacy: legacy.url.clone(), new: new.url.clone() };
    Job::open(spec, urls, Ports::default()).unwrap()
}

async fn once(job: &Job) -> Result<u64, SyncError> {
    let summary = job.run(RunMode::Once, CancellationToken::new()).await?;
    Ok(summary.counters.rows())
}

#[tokio::test]
async fn a_value_that_its_column_cannot_store_is_refused_with_its_place() {
    let Some(bases) = Bases::start().await else { return };
    for (at, case) in REFUSALS.iter().enumerate() {
        let mut legacy = bases.make(case.engines[0], &format!("legacy_v{at}")).await;
        let mut new = bases.make(case.engines[1], &format!("new_v{at}")).await;
        if case.engines[0] == At::MariaDb {
            legacy.run("SET SESSION sql_mode = ''").await;
        }
        legacy.run(&format!("CREATE TABLE facts (id BIGINT PRIMARY KEY, v {})", case.source)).await;
        new.run(&format!("CREATE TABLE copies (id BIGINT PRIMARY KEY, v {})", case.target)).await;
        legacy.run(&format!("INSERT INTO facts VALUES (41, {})", case.value)).await;
        let job = open(facts_job(&["v"]), &legacy, &new);
        job.install().await.unwrap();
        let error = once(&job).await.expect_err(case.says);
        let chain = error.chain();
        assert!(chain.contains("`copies.v` of row `41`"), "{}: {chain}", case.value);
        assert!(chain.contains(case.says), "{}: {chain}", case.value);
        assert!(error.hint().is_some(), "{chain}");
        assert_eq!(new.texts("SELECT id FROM copies").await, []);
    }
}

#[tokio::test]
async fn the_mapping_may_say_what_becomes_of_digits_and_zero_dates() {
    let Some(bases) = Bases::start().await else { return };
    for (at, target) in At::ALL.into_iter().enumerate() {
        let mut legacy = bases.make(At::MariaDb, &format!("legacy_r{at}")).await;
        let mut new = bases.make(target, &format!("new_r{at}")).await;
        legacy.run("SET SESSION sql_mode = ''").await;
        legacy
            .run(
                "CREATE TABLE facts (id BIGINT PRIMARY KEY, amount DECIMAL(12,4), \
                 at DATETIME(6), day DATE);
                 INSERT INTO facts VALUES (1, 1.2550, '2014-12-31 23:59:59.9999', '2014-00-00'), \
                 (2, -1.255, '0000-00-00 00:00:00', '0000-00-00')",
            )
            .await;
        let (amount, moment) = match target {
            At::Sqlite => ("DECIMAL(12,2)", "DATETIME"),
            At::Postgres => ("numeric(12,2)", "timestamp(3)"),
            At::MariaDb => ("DECIMAL(12,2)", "DATETIME(3)"),
        };
        let table = format!(
            "CREATE TABLE copies (id BIGINT PRIMARY KEY, amount {amount}, at {moment}, day DATE)"
        );
        new.run(&table).await;
        let mut spec = facts_job(&["amount", "at", "day"]);
        spec.rules.zero_date = ZeroDate::parse("1970-01-01 00:00:00").unwrap();
        spec.rules.round = ["amount", "at"].map(|c| ("copies".to_owned(), c.to_owned())).to_vec();
        let job = open(spec, &legacy, &new);
        job.install().await.unwrap();
        assert_eq!(once(&job).await.unwrap(), 2);
        again_writes_nothing(&job, &mut new, "rounded").await;
        assert!(job.verify(VerifyOptions::default()).await.unwrap().is_clean());
        let days = all_of(&mut new, target, "day").await;
        assert_eq!(days, ["1970-01-01", "1970-01-01"]);
        let moments = all_of(&mut new, target, "at").await;
        let moments: Vec<String> = moments.iter().map(|m| m.replace(".000", "")).collect();
        let first = match target {
            At::Sqlite => "2014-12-31 23:59:59.9999",
            At::Postgres | At::MariaDb => "2015-01-01 00:00:00",
        };
        assert_eq!(moments, [first, "1970-01-01 00:00:00"]);
        let amounts = all_of(&mut new, target, "amount").await;
        let want = if target == At::Sqlite { ["1.255", "-1.255"] } else { ["1.26", "-1.26"] };
        assert_eq!(amounts, want);
    }
}

async fn all_of(on: &mut Base, at: At, column: &str) -> Vec<String> {
    let sql = format!("SELECT {} FROM copies ORDER BY id", text_of(at, column));
    on.texts(&sql).await.into_iter().flatten().collect()
}

fn text_of(at: At, column: &str) -> String {
    match at {
        At::MariaDb => format!("CAST({column} AS CHAR)"),
        At::Sqlite | At::Postgres => format!("CAST({column} AS TEXT)"),
    }
}

#[tokio::test]
async fn types_without_a_common_text_are_refused_by_name_all_at_once() {
    let Some(bases) = Bases::start().await else { return };
    let columns = ["waited", "tags", "spot", "mask", "gone"];
    let mut legacy = bases.make(At::Postgres, "legacy_t").await;
    let mut new = bases.make(At::MariaDb, "new_t").await;
    legacy
        .run(
            "CREATE TABLE facts (id BIGINT PRIMARY KEY, waited interval, tags text[], spot point, \
             mask bit varying(8), gone text)",
        )
        .await;
    new.run(
        "CREATE TABLE copies (id BIGINT PRIMARY KEY, waited TEXT, tags TEXT, spot GEOMETRY, \
         mask TEXT, gone FLOAT(7,3))",
    )
    .await;
    let refused = open(facts_job(&columns), &legacy, &new).plan().await.unwrap_err();
    let chain = refused.chain();
    for says in [
        "type `interval` for `copies.waited`",
        "type `text[]` for `copies.tags`",
        "type `point` for `copies.spot`",
        "`copies.spot` has type `geometry`",
        "type `varbit` for `copies.mask`",
        "`copies.gone` has type `float(7,3)`",
    ] {
        assert!(chain.contains(says), "{says}: {chain}");
    }
    assert!(refused.hint().unwrap().contains("cast"));

    let mut untyped = bases.make(At::Sqlite, "new_t").await;
    untyped.run("CREATE TABLE copies (id BIGINT PRIMARY KEY, gone STRING)").await;
    let refused = open(facts_job(&["gone"]), &legacy, &untyped).plan().await.unwrap_err();
    assert!(refused.chain().contains("`copies.gone` has type `STRING`"), "{}", refused.chain());
}

#[tokio::test]
async fn what_somebody_else_wrote_into_the_target_is_seen_and_replaced() {
    let Some(bases) = Bases::start().await else { return };
    let mut legacy = bases.make(At::Sqlite, "legacy_u").await;
    let mut new = bases.make(At::MariaDb, "new_u").await;
    legacy.run("CREATE TABLE facts (id BIGINT PRIMARY KEY, at DATETIME)").await;
    legacy.run("INSERT INTO facts VALUES (1, '2014-06-12 10:00:00'), (2, NULL)").await;
    new.run("CREATE TABLE copies (id BIGINT PRIMARY KEY, at DATETIME)").await;
    let mut spec = facts_job(&["at"]);
    spec.rules.zero_date = ZeroDate::Null;
    let job = open(spec, &legacy, &new);
    job.install().await.unwrap();
    assert_eq!(once(&job).await.unwrap(), 2);
    new.run("SET SESSION sql_mode = ''; UPDATE copies SET at = '0000-00-00 00:00:00'").await;
    let report = job.verify(VerifyOptions::default()).await.unwrap();
    assert_eq!(report.differing_total, 2, "a zero date is not NULL: {report:#?}");
    legacy.run("UPDATE facts SET at = at").await;
    assert_eq!(once(&job).await.unwrap(), 2);
    let seen = new.texts("SELECT CAST(at AS CHAR) FROM copies ORDER BY id").await;
    assert_eq!(seen, [Some("2014-06-12 10:00:00".to_owned()), None]);
}

#[tokio::test]
async fn a_uuid_becomes_sixteen_bytes_and_back_only_by_the_mapping() {
    let Some(bases) = Bases::start().await else { return };
    let uuid = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
    let mut words = bases.make(At::Postgres, "uuid_words").await;
    let mut bytes = bases.make(At::MariaDb, "uuid_bytes").await;
    for table in ["facts", "copies"] {
        words.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, v uuid)")).await;
        bytes.run(&format!("CREATE TABLE {table} (id BIGINT PRIMARY KEY, v BINARY(16))")).await;
    }
    words.run(&format!("INSERT INTO facts VALUES (1, '{uuid}')")).await;
    let to_bytes = facts_job(&["decode(replace(v::text, '-', ''), 'hex') AS v"]);
    let job = open(to_bytes, &words, &bytes);
    job.install().await.unwrap();
    assert_eq!(once(&job).await.unwrap(), 1);
    again_writes_nothing(&job, &mut bytes, "uuid to bytes").await;
    bytes.run("INSERT INTO facts SELECT * FROM copies").await;
    let job = open(facts_job(&["HEX(v) AS v"]), &bytes, &words);
    job.install().await.unwrap();
    assert_eq!(once(&job).await.unwrap(), 1);
    again_writes_nothing(&job, &mut words, "bytes to uuid").await;
    assert_eq!(words.texts("SELECT v::text FROM copies").await, [Some(uuid.to_owned())]);
}
