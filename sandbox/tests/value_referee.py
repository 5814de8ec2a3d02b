"""What Google's documentation says that an expression gives: function or operator, page, and (SQL, answer) of its edges.

`test_value_referee.py` asks the sandbox's BigQuery each, and compares the functions here with those of the models.
ERROR is a statement that fails. Names are sqlglot's, as `sqlglot.exp.Func.sql_name` and the operators' classes have them.
"""

from __future__ import annotations

from datetime import date
from typing import Any

ERROR = object()
REFERENCE = "https://cloud.google.com/bigquery/docs/reference/standard-sql/"
STRINGS = REFERENCE + "string_functions#"
ARRAYS = REFERENCE + "array_functions#"
CONDITIONS = REFERENCE + "conditional_expressions#"
AGGREGATES = REFERENCE + "aggregate_functions#"
CASTS = REFERENCE + "conversion_functions#"
OPERATORS = REFERENCE + "operators#"
JSONS = REFERENCE + "json_functions#"
MATHS = REFERENCE + "mathematical_functions#"
NUMBERINGS = REFERENCE + "numbering_functions#"
QUERIES = REFERENCE + "query-syntax#"
NOTHING = "FROM UNNEST(CAST([] AS ARRAY<INT64>)) x"

REFEREE: dict[str, tuple[str, list[tuple[str, Any]]]] = {
    "JSON_FORMAT": (
        JSONS + "to_json_string",
        [
            ("TO_JSON_STRING(NULL)", "null"),
            ("TO_JSON_STRING(CAST(NULL AS JSON))", "null"),
            ("TO_JSON_STRING(CAST(NULL AS STRING))", "null"),
            ("TO_JSON_STRING('')", '""'),
            ("TO_JSON_STRING('a\"b\\\\c')", '"a\\"b\\\\c"'),
            ("TO_JSON_STRING('Ünïcode')", '"Ünïcode"'),
            ("TO_JSON_STRING(9007199254740992)", "9007199254740992"),
            ("TO_JSON_STRING(9007199254740993)", '"9007199254740993"'),
            ("TO_JSON_STRING(-9223372036854775808)", '"-9223372036854775808"'),
            ("TO_JSON_STRING(1.5)", "1.5"),
            ("TO_JSON_STRING(TRUE)", "true"),
            ("TO_JSON_STRING(DATE '2024-01-02')", '"2024-01-02"'),
            ("TO_JSON_STRING(TIMESTAMP '2024-01-02 03:04:05+00')", '"2024-01-02T03:04:05Z"'),
            ("TO_JSON_STRING([1, 2])", "[1,2]"),
            ("TO_JSON_STRING(CAST([] AS ARRAY<INT64>))", "[]"),
            ("TO_JSON_STRING(STRUCT(1 AS a, CAST(NULL AS STRING) AS b))", '{"a":1,"b":null}'),
            ("TO_JSON_STRING(JSON '{\"a\": null}')", '{"a":null}'),
        ],
    ),
    "COALESCE": (
        CONDITIONS + "coalesce",
        [
            ("COALESCE(NULL, 'b')", "b"),
            ("COALESCE('', 'b')", ""),
            ("COALESCE(CAST(NULL AS INT64), NULL)", None),
        ],
    ),
    "IF": (
        CONDITIONS + "if",
        [("IF(NULL, 1, 2)", 2), ("IF(TRUE, 1, ERROR('x'))", 1), ("IF(FALSE, 1, NULL)", None)],
    ),
    "CASE": (
        CONDITIONS + "case_expr",
        [
            ("CASE CAST(NULL AS INT64) WHEN NULL THEN 1 ELSE 2 END", 2),
            ("CASE WHEN NULL THEN 1 END", None),
            ("CASE WHEN FALSE THEN 1 WHEN TRUE THEN 2 END", 2),
        ],
    ),
    "NULLIF": (
        CONDITIONS + "nullif",
        [
            ("NULLIF('', '')", None),
            ("NULLIF('a', NULL)", "a"),
            ("NULLIF(CAST(NULL AS STRING), 'a')", None),
            ("NULLIF(' ', '')", " "),
        ],
    ),
    "ARRAY_SIZE": (
        ARRAYS + "array_length",
        [
            ("ARRAY_LENGTH(CAST([] AS ARRAY<INT64>))", 0),
            ("ARRAY_LENGTH(CAST(NULL AS ARRAY<INT64>))", None),
            ("ARRAY_LENGTH([1, NULL])", 2),
        ],
    ),
    "ARRAY_REVERSE": (
        ARRAYS + "array_reverse",
        [
            ("ARRAY_REVERSE([1, 2, 3])", [3, 2, 1]),
            ("ARRAY_LENGTH(ARRAY_REVERSE(CAST(NULL AS ARRAY<INT64>)))", None),
        ],
    ),
    "ARRAY_TO_STRING": (
        ARRAYS + "array_to_string",
        [
            ("ARRAY_TO_STRING(['a', NULL, 'b'], ', ')", "a, b"),
            ("ARRAY_TO_STRING(['a', NULL, 'b'], ', ', 'N')", "a, N, b"),
            ("ARRAY_TO_STRING(CAST([] AS ARRAY<STRING>), ',')", ""),
            ("ARRAY_TO_STRING(['', ''], ',')", ","),
            ("ARRAY_TO_STRING(CAST(NULL AS ARRAY<STRING>), ',')", None),
        ],
    ),
    "ARRAY": (
        ARRAYS + "array",
        [
            ("ARRAY(SELECT x FROM UNNEST([3, 1, 2]) x ORDER BY x)", [1, 2, 3]),
            (f"ARRAY_LENGTH(ARRAY(SELECT x {NOTHING}))", 0),
        ],
    ),
    "UNNEST": (
        QUERIES + "unnest_operator",
        [
            ("(SELECT COUNT(*) FROM UNNEST(CAST(NULL AS ARRAY<INT64>)))", 0),
            ("(SELECT COUNT(*) FROM UNNEST([1, NULL, 3]))", 3),
            ("(SELECT MAX(o) FROM UNNEST(['a', 'b']) x WITH OFFSET o)", 1),
        ],
    ),
    "Bracket": (
        OPERATORS + "array_subscript_operator",
        [
            ("[1, 2][OFFSET(0)]", 1),
            ("[1, 2][ORDINAL(1)]", 1),
            ("[1, 2][SAFE_OFFSET(2)]", None),
            ("[1, 2][SAFE_OFFSET(-1)]", None),
            ("CAST(NULL AS ARRAY<INT64>)[SAFE_OFFSET(0)]", None),
            ("[1, 2][OFFSET(2)]", ERROR),
        ],
    ),
    "CAST": (
        CASTS + "cast",
        [
            ("CAST(1.5 AS INT64)", 2),
            ("CAST(2.5 AS INT64)", 3),
            ("CAST(-0.5 AS INT64)", -1),
            ("CAST(TRUE AS INT64)", 1),
            ("CAST('0x123' AS INT64)", 291),
            ("CAST('-0x123' AS INT64)", -291),
            ("CAST('TrUe' AS BOOL)", True),
            ("CAST(TRUE AS STRING)", "true"),
            ("CAST(DATE '2024-01-02' AS STRING)", "2024-01-02"),
            ("CAST(TIMESTAMP '2024-01-02 03:04:05+00' AS STRING)", "2024-01-02 03:04:05+00"),
            ("CAST('apple' AS INT64)", ERROR),
            ("CAST(CAST(NULL AS STRING) AS INT64)", None),
        ],
    ),
    "TRY_CAST": (
        CASTS + "safe_casting",
        [
            ("SAFE_CAST('apple' AS INT64)", None),
            ("SAFE_CAST('' AS INT64)", None),
            ("SAFE_CAST('1.5' AS INT64)", None),
            ("SAFE_CAST('1e3' AS INT64)", None),
            ("SAFE_CAST('0x1F' AS INT64)", 31),
            ("SAFE_CAST('9223372036854775808' AS INT64)", None),
            ("SAFE_CAST('1e3' AS FLOAT64)", 1000.0),
            ("SAFE_CAST('yes' AS BOOL)", None),
            ("SAFE_CAST('t' AS BOOL)", None),
            ("SAFE_CAST('1' AS BOOL)", None),
            ("SAFE_CAST('2024-02-30' AS DATE)", None),
            ("SAFE_CAST('20240230' AS DATE)", None),
            ("SAFE_CAST('soon' AS TIMESTAMP)", None),
            ("SAFE_CAST(CAST(NULL AS STRING) AS INT64)", None),
        ],
    ),
    "COUNT": (
        AGGREGATES + "count",
        [
            (f"(SELECT COUNT(*) {NOTHING})", 0),
            ("(SELECT COUNT(x) FROM UNNEST([1, NULL]) x)", 1),
            ("(SELECT COUNT(DISTINCT x) FROM UNNEST([1, 1, NULL]) x)", 1),
        ],
    ),
    "COUNT_IF": (
        AGGREGATES + "countif",
        [
            (f"(SELECT COUNTIF(x > 0) {NOTHING})", 0),
            ("(SELECT COUNTIF(x > 1) FROM UNNEST([1, 2, NULL]) x)", 1),
        ],
    ),
    "LOGICAL_OR": (
        AGGREGATES + "logical_or",
        [
            ("(SELECT LOGICAL_OR(x) FROM UNNEST([TRUE, NULL]) x)", True),
            ("(SELECT LOGICAL_OR(x) FROM UNNEST([FALSE, NULL]) x)", False),
            (f"(SELECT LOGICAL_OR(x > 0) {NOTHING})", None),
        ],
    ),
    "MAX": (
        AGGREGATES + "max",
        [
            ("(SELECT MAX(x) FROM UNNEST([1, NULL, 3]) x)", 3),
            (f"(SELECT MAX(x) {NOTHING})", None),
            ("(SELECT MAX(x) FROM UNNEST(['a', 'B', 'é']) x)", "é"),
        ],
    ),
    "MIN": (
        AGGREGATES + "min",
        [
            ("(SELECT MIN(x) FROM UNNEST([2, NULL, 3]) x)", 2),
            (f"(SELECT MIN(x) {NOTHING})", None),
            ("(SELECT MIN(x) FROM UNNEST(['a', 'B']) x)", "B"),
        ],
    ),
    "SUM": (
        AGGREGATES + "sum",
        [
            ("(SELECT SUM(x) FROM UNNEST([1, NULL]) x)", 1),
            (f"(SELECT SUM(x) {NOTHING})", None),
            ("(SELECT SUM(x) FROM UNNEST([9223372036854775807, 1]) x)", ERROR),
        ],
    ),
    "ARRAY_AGG": (
        AGGREGATES + "array_agg",
        [
            ("ARRAY_LENGTH((SELECT ARRAY_AGG(x) FROM UNNEST([1, NULL]) x))", 2),
            ("(SELECT ARRAY_AGG(x IGNORE NULLS ORDER BY x DESC) FROM UNNEST([1, NULL, 2]) x)", [2, 1]),
            (f"ARRAY_LENGTH((SELECT ARRAY_AGG(x) {NOTHING}))", None),
            ("(SELECT ARRAY_AGG(x ORDER BY x LIMIT 1) FROM UNNEST([2, 1]) x)", [1]),
        ],
    ),
    "GROUP_CONCAT": (
        AGGREGATES + "string_agg",
        [
            ("(SELECT STRING_AGG(x, '|' ORDER BY x) FROM UNNEST(['b', NULL, 'a', '']) x)", "|a|b"),
            ("(SELECT STRING_AGG(x) FROM UNNEST([CAST(NULL AS STRING)]) x)", None),
        ],
    ),
    "FORMAT": (
        STRINGS + "format_string",
        [
            ("FORMAT('%d', 5)", "5"),
            ("FORMAT('%02d', 5)", "05"),
            ("FORMAT('%s', 'x')", "x"),
            ("FORMAT('%d', CAST(NULL AS INT64))", None),
            ("FORMAT('%s', CAST(NULL AS STRING))", None),
            ("FORMAT('%t', CAST(NULL AS STRING))", "NULL"),
            ("FORMAT('%T', 'a')", '"a"'),
            ("FORMAT('%t', DATE '2024-01-02')", "2024-01-02"),
            ('FORMAT("%\'d", 1234567)', "1,234,567"),
            ("FORMAT('%.1f%%', 12.25)", "12.2%"),
            ("FORMAT('%5s|%-5s', 'a', 'b')", "    a|b    "),
        ],
    ),
    "REGEXP_EXTRACT": (
        STRINGS + "regexp_extract",
        [
            ("REGEXP_EXTRACT('abc', 'x')", None),
            ("REGEXP_EXTRACT('abc', 'b')", "b"),
            ("REGEXP_EXTRACT('S01E02', r'S(\\d+)')", "01"),
            ("REGEXP_EXTRACT('SE', r'S(\\d*)')", ""),
            ("REGEXP_EXTRACT('', 'x*')", ""),
            ("REGEXP_EXTRACT(CAST(NULL AS STRING), 'x')", None),
            ("REGEXP_EXTRACT('a\\nb', '^b$')", None),
            ("REGEXP_EXTRACT('a1b2', r'(\\d)(\\d)?')", ERROR),
        ],
    ),
    "SPLIT": (
        STRINGS + "split",
        [
            ("SPLIT('', ',')", [""]),
            ("SPLIT('a,,b')", ["a", "", "b"]),
            ("SPLIT('abc', '')", ["a", "b", "c"]),
            ("ARRAY_LENGTH(SPLIT(CAST(NULL AS STRING), ','))", None),
            ("SPLIT('a.b', '.')", ["a", "b"]),
        ],
    ),
    "SAFE_FUNC": (REFERENCE + "functions-reference#safe_prefix", [("SAFE.PARSE_DATE('%F', 'x')", None)]),
    "STR_TO_DATE": (
        REFERENCE + "date_functions#parse_date",
        [
            ("PARSE_DATE('%B %e, %Y', 'December 2, 2013')", date(2013, 12, 2)),
            ("PARSE_DATE('%B %e, %Y', 'december 2, 2013')", date(2013, 12, 2)),
            ("PARSE_DATE('%B %e, %Y', ' December 02, 2013 ')", date(2013, 12, 2)),
            ("PARSE_DATE('%Y', '2013')", date(2013, 1, 1)),
            ("SAFE.PARSE_DATE('%B %e, %Y', 'Decembre 2, 2013')", None),
            ("SAFE.PARSE_DATE('%B %e, %Y', 'December 2, 2013 x')", None),
            ("SAFE.PARSE_DATE('%B %e, %Y', 'February 30, 2013')", None),
            ("SAFE.PARSE_DATE('%B %e, %Y', '')", None),
            ("PARSE_DATE('%F', CAST(NULL AS STRING))", None),
        ],
    ),
    "TIMESTAMPDIFF": (
        REFERENCE + "timestamp_functions#timestamp_diff",
        [
            (
                "TIMESTAMP_DIFF(TIMESTAMP '2001-02-01 01:00:00+00', TIMESTAMP '2001-02-01 00:00:01+00', HOUR)",
                0,
            ),
            (
                "TIMESTAMP_DIFF(TIMESTAMP '2018-08-14 00:00:00+00', TIMESTAMP '2018-10-14 00:00:00+00', DAY)",
                -61,
            ),
            (
                "TIMESTAMP_DIFF(TIMESTAMP '2024-01-02 00:00:00+00', TIMESTAMP '2024-01-01 00:00:01+00', DAY)",
                0,
            ),
            (
                "TIMESTAMP_DIFF(TIMESTAMP '2024-01-01 00:00:00+00', TIMESTAMP '2024-01-01 23:59:59+00', DAY)",
                0,
            ),
            ("TIMESTAMP_DIFF(CAST(NULL AS TIMESTAMP), TIMESTAMP '2024-01-01 00:00:00+00', SECOND)", None),
        ],
    ),
    "DATE_DIFF": (
        REFERENCE + "date_functions#date_diff",
        [
            ("DATE_DIFF(DATE '2010-07-07', DATE '2008-12-25', DAY)", 559),
            ("DATE_DIFF(DATE '2017-10-15', DATE '2017-10-14', DAY)", 1),
            ("DATE_DIFF(DATE '2017-10-15', DATE '2017-10-14', WEEK)", 1),
            ("DATE_DIFF(DATE '2017-12-30', DATE '2014-12-30', YEAR)", 3),
            ("DATE_DIFF(DATE '2024-01-01', DATE '2023-12-31', YEAR)", 1),
        ],
    ),
    "DATE": (
        REFERENCE + "date_functions#date",
        [
            ("DATE(2016, 12, 25)", date(2016, 12, 25)),
            ("DATE(TIMESTAMP '2016-12-25 23:59:59+00')", date(2016, 12, 25)),
            ("DATE(CAST(NULL AS TIMESTAMP))", None),
        ],
    ),
    "DATE_SUB": (
        REFERENCE + "date_functions#date_sub",
        [
            ("DATE_SUB(DATE '2008-12-25', INTERVAL 5 DAY)", date(2008, 12, 20)),
            ("DATE_SUB(DATE '2024-03-31', INTERVAL 1 MONTH)", date(2024, 2, 29)),
            ("DATE_SUB(CAST(NULL AS DATE), INTERVAL 1 DAY)", None),
        ],
    ),
    "GENERATE_DATE_ARRAY": (
        ARRAYS + "generate_date_array",
        [
            (
                "GENERATE_DATE_ARRAY('2016-10-05', '2016-10-07')",
                [date(2016, 10, 5), date(2016, 10, 6), date(2016, 10, 7)],
            ),
            ("ARRAY_LENGTH(GENERATE_DATE_ARRAY('2016-10-07', '2016-10-05'))", 0),
            ("ARRAY_LENGTH(GENERATE_DATE_ARRAY('2016-10-05', NULL))", None),
        ],
    ),
    "FIRST_VALUE": (
        REFERENCE + "navigation_functions#first_value",
        [
            ("ARRAY(SELECT COALESCE(FIRST_VALUE(x) OVER (ORDER BY x), 0) FROM UNNEST([2, NULL]) x)", [0, 0]),
            (
                "(SELECT MAX(v) FROM (SELECT FIRST_VALUE(x IGNORE NULLS) OVER (ORDER BY x) AS v FROM UNNEST([2, NULL]) x))",
                2,
            ),
        ],
    ),
    "TIMESTAMP_ADD": (
        REFERENCE + "timestamp_functions#timestamp_add",
        [
            ("UNIX_MILLIS(TIMESTAMP_ADD(TIMESTAMP '1970-01-01 00:00:00+00', INTERVAL 10 MINUTE))", 600000),
            ("UNIX_MILLIS(TIMESTAMP_ADD(CAST(NULL AS TIMESTAMP), INTERVAL 10 MINUTE))", None),
        ],
    ),
    "UNIX_MILLIS": (
        REFERENCE + "timestamp_functions#unix_millis",
        [
            ("UNIX_MILLIS(TIMESTAMP '2008-12-25 15:30:00+00')", 1230219000000),
            ("UNIX_MILLIS(TIMESTAMP '1970-01-01 00:00:00.0018+00')", 1),
            ("UNIX_MILLIS(CAST(NULL AS TIMESTAMP))", None),
        ],
    ),
    "UNIX_TO_TIME": (
        REFERENCE + "timestamp_functions#timestamp_millis",
        [
            ("UNIX_MILLIS(TIMESTAMP_MILLIS(1230219000000))", 1230219000000),
            ("UNIX_MILLIS(TIMESTAMP_MILLIS(-1))", -1),
            ("UNIX_MILLIS(TIMESTAMP_MILLIS(CAST(NULL AS INT64)))", None),
        ],
    ),
    "LAG": (
        REFERENCE + "navigation_functions#lag",
        [("ARRAY(SELECT COALESCE(LAG(x) OVER (ORDER BY x), 0) FROM UNNEST([1, 2]) x ORDER BY 1)", [0, 1])],
    ),
    "LEAD": (
        REFERENCE + "navigation_functions#lead",
        [
            ("ARRAY(SELECT COALESCE(LEAD(x) OVER (ORDER BY x), 0) FROM UNNEST([1, 2]) x ORDER BY 1)", [0, 2]),
            ("ARRAY(SELECT LEAD(x, 1, 9) OVER (ORDER BY x) FROM UNNEST([1, 2]) x ORDER BY 1)", [2, 9]),
        ],
    ),
    "LOWER_HEX": (
        STRINGS + "to_hex",
        [
            ("TO_HEX(b'\\x00\\xff')", "00ff"),
            ("TO_HEX(FROM_HEX('00FF'))", "00ff"),
            ("TO_HEX(CAST(NULL AS BYTES))", None),
        ],
    ),
    "MD5": (REFERENCE + "hash_functions#md5", [("TO_HEX(MD5('abc'))", "900150983cd24fb0d6963f7d28e17f72")]),
    "MD5_DIGEST": (
        REFERENCE + "hash_functions#md5",
        [
            ("TO_HEX(MD5(''))", "d41d8cd98f00b204e9800998ecf8427e"),
            ("TO_HEX(MD5(CAST(NULL AS STRING)))", None),
        ],
    ),
    "UNIX_MICROS": (
        REFERENCE + "timestamp_functions#unix_micros",
        [("UNIX_MICROS(TIMESTAMP '2008-12-25 15:30:00+00')", 1230219000000000)],
    ),
    "TIME_TO_STR": (
        REFERENCE + "timestamp_functions#format_timestamp",
        [
            ("FORMAT_TIMESTAMP('%Y-%m-%d', TIMESTAMP '2008-12-25 15:30:00+00')", "2008-12-25"),
            ("FORMAT_TIMESTAMP('%F', CAST(NULL AS TIMESTAMP))", None),
        ],
    ),
    "CONCAT": (
        STRINGS + "concat",
        [("CONCAT('a', NULL)", None), ("CONCAT('a', '')", "a"), ("'a' || CAST(NULL AS STRING)", None)],
    ),
    "GREATEST": (MATHS + "greatest", [("GREATEST(1, NULL, 3)", None), ("GREATEST(1, 3)", 3)]),
    "LEAST": (MATHS + "least", [("LEAST(1, NULL)", None), ("LEAST('a', 'B')", "B")]),
    "ROUND": (
        MATHS + "round",
        [
            ("ROUND(2.5)", 3.0),
            ("ROUND(-2.5)", -3.0),
            ("ROUND(123.7, -1)", 120.0),
            ("ROUND(CAST(NULL AS FLOAT64))", None),
        ],
    ),
    "SAFE_DIVIDE": (
        MATHS + "safe_divide",
        [("SAFE_DIVIDE(20, 4)", 5.0), ("SAFE_DIVIDE(1, 0)", None), ("SAFE_DIVIDE(NULL, 1)", None)],
    ),
    "IntDiv": (
        MATHS + "div",
        [("DIV(20, 4)", 5), ("DIV(12, -7)", -1), ("DIV(0, 20)", 0), ("DIV(20, 0)", ERROR)],
    ),
    "Mod": (MATHS + "mod", [("MOD(25, 12)", 1), ("MOD(-25, 12)", -1), ("MOD(25, 0)", ERROR)]),
    "Div": (
        OPERATORS + "arithmetic_operators",
        [("7 / 2", 3.5), ("6 / 2", 3.0), ("1 / 0", ERROR), ("1 / CAST(NULL AS INT64)", None)],
    ),
    "Mul": (
        OPERATORS + "arithmetic_operators",
        [("3 * 2", 6), ("2 * CAST(NULL AS INT64)", None), ("9223372036854775807 * 2", ERROR)],
    ),
    "Add": (OPERATORS + "arithmetic_operators", [("1 + NULL", None), ("9223372036854775807 + 1", ERROR)]),
    "Sub": (
        OPERATORS + "arithmetic_operators",
        [("1 - CAST(NULL AS INT64)", None), ("-9223372036854775807 - 2", ERROR)],
    ),
    "Neg": (OPERATORS + "arithmetic_operators", [("-CAST(NULL AS INT64)", None), ("-(-1)", 1)]),
    "EQ": (
        OPERATORS + "comparison_operators",
        [
            ("NULL = NULL", None),
            ("'a' = 'A'", False),
            ("'' = ' '", False),
            ("CAST('NaN' AS FLOAT64) = CAST('NaN' AS FLOAT64)", False),
            ("STRUCT(1, 2) = STRUCT(1, 2)", True),
        ],
    ),
    "NEQ": (
        OPERATORS + "comparison_operators",
        [("1 != NULL", None), ("CAST('NaN' AS FLOAT64) != CAST('NaN' AS FLOAT64)", True)],
    ),
    "GT": (
        OPERATORS + "comparison_operators",
        [("'b' > 'a'", True), ("'a' > 'B'", True), ("NULL > 1", None)],
    ),
    "GTE": (OPERATORS + "comparison_operators", [("1 >= 1", True), ("NULL >= 1", None)]),
    "LT": (
        OPERATORS + "comparison_operators",
        [("TRUE < FALSE", False), ("CAST('NaN' AS FLOAT64) < 1", False)],
    ),
    "LTE": (
        OPERATORS + "comparison_operators",
        [("'' <= 'a'", True), ("CAST('NaN' AS FLOAT64) <= 1", False)],
    ),
    "Between": (
        OPERATORS + "comparison_operators",
        [("2 BETWEEN 1 AND 3", True), ("NULL BETWEEN 1 AND 3", None), ("0 BETWEEN 1 AND NULL", False)],
    ),
    "In": (
        OPERATORS + "in_operators",
        [
            ("1 IN (1, NULL)", True),
            ("2 IN (1, NULL)", None),
            ("NULL IN (1)", None),
            ("2 NOT IN (1, NULL)", None),
            ("1 IN UNNEST(CAST(NULL AS ARRAY<INT64>))", False),
        ],
    ),
    "Is": (
        OPERATORS + "is_operators",
        [
            ("NULL IS NULL", True),
            ("'' IS NULL", False),
            ("NULL IS TRUE", False),
            ("CAST(NULL AS BOOL) IS NOT FALSE", True),
        ],
    ),
    "NullSafeNEQ": (
        OPERATORS + "is_distinct",
        [
            ("NULL IS DISTINCT FROM NULL", False),
            ("1 IS DISTINCT FROM NULL", True),
            ("CAST('NaN' AS FLOAT64) IS DISTINCT FROM CAST('NaN' AS FLOAT64)", False),
        ],
    ),
    "AND": (OPERATORS + "logical_operators", [("NULL AND FALSE", False), ("NULL AND TRUE", None)]),
    "OR": (OPERATORS + "logical_operators", [("NULL OR TRUE", True), ("NULL OR FALSE", None)]),
    "Not": (OPERATORS + "logical_operators", [("NOT CAST(NULL AS BOOL)", None), ("NOT FALSE", True)]),
    "Ordered": (
        QUERIES + "order_by_clause",
        [
            ("ARRAY(SELECT COALESCE(x, 0) FROM UNNEST([2, NULL, 1]) x ORDER BY x)", [0, 1, 2]),
            ("ARRAY(SELECT COALESCE(x, 0) FROM UNNEST([2, NULL, 1]) x ORDER BY x DESC)", [2, 1, 0]),
            ("ARRAY(SELECT x FROM UNNEST(['b', 'a', 'B', '']) x ORDER BY x)", ["", "B", "a", "b"]),
        ],
    ),
    "Window": (
        REFERENCE + "window-function-calls#def_window_frame",
        [
            ("ARRAY(SELECT SUM(x) OVER (ORDER BY x) FROM UNNEST([1, 1, 2]) x ORDER BY 1)", [2, 2, 4]),
            (
                "ARRAY(SELECT SUM(x) OVER (ORDER BY x ROWS 1 PRECEDING) FROM UNNEST([1, 2, 3]) x ORDER BY 1)",
                [1, 3, 5],
            ),
            ("ARRAY(SELECT COALESCE(LAG(x) OVER (ORDER BY x), 0) FROM UNNEST([1, 2]) x ORDER BY 1)", [0, 1]),
        ],
    ),
    "ROW_NUMBER": (
        NUMBERINGS + "row_number",
        [("ARRAY(SELECT ROW_NUMBER() OVER (ORDER BY x) FROM UNNEST([5, 5, 6]) x ORDER BY 1)", [1, 2, 3])],
    ),
    "DENSE_RANK": (
        NUMBERINGS + "dense_rank",
        [("ARRAY(SELECT DENSE_RANK() OVER (ORDER BY x) FROM UNNEST([5, 5, NULL]) x ORDER BY 1)", [1, 2, 2])],
    ),
    "Qualify": (
        QUERIES + "qualify_clause",
        [
            (
                "(SELECT MAX(x) FROM (SELECT x FROM UNNEST([1, 2]) x WHERE TRUE QUALIFY ROW_NUMBER() OVER (ORDER BY x) = 1))",
                1,
            )
        ],
    ),
    "STRUCT": (
        REFERENCE + "data-types#struct_type",
        [
            ("STRUCT(1 AS a, 'x' AS b)", {"a": 1, "b": "x"}),
            ("STRUCT(CAST(NULL AS INT64) AS a) IS NULL", False),
        ],
    ),
}
# What the sandbox gives otherwise, and why it stays so.
LIMITS = {
    "TO_HEX(b'\\x00\\xff')": "a bytes literal that is no UTF-8 cannot be parsed by DuckDB",
    "(SELECT SUM(x) FROM UNNEST([9223372036854775807, 1]) x)": "DuckDB adds integers in 128 bits",
    "CAST('NaN' AS FLOAT64) = CAST('NaN' AS FLOAT64)": "DuckDB's NaN equals itself",
    "CAST('NaN' AS FLOAT64) != CAST('NaN' AS FLOAT64)": "DuckDB's NaN equals itself",
}
# What needs no case of its own: syntax around the functions above.
SYNTAX = {
    "Paren",
    "CURRENT_TIMESTAMP",
    "TS_OR_DS_TO_TIMESTAMP",
    "OFFSET",
    "SAFE_OFFSET",
    "Order",
    "PropertyEQ",
    "Alias",
    "Dot",
}
