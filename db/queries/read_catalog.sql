-- What the schema of the tables holds, an object each: its kind and name, and its definition as PostgreSQL writes it, or for a function
-- the MD5 of that. Columns, constraints (of domains too), other indexes, triggers (those that hold foreign keys too), views, domains and
-- functions; and whether triggers fire.
WITH home AS (
  SELECT oid, quote_ident(nspname) || '.' AS prefix
  FROM pg_namespace
  WHERE nspname = current_schema()
),

object (name, definition) AS (
  SELECT
    format('column %s.%s', relation.relname, pg_attribute.attname),
    format_type(pg_attribute.atttypid, pg_attribute.atttypmod)
    || coalesce(' DEFAULT ' || pg_get_expr(pg_attrdef.adbin, pg_attrdef.adrelid), '')
  FROM pg_attribute
  INNER JOIN pg_class AS relation ON pg_attribute.attrelid = relation.oid
  INNER JOIN home ON relation.relnamespace = home.oid
  LEFT JOIN pg_attrdef ON pg_attribute.attrelid = pg_attrdef.adrelid AND pg_attribute.attnum = pg_attrdef.adnum
  WHERE relation.relkind IN ('r', 'p', 'c') AND pg_attribute.attnum > 0 AND NOT pg_attribute.attisdropped
  UNION ALL
  SELECT
    format('constraint %s', pg_constraint.conname),
    format(
      '%s %s',
      CASE WHEN pg_constraint.contypid = 0 THEN pg_constraint.conrelid::regclass::text ELSE pg_constraint.contypid::regtype::text END,
      pg_get_constraintdef(pg_constraint.oid)
    )
  FROM pg_constraint INNER JOIN home ON pg_constraint.connamespace = home.oid
  WHERE pg_constraint.contype <> 't'
  UNION ALL
  SELECT
    format('index %s', relation.relname),
    pg_get_indexdef(relation.oid) || CASE WHEN pg_index.indisvalid THEN '' ELSE ' INVALID' END
  FROM pg_index
  INNER JOIN pg_class AS relation ON pg_index.indexrelid = relation.oid
  INNER JOIN home ON relation.relnamespace = home.oid
  UNION ALL
  SELECT
    format('trigger %s', coalesce(pg_constraint.conname || ' ' || pg_proc.proname, pg_trigger.tgname)),
    CASE WHEN pg_trigger.tgisinternal THEN pg_trigger.tgrelid::regclass::text ELSE pg_get_triggerdef(pg_trigger.oid) END
    || CASE WHEN pg_trigger.tgenabled IN ('O', 'A') THEN '' ELSE ' DISABLED' END
  FROM pg_trigger
  INNER JOIN pg_class AS relation ON pg_trigger.tgrelid = relation.oid
  INNER JOIN home ON relation.relnamespace = home.oid
  INNER JOIN pg_proc ON pg_trigger.tgfoid = pg_proc.oid
  LEFT JOIN pg_constraint ON pg_trigger.tgconstraint = pg_constraint.oid
  UNION ALL
  SELECT format('view %s', relation.relname), regexp_replace(pg_get_viewdef(relation.oid), '\s+', ' ', 'g')
  FROM pg_class AS relation INNER JOIN home ON relation.relnamespace = home.oid
  WHERE relation.relkind = 'v'
  UNION ALL
  SELECT format('domain %s', pg_type.typname), format_type(pg_type.typbasetype, pg_type.typtypmod)
  FROM pg_type INNER JOIN home ON pg_type.typnamespace = home.oid
  WHERE pg_type.typtype = 'd'
  UNION ALL
  SELECT format('function %s', pg_proc.proname), md5(replace(pg_get_functiondef(pg_proc.oid), home.prefix, ''))
  FROM pg_proc INNER JOIN home ON pg_proc.pronamespace = home.oid
  WHERE pg_proc.prokind = 'f'
  UNION ALL
  SELECT 'setting session_replication_role', current_setting('session_replication_role')
)

SELECT
  object.name,
  replace(object.definition, home.prefix, '') AS definition
FROM object CROSS JOIN home
ORDER BY object.name
