# Healthchecks, a dead man's switch: make a check that fits
#
#     retrain recipe healthchecks >healthchecks.sh
#     HEALTHCHECKS_API_KEY=... sh healthchecks.sh        # a key with write access, of the settings of your project there
#
# It prints the URL to ping, and may run again. HEALTHCHECKS_SITE is for an installation of your own. The URL is a secret:
# put it into the environment of retrain, under cron by `. secrets.env` before the command. In config.yaml:
#
#     notifications:
#       heartbeat: {url: "${HEALTHCHECKS_URL}", style: healthchecks}
#
# Schedule: that of the crontab. Grace: how late a ping may be, and how long a training may last, since that begins with
# a ping of its own. So it is longer than training.timeout and promotion.timeout together, and only after so long is
# silence an alarm; a check that fails alarms at once.
#
# Should silence alarm sooner, write `heartbeat: "${HEALTHCHECKS_URL}"` and set the grace to three times the period:
# then each check with exit code 0 pings, also while a training runs, and no training is announced.
set -eu
: "${HEALTHCHECKS_API_KEY:?is not set}"
grace=$((@minutes@ * 60)) # seconds
body=$(cat <<'END'
{"name": @group:json@, "unique": ["name"], "tags": "retrain", "channels": "*", "schedule": "*/5 * * * *", "tz": "UTC",
END
)
printf 'X-Api-Key: %s\n' "$HEALTHCHECKS_API_KEY" |
  curl --silent --show-error --fail --max-time 30 --write-out '\n' --header @- --header 'Content-Type: application/json' \
    --data-binary "$body \"grace\": $grace}" "${HEALTHCHECKS_SITE:-https://healthchecks.io}/api/v3/checks/" |
  sed -n 's/.*"ping_url": *"\([^"]*\)".*/\1/p'
