-- Types of attributes that were written before they had any: what most people have. Who has another
-- keeps it, until the next write.
INSERT INTO attributes (workspace, key, type, create_time)
SELECT DISTINCT ON (workspace, key) workspace, key, type, now()
FROM (
    SELECT p.workspace, a.key, count(*) AS people,
        -- beckon.profile.v1.Attribute.Type
        CASE jsonb_typeof(a.value)
            WHEN 'string' THEN
                -- The pattern is dear, and most texts need not be held against it.
                CASE WHEN a.value::text LIKE '"____-__-__T%' AND a.value #>> '{}' ~ '^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)$'
                    THEN 4 ELSE 1 END
            WHEN 'number' THEN 2
            WHEN 'boolean' THEN 3
            WHEN 'array' THEN 5
            WHEN 'object' THEN 6
        END AS type
    FROM profiles AS p CROSS JOIN LATERAL jsonb_each(p.attributes) AS a
    GROUP BY p.workspace, a.key, type
) AS known
WHERE type IS NOT NULL AND key ~ '^[^/$][^/]{0,127}$'
ORDER BY workspace, key, people DESC, type
ON CONFLICT DO NOTHING;
