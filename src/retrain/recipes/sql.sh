# F1 from a table in SQLite or PostgreSQL; also POST-only APIs
#
#     retrain recipe sql >metrics.sh
#
# in @directory@ (or in training.directory, where commands run), and in config.yaml:
#
#     triggers:
#       drift_threshold: null    # F1 alone; for drift, give `retrain monitor` the rows as a CSV or Parquet file
#       max_age: 30d             # so late labels may come
#     monitoring:
#       type: command
#       command: sh metrics.sh
#       f1: f1
#       observed_at: end
#       samples: samples
#       positives: positives
#       counts: {tp: tp, fp: fp, fn: fn}
#
# The table `predictions` has `at` (ISO 8601 in UTC), `prediction` and `label` (1, 0, or NULL until it is known). The
# window is the newest day in UTC that has ended and of which every label is known. Where there is none, nothing is
# printed, and F1 is unknown.
set -eu
database=predictions.db
sqlite3 -readonly -bail "$database" <<'QUERY'
WITH days AS (
  SELECT
    date(at) AS day,
    max(at) AS last,
    count(*) AS samples,
    count(*) FILTER (WHERE label = 1) AS positives,
    count(*) FILTER (WHERE prediction = 1 AND label = 1) AS tp,
    count(*) FILTER (WHERE prediction = 1 AND label = 0) AS fp,
    count(*) FILTER (WHERE prediction = 0 AND label = 1) AS fn
  FROM predictions
  WHERE date(at) < CURRENT_DATE
  GROUP BY date(at)
  HAVING count(label) = count(*)
  ORDER BY day DESC
  LIMIT 1
)
SELECT json_object(
  'f1', 2.0 * tp / nullif(2 * tp + fp + fn, 0),
  'tp', tp, 'fp', fp, 'fn', fn, 'samples', samples, 'positives', positives, 'end', last
) FROM days;
QUERY
# PostgreSQL: the same query with json_build_object for json_object, and this for the line with sqlite3:
#
#     export PGTZ=UTC PGOPTIONS='-c statement_timeout=8s'
#     psql -XqAt -v ON_ERROR_STOP=1 "$database" <<'QUERY'
#
# The password comes from ~/.pgpass, or from monitoring.environment: {PGPASSWORD: "${PGPASSWORD}"}, which hides it and
# keeps it from the training. On a command line every user of the machine can read it.
#
# An API that takes POST only; the token stands in a file, one line `Authorization: Bearer ...`:
#
#     command: curl --fail --silent --show-error --max-time 8 --header @token --json @query.json https://example.com/api
#
# The command line of a cloud. These lines were run against an imitation of CloudWatch (moto), not against the cloud:
# try them with `retrain doctor`.
#
#     day=$(date -u +%F)
#     aws cloudwatch get-metric-statistics --namespace churn --metric-name F1 --statistics Average --period 86400 \
#       --start-time "$(date -u -d "$day -7 days" +%FT%TZ)" --end-time "${day}T00:00:00Z" --output json
#
# with f1: "max_by(Datapoints, &Timestamp).Average". Its Timestamp is where a period begins: give triggers.max_age a day
# more for observed_at: "max_by(Datapoints, &Timestamp).Timestamp".
