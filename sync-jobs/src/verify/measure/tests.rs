//! MariaDB, Postgres and Rust give the same lanes for the same rows, hard values among them.

use std::time::{Duration, Instant};

use banyan_domain::Side;
use banyan_engine::{KeyShape, Value};
use banyan_test_servers::or_skip;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::dialect::{Existing, WriteTarget};
use crate::job::{Job, Ports};
use crate::spec::{
    CaptureEvent, CaptureMode, CaptureSpec, JobSpec, Limits, RootsSpec, Rules, TableSpec,
};
use crate::url::SideUrls;

const COLUMNS: [&str; 11] =
    ["id", "txt", "wide", "cased", "amount", "big", "at", "day", "flag", "raw", "uid"];

const MARIADB: &str = "CREATE TABLE hard (id BIGINT NOT NULL PRIMARY KEY, \
    txt LONGTEXT CHARACTER SET utf8mb4, wide VARCHAR(200) CHARACTER SET latin1, \
    cased VARCHAR(200) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin, amount DECIMAL(24,6), \
    big BIGINT UNSIGNED, at DATETIME(6), day DATE, flag TINYINT(1), raw LONGBLOB, uid UUID)";

const POSTGRES: &str = "CREATE TABLE hard (id BIGINT NOT NULL PRIMARY KEY, txt TEXT, wide TEXT, \
    cased VARCHAR(200), amount NUMERIC(24,6), big NUMERIC(20), at TIMESTAMP, day DATE, \
    flag BOOLEAN, raw BYTEA, uid UUID)";

fn job(mariadb: &str, postgres: &str, to: Side) -> Job {
    let spec = JobSpec {
        name: "hard".to_owned(),
        context: "hard".to_owned(),
        root: "row".to_owned(),
        follow: false,
        mode: CaptureMode::Trigger,
        key: KeyShape::new("", vec![]),
        roots: vec![RootsSpec { side: to.other(), select: "SELECT id AS k FROM hard".to_owned() }],
        captures: vec![CaptureSpec {
            side: to.other(),
            table: "hard".to_owned(),
            key: "{row}.id".to_owned(),
            events: CaptureEvent::ALL.to_vec(),
            cursor: None,
        }],
        tables: vec![TableSpec {
            to,
            name: "hard".to_owned(),
            key: vec!["id".to_owned()],
            root_column: "id".to_owned(),
            select: format!("SELECT {} FROM hard WHERE id IN ({{keys}})", COLUMNS.join(", ")),
            current: None,
            keep: vec![],
            shared: false,
        }],
        limits: Limits::default(),
        rules: Rules::default(),
    };
    let urls = SideUrls { legacy: mariadb.to_owned(), new: postgres.to_owned() };
    Job::open_toward(spec, urls, Ports::default(), to).unwrap()
}

fn text(text: &str) -> Value {
    Value::Text(text.to_owned())
}

/// Rows that other tools confuse, or that engines show differently.
fn hard_rows() -> Vec<Vec<Value>> {
    let long = "é😀|".repeat(500);
    let texts: Vec<Value> = [
        "",
        "NULL",
        "~",
        "|",
        "a|b",
        "1:a",
        "#5:x",
        " ",
        "a ",
        " a",
        "a\t\n",
        "'",
        "\\",
        "\\'",
        "é",
        "😀",
        "e\u{301}",
        "ẞß",
        "0",
        "-0",
        "\u{feff}x",
    ]
    .into_iter()
    .map(text)
    .chain([text(&"x".repeat(1_023)), text(&"x".repeat(1_024)), text(&"x".repeat(1_025))])
    .chain([text(&long), Value::Null])
    .collect();
    let amounts =
        ["0", "-0", "-0.000000", "0.5", "-0.5", "100", "-100.100000", "123456789012345678.000001"];
    let times = [
        "2014-06-12 10:00:00",
        "2014-06-12 10:00:00.5",
        "2014-06-12 10:00:00.000001",
        "1999-12-31 23:59:59.999999",
        "2038-01-19 03:14:08",
        "2000-10-10 00:00:00",
    ];
    let bytes = [
        vec![],
        vec![0],
        vec![0xff, 0xfe, 0x00],
        vec![0x5c, 0x27],
        vec![0xab; 1_024],
        vec![7; 1_025],
    ];
    let uids = ["a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "00000000-0000-0000-0000-000000000000"];
    let mut rows = Vec::new();
    for (at, txt) in texts.iter().enumerate() {
        let every = |n: usize, value: Value| if at % n == n - 1 { Value::Null } else { value };
        let id = i128::try_from(at).unwrap() - 3;
        rows.push(vec![
            Value::Int(id),
            txt.clone(),
            every(5, text(["é", "ÿ ", "", "NULL", "plain"][at % 5])),
            every(7, text(["A", "a", "a ", "Ä|~"][at % 4])),
            every(9, text(amounts[at % amounts.len()])),
            every(11, Value::Int([0, 1, i128::from(u64::MAX), 10][at % 4])),
            every(8, text(times[at % times.len()])),
            every(6, text(["2014-06-12", "1970-01-01", "2400-02-29"][at % 3])),
            every(4, Value::Bool(at % 2 == 0)),
            every(10, Value::Bytes(bytes[at % bytes.len()].clone())),
            every(3, text(uids[at % 2])),
        ]);
    }
    rows
}

/// Rows of random values; the seed is printed by the test.
fn random_rows(seed: u64, count: i128) -> Vec<Vec<Value>> {
    let mut random = StdRng::seed_from_u64(seed);
    let letters = move |max: usize, random: &mut StdRng, of: &[&str]| -> String {
        (0..random.random_range(0..max)).map(|_| of[random.random_range(0..of.len())]).collect()
    };
    (0..count)
        .map(|id| {
            let wild = ["a", "|", "~", " ", "é", "😀", "NULL", ":", "'", "\\", "\n", "1"];
            let maybe = |value: Value, random: &mut StdRng| {
                if random.random_range(0..8) == 0 { Value::Null } else { value }
            };
            let amount = format!(
                "{}{}.{:06}",
                if random.random() { "-" } else { "" },
                random.random_range(0..1_000_u32),
                random.random_range(0..4_u32) * 50_000
            );
            let time = format!(
                "20{:02}-{:02}-{:02} {:02}:{:02}:{:02}.{:06}",
                random.random_range(0..99_u32),
                random.random_range(1..13_u32),
                random.random_range(1..29_u32),
                random.random_range(0..24_u32),
                random.random_range(0..60_u32),
                random.random_range(0..60_u32),
                random.random_range(0..11_u32) * 100_000 % 1_000_000
            );
            let raw: Vec<u8> = (0..random.random_range(0..40)).map(|_| random.random()).collect();
            let uid = uuid_of(random.random());
            let day = time.chars().take(10).collect::<String>();
            let (a, b, c) = (
                letters(12, &mut random, &wild),
                letters(9, &mut random, &["a", "é", "|", " "]),
                letters(9, &mut random, &wild),
            );
            vec![
                Value::Int(1_000 + id),
                maybe(Value::Text(a), &mut random),
                maybe(Value::Text(b), &mut random),
                maybe(Value::Text(c), &mut random),
                maybe(Value::Text(amount), &mut random),
                maybe(Value::Int(i128::from(random.random::<u64>())), &mut random),
                maybe(Value::Text(time), &mut random),
                maybe(Value::Text(day), &mut random),
                maybe(Value::Bool(random.random()), &mut random),
                maybe(Value::Bytes(raw), &mut random),
                maybe(Value::Text(uid), &mut random),
            ]
        })
        .collect()
}

/// A version 4 uuid: MariaDB refuses other variants.
fn uuid_of(random: u128) -> String {
    let bits = random & !(0xf000 << 64) & !(0xc000 << 48) | (0x4000 << 64) | (0x8000 << 48);
    let digits = format!("{bits:032x}");
    [0..8, 8..12, 12..16, 16..20, 20..32].map(|part| digits.get(part).unwrap()).join("-")
}

async fn insert(at: &mut Connection, rows: &[Vec<Value>]) {
    let table = WriteTarget { table: "hard", columns: COLUMNS.to_vec(), key: vec!["id"] };
    let (start, end) = at.dialect.write_frame(&table, Existing::No);
    for row in rows {
        let mut sql = start.clone();
        for (number, value) in row.iter().enumerate() {
            sql.push(if number == 0 { '(' } else { ',' });
            at.dialect.push_literal(value, &mut sql).unwrap();
        }
        at.run("insert", &format!("{sql}){end}")).await.unwrap();
    }
}

/// Lanes in the database and here, in sum and per root.
async fn both_ways(
    measure: &Measure,
    at: &mut Connection,
    shapes: &[TableShape],
) -> (Lanes, BTreeMap<RootKey, TableLanes>) {
    let here = Measure {
        engine: measure.engine,
        canonical: measure.canonical,
        ways: vec![Way { hash: None, root: None }],
    };
    let select = [Some(format!("SELECT {} FROM hard", COLUMNS.join(", ")))];
    let per_root = measure.by_root(at, shapes, &select).await.unwrap();
    let per_root_here = here.by_root(at, shapes, &select).await.unwrap();
    for (root, lanes) in &per_root_here {
        assert_eq!(per_root.get(root), Some(lanes), "{:?}, row {root}", measure.engine);
    }
    assert_eq!(per_root.len(), per_root_here.len());
    let total = measure.total(at, shapes, &select).await.unwrap();
    assert_eq!(total, here.total(at, shapes, &select).await.unwrap());
    (total[0], per_root)
}

async fn connect(urls: &SideUrls, side: Side) -> Connection {
    let started = Instant::now();
    loop {
        match Connection::open(urls, side).await {
            Ok(connection) => return connection,
            Err(error) => assert!(started.elapsed() < Duration::from_secs(30), "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn mariadb_postgres_and_rust_give_the_same_lanes() {
    let booted = tokio::task::spawn_blocking(|| {
        (banyan_test_servers::mariadb(), banyan_test_servers::postgres())
    });
    let (mariadb, postgres) = booted.await.unwrap();
    let (Some(mariadb), Some(postgres)) = (or_skip(mariadb), or_skip(postgres)) else { return };
    let legacy = format!("mysql://root@127.0.0.1:{}/mysql", mariadb.port());
    let new = format!("postgres://postgres@127.0.0.1:{}/postgres", postgres.port());
    let urls = SideUrls { legacy: legacy.clone(), new: new.clone() };
    let (mut my, mut pg) = (connect(&urls, Side::Legacy).await, connect(&urls, Side::New).await);
    my.run("create", MARIADB).await.unwrap();
    pg.run("create", POSTGRES).await.unwrap();
    let seed = rand::random();
    println!("seed {seed}");
    let mut rows = hard_rows();
    rows.extend(random_rows(seed, 300));
    insert(&mut my, &rows).await;
    insert(&mut pg, &rows).await;
    for to in [Side::New, Side::Legacy] {
        let job = job(&legacy, &new, to);
        let (source, target) =
            if to == Side::New { (&mut my, &mut pg) } else { (&mut pg, &mut my) };
        let shapes = crate::shape::resolve(job.spec(), to, source, target).await.unwrap();
        let mut here = Vec::new();
        let of_source = Measure::of_source(&job.inner, source, &shapes, &mut here).await.unwrap();
        let of_target = Measure::of_target(&job.inner, target, &shapes, &mut here).await.unwrap();
        assert_eq!(here, [], "toward {}", to.as_str());
        let wanted = both_ways(&of_source, source, &shapes).await;
        let found = both_ways(&of_target, target, &shapes).await;
        for (root, lanes) in &wanted.1 {
            assert_eq!(found.1.get(root), Some(lanes), "toward {}, row {root}", to.as_str());
        }
        assert_eq!(wanted, found);
        assert_eq!(wanted.0.rows, u64::try_from(rows.len()).unwrap());
    }
}

#[test]
fn a_missing_hash_is_no_sum() {
    let row = |hashes| [Value::Int(3), Value::Int(hashes), text("12"), text("13")];
    assert_eq!(lanes_of(&row(3)), Some(Lanes { rows: 3, sums: [12, 13] }));
    assert_eq!(lanes_of(&row(2)), None, "NULL would be a silent equality");
    let none = [Value::Int(0), Value::Int(0), Value::Null, Value::Null];
    assert_eq!(lanes_of(&none), Some(Lanes::default()));
}
