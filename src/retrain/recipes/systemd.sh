# Units for systemd: timers that check and prune, instead of cron
#
#     retrain recipe systemd >units.sh        # and read it
#     sudo sh units.sh
#     sudo systemctl daemon-reload
#     sudo systemctl enable --now @name:file@@check.timer @name:file@@prune.timer
#
# `systemctl list-timers` shows when they run next, `journalctl -u '@name:file@@*'` what they said. A check that failed,
# or was blind, is a failed unit. No secrets here: if the configuration takes one from the environment, add
# `EnvironmentFile=` with a file of lines NAME=value that only its user can read.
set -eu
units=${1:-/etc/systemd/system}

cat >"$units/@name:file@@.service" <<'END'
[Unit]
Description=retrain %i of @name:unit@

[Service]
Type=oneshot
User=@user:unit@
ExecStart=@retrain:program@ %i -c @config:word@
# retrain passes a signal on to its training, and waits for it; without a limit, as training.timeout is one.
KillMode=mixed
TimeoutStartSec=infinity
END

cat >"$units/@name:file@@check.timer" <<'END'
[Unit]
Description=retrain check of @name:unit@

[Timer]
OnCalendar=*:0/5
Persistent=true

[Install]
WantedBy=timers.target
END

cat >"$units/@name:file@@prune.timer" <<'END'
[Unit]
Description=retrain prune of @name:unit@

[Timer]
OnCalendar=*-*-01 04:40
Persistent=true

[Install]
WantedBy=timers.target
END
