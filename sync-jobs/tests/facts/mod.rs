//! The hard values of the roundtrip test: what each type holds, and what no column of the target can.

use crate::bases::At;

/// One column of the table: its type, how a client reads it, what is written and what is seen. Arrays are in
/// the order SQLite, Postgres, MariaDB.
pub(crate) struct Class {
    pub(crate) name: &'static str,
    pub(crate) types: [&'static str; 3],
    pub(crate) read: [&'static str; 3],
    pub(crate) facts: &'static [([&'static str; 3], [&'static str; 3])],
}

/// `c` is the column, `w` what the engine's client would write.
const TEXT: [&str; 3] = ["CAST(c AS TEXT)", "c::text", "CAST(c AS CHAR)"];
const HEX: [&str; 3] =
    ["CASE WHEN c IS NOT NULL THEN lower(hex(c)) END", "encode(c, 'hex')", "LOWER(HEX(c))"];
const NUMBER: [&str; 3] = ["CAST(c AS TEXT)", "c::text", "CAST(c + 0 AS CHAR)"];
const FLOAT: [&str; 3] = ["CAST(c = w AS TEXT)", "(c = w)::int::text", "CAST(c = w AS CHAR)"];
const REAL: [&str; 3] = ["CAST(c = w AS TEXT)", "(c = w)::int::text", "CAST(c + 0e0 = w AS CHAR)"];
const SAME: [&str; 3] = ["1", "1", "1"];

const fn all(text: &str) -> [&str; 3] {
    [text, text, text]
}

pub(crate) const CLASSES: &[Class] = &[
    Class {
        name: "a_money",
        types: ["DECIMAL(12,2)", "numeric(12,2)", "DECIMAL(12,2)"],
        read: TEXT,
        facts: &[
            (all("0.10"), ["0.1", "0.10", "0.10"]),
            (all("-9999999999.99"), all("-9999999999.99")),
            (all("0"), ["0", "0.00", "0.00"]),
            (all("1234567.5"), ["1234567.5", "1234567.50", "1234567.50"]),
        ],
    },
    Class {
        name: "a_wide_decimal",
        types: ["TEXT", "numeric(38,18)", "DECIMAL(38,18)"],
        read: TEXT,
        facts: &[
            (
                [
                    "'12345678901234567890.123456789012345678'",
                    "12345678901234567890.123456789012345678",
                    "12345678901234567890.123456789012345678",
                ],
                all("12345678901234567890.123456789012345678"),
            ),
            (
                ["'-0.000000000000000001'", "-0.000000000000000001", "-0.000000000000000001"],
                all("-0.000000000000000001"),
            ),
        ],
    },
    Class {
        name: "a_big",
        types: ["BIGINT", "bigint", "BIGINT"],
        read: TEXT,
        facts: &[
            (all("9223372036854775807"), all("9223372036854775807")),
            (
                ["-9223372036854775807 - 1", "'-9223372036854775808'", "-9223372036854775808"],
                all("-9223372036854775808"),
            ),
        ],
    },
    Class {
        name: "a_unsigned_big",
        types: ["TEXT", "numeric(20)", "BIGINT UNSIGNED"],
        read: TEXT,
        facts: &[
            (
                ["'18446744073709551615'", "18446744073709551615", "18446744073709551615"],
                all("18446744073709551615"),
            ),
            (["'0'", "0", "0"], all("0")),
        ],
    },
    Class {
        name: "a_zerofill",
        types: ["INTEGER", "integer", "INT(8) UNSIGNED ZEROFILL"],
        read: ["CAST(c AS TEXT)", "c::text", "CAST(c + 0 AS CHAR)"],
        facts: &[(all("42"), all("42")), (all("0"), all("0"))],
    },
    Class {
        name: "a_flag",
        types: ["BOOLEAN", "boolean", "TINYINT(1)"],
        read: TEXT,
        facts: &[(all("TRUE"), ["1", "true", "1"]), (all("FALSE"), ["0", "false", "0"])],
    },
    Class {
        name: "a_one_bit",
        types: ["BOOLEAN", "boolean", "BIT(1)"],
        read: NUMBER,
        facts: &[
            (["1", "TRUE", "b'1'"], ["1", "true", "1"]),
            (["0", "FALSE", "b'0'"], ["0", "false", "0"]),
        ],
    },
    Class {
        name: "a_bits",
        types: ["INTEGER", "bit(8)", "BIT(8)"],
        read: NUMBER,
        facts: &[
            (["5", "B'00000101'", "b'101'"], ["5", "00000101", "5"]),
            (["255", "B'11111111'", "b'11111111'"], ["255", "11111111", "255"]),
            (["0", "B'00000000'", "b'0'"], ["0", "00000000", "0"]),
        ],
    },
    Class {
        name: "a_born",
        types: ["INTEGER", "smallint", "YEAR"],
        read: TEXT,
        facts: &[
            (all("1999"), all("1999")),
            (["0", "0", "'0000'"], ["0", "0", "0000"]),
            (all("2155"), all("2155")),
        ],
    },
    Class {
        name: "a_padded",
        types: ["TEXT", "char(6)", "CHAR(6)"],
        read: TEXT,
        facts: &[
            (["'ab'", "'ab  '", "'ab  '"], all("ab")),
            (["' é😀'", "' é😀'", "' é😀   '"], all(" é😀")),
            (["''", "'  '", "' '"], all("")),
        ],
    },
    Class {
        name: "a_free",
        types: ["TEXT", "text", "TEXT"],
        read: TEXT,
        facts: &[
            (all("''"), all("")),
            (all("'NULL'"), all("NULL")),
            (all("'a|b~'"), all("a|b~")),
            (all("'trailing  '"), all("trailing  ")),
            (["'it''s \\ é😀'", "'it''s \\ é😀'", "'it''s \\\\ é😀'"], all("it's \\ é😀")),
            (["char(10) || 'x' || char(9)", "E'\\nx\\t'", "'\\nx\\t'"], all("\nx\t")),
        ],
    },
    Class {
        name: "a_short",
        types: ["VARCHAR(5)", "varchar(5)", "VARCHAR(5)"],
        read: TEXT,
        facts: &[(all("'éé   '"), all("éé   ")), (all("'😀😀😀😀😀'"), all("😀😀😀😀😀"))],
    },
    Class {
        name: "a_western",
        types: ["TEXT", "text", "VARCHAR(20) CHARACTER SET latin1"],
        read: TEXT,
        facts: &[(all("'café €'"), all("café €"))],
    },
    Class {
        name: "a_day",
        types: ["DATE", "date", "DATE"],
        read: TEXT,
        facts: &[
            (all("'0001-01-01'"), all("0001-01-01")),
            (all("'9999-12-31'"), all("9999-12-31")),
            (all("'2016-02-29'"), all("2016-02-29")),
        ],
    },
    Class {
        name: "a_moment",
        types: ["DATETIME", "timestamp", "DATETIME(6)"],
        read: TEXT,
        facts: &[
            (all("'2014-06-12 10:00:00.123456'"), all("2014-06-12 10:00:00.123456")),
            (
                all("'9999-12-31 23:59:59.5'"),
                ["9999-12-31 23:59:59.5", "9999-12-31 23:59:59.5", "9999-12-31 23:59:59.500000"],
            ),
        ],
    },
    Class {
        name: "a_second",
        types: ["DATETIME", "timestamp(0)", "DATETIME"],
        read: TEXT,
        facts: &[(all("'1000-01-01 00:00:00'"), all("1000-01-01 00:00:00"))],
    },
    Class {
        name: "a_zoned",
        types: ["TIMESTAMP", "timestamptz(3)", "TIMESTAMP(3) NULL"],
        read: ["c", "(c AT TIME ZONE 'UTC')::text", "CAST(c AS CHAR)"],
        facts: &[(
            ["'2014-06-12 10:00:00.25'", "'2014-06-12 12:00:00.25+02'", "'2014-06-12 10:00:00.25'"],
            ["2014-06-12 10:00:00.25", "2014-06-12 10:00:00.25", "2014-06-12 10:00:00.250"],
        )],
    },
    Class {
        name: "a_clock",
        types: ["TIME", "time(3)", "TIME(3)"],
        read: TEXT,
        facts: &[
            (all("'23:59:59.999'"), all("23:59:59.999")),
            (all("'00:00:00'"), ["00:00:00", "00:00:00", "00:00:00.000"]),
        ],
    },
    Class {
        name: "a_double",
        types: ["REAL", "double precision", "DOUBLE"],
        read: FLOAT,
        facts: &[
            (["0.1", "0.1::float8", "0.1"], SAME),
            (["0.30000000000000004", "0.30000000000000004::float8", "0.30000000000000004e0"], SAME),
            (
                [
                    "1.7976931348623157e308",
                    "1.7976931348623157e308::float8",
                    "1.7976931348623157e308",
                ],
                SAME,
            ),
            (
                [
                    "-2.2250738585072014e-308",
                    "-2.2250738585072014e-308::float8",
                    "-2.2250738585072014e-308",
                ],
                SAME,
            ),
            (["0.0", "'-0'::float8", "-0.0"], SAME),
        ],
    },
    Class {
        name: "a_single",
        types: ["REAL", "real", "FLOAT"],
        read: REAL,
        facts: &[
            (["0.10000000149011612", "0.1::real", "0.10000000149011612e0"], SAME),
            (["16777215.0", "16777215::real", "16777215"], SAME),
            (["1.2345678806304932", "1.2345679::real", "1.2345678806304932e0"], SAME),
        ],
    },
    Class {
        name: "a_ident",
        types: ["UUID", "uuid", "UUID"],
        read: TEXT,
        facts: &[(
            all("'A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11'"),
            all("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"),
        )],
    },
    Class {
        name: "a_mood",
        types: ["TEXT", "mood", "ENUM('sad','so so','it''s (ok)')"],
        read: TEXT,
        facts: &[(all("'so so'"), all("so so")), (all("'it''s (ok)'"), all("it's (ok)"))],
    },
    Class {
        name: "a_named",
        types: ["TEXT", "short_name", "VARCHAR(8)"],
        read: TEXT,
        facts: &[(all("'domain'"), all("domain"))],
    },
    Class {
        name: "a_tags",
        types: ["TEXT", "text", "SET('b','a','c')"],
        read: TEXT,
        facts: &[(all("'b,c'"), all("b,c")), (all("''"), all(""))],
    },
    Class {
        name: "a_document",
        types: ["JSON", "jsonb", "JSON"],
        read: [
            "c ->> '$.a' || (c ->> '$.b[0]' + 0)",
            "c->>'a' || round((c->'b'->>0)::numeric, 1)",
            "CONCAT(JSON_VALUE(c, '$.a'), JSON_VALUE(c, '$.b[0]') + 0)",
        ],
        facts: &[(
            all("'{\"b\": [1.50, null, {\"z\": 1, \"y\": true}], \"a\": \"é\"}'"),
            all("é1.5"),
        )],
    },
    Class {
        name: "a_document_text",
        types: ["JSON", "json", "LONGTEXT"],
        read: ["c ->> '$.a'", "c->>'a'", "JSON_VALUE(c, '$.a')"],
        facts: &[(all("'{ \"b\" : 1e2 , \"a\" : \"x\" }'"), all("x"))],
    },
    Class {
        name: "a_picture",
        types: ["BLOB", "bytea", "BLOB"],
        read: HEX,
        facts: &[
            (["X'00FF275C'", "'\\x00ff275c'", "X'00FF275C'"], all("00ff275c")),
            (["X''", "''", "X''"], all("")),
        ],
    },
    Class {
        name: "a_digest",
        types: ["BLOB", "bytea", "BINARY(4)"],
        read: HEX,
        facts: &[(["X'01020000'", "'\\x01020000'", "X'01020000'"], all("01020000"))],
    },
];

/// A value that its target cannot store: source type, value, target type, a part of the refusal.
pub(crate) struct Refusal {
    pub(crate) engines: [At; 2],
    pub(crate) source: &'static str,
    pub(crate) value: &'static str,
    pub(crate) target: &'static str,
    pub(crate) says: &'static str,
}

const fn refusal(engines: [At; 2], [source, value, target, says]: [&'static str; 4]) -> Refusal {
    Refusal { engines, source, value, target, says }
}

pub(crate) const REFUSALS: &[Refusal] = &[
    refusal(
        [At::Postgres, At::MariaDb],
        [
            "uuid",
            "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'",
            "BINARY(16)",
            "36 bytes, the column stores 16",
        ],
    ),
    refusal(
        [At::MariaDb, At::Postgres],
        ["BINARY(16)", "X'A0EEBC999C0B4EF8BB6D6BB9BD380A11'", "uuid", "not UTF-8"],
    ),
    refusal(
        [At::Postgres, At::MariaDb],
        ["numeric", "1.255", "DECIMAL(12,2)", "3 digits after the point, the column stores 2"],
    ),
    refusal([At::Postgres, At::MariaDb], ["numeric", "'NaN'", "DECIMAL(12,2)", "does not fit"]),
    refusal(
        [At::Postgres, At::Sqlite],
        ["numeric", "1234567890.123456789", "DECIMAL(30,10)", "19 digits, the column stores 15"],
    ),
    refusal(
        [At::MariaDb, At::Postgres],
        ["BIGINT UNSIGNED", "18446744073709551615", "bigint", "outside the range"],
    ),
    refusal([At::MariaDb, At::Postgres], ["TINYINT(1)", "2", "boolean", "does not fit"]),
    refusal(
        [At::MariaDb, At::Postgres],
        [
            "DATETIME(6)",
            "'2014-06-12 10:00:00.5'",
            "timestamp(0)",
            "1 digits of a second, the column stores 0",
        ],
    ),
    refusal([At::MariaDb, At::Postgres], ["TIME", "'838:59:59'", "time", "longer than a day"]),
    refusal(
        [At::MariaDb, At::Postgres],
        ["DATETIME", "'0000-00-00 00:00:00'", "timestamp", "zero date"],
    ),
    refusal([At::MariaDb, At::MariaDb], ["DATE", "'2014-00-00'", "DATE", "zero date"]),
    refusal([At::Postgres, At::MariaDb], ["timestamp", "'infinity'", "DATETIME", "infinity"]),
    refusal([At::Postgres, At::MariaDb], ["double precision", "0.1", "FLOAT", "not exact"]),
    refusal(
        [At::Postgres, At::Sqlite],
        ["double precision", "'NaN'", "REAL", "outside the range of the sqlite engine"],
    ),
    refusal([At::Sqlite, At::MariaDb], ["INTEGER", "5", "YEAR", "outside the range"]),
    refusal([At::MariaDb, At::Postgres], ["TEXT", "CONCAT('a', CHAR(0))", "text", "NUL"]),
    refusal(
        [At::Sqlite, At::Postgres],
        ["TEXT", "CAST(X'61FF' AS TEXT)", "text", "not UTF-8 from byte 1"],
    ),
    refusal(
        [At::Sqlite, At::MariaDb],
        ["TEXT", "'ab    '", "VARCHAR(3)", "6 characters, the column stores 3"],
    ),
    refusal(
        [At::Postgres, At::MariaDb],
        ["bytea", "'\\x01'", "BINARY(4)", "1 bytes, the column stores 4"],
    ),
    refusal([At::Sqlite, At::Postgres], ["TEXT", "'{\"a\":1,\"a\":2}'", "jsonb", "one key twice"]),
];
