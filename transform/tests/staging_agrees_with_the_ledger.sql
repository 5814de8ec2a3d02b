-- Rows of each entity's staging view against the ledger's row of the newest version: any difference is an error.
{% set entities = ['characters', 'episodes', 'locations'] %}
WITH staged AS (
    {% for entity in entities %}
        SELECT
            '{{ entity }}' AS entity,
            MAX(table_version) AS table_version,
            COUNT(*) AS row_count
        FROM {{ ref('stg_rickandmorty__' ~ entity) }}
        {% if not loop.last %}UNION ALL{% endif %}
    {% endfor %}
)

SELECT
    staged.entity,
    staged.table_version,
    staged.row_count,
    ledger.row_count AS ledger_row_count
FROM staged
LEFT JOIN {{ ref('stg_rickandmorty__loads') }} AS ledger
    ON staged.entity = ledger.entity AND ledger.recency = 1
WHERE
    staged.row_count != IFNULL(ledger.row_count, 0)
    OR (staged.row_count > 0 AND staged.table_version != ledger.table_version)
