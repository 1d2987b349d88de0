# Units for systemd: timers that check, prune and promote; the monitor
#
#     retrain recipe systemd >units.sh        # and read it
#     sudo sh units.sh
#     sudo systemctl daemon-reload
#     sudo systemctl enable --now @name:file@@check.timer @name:file@@prune.timer
#
# `enable --now @name:file@-monitor.service` keeps `retrain monitor` running, if your metrics come from it. A challenger
# waits until a person types `retrain promote`; `enable --now @name:file@@promote.timer` lets each be compared once.
#
# `systemctl list-timers` shows when they run next, `journalctl -u '@name:file@@*'` what they said. A check that failed,
# or was blind, is a failed unit. No secrets here: if the configuration takes one from the environment, add
# `EnvironmentFile=` with a file of lines NAME=value that only its user can read. One timer is enough for many projects:
# -c takes the directory above them (`retrain guide operations`).
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

cat >"$units/@name:file@@promote.timer" <<'END'
[Unit]
Description=retrain promote of @name:unit@

[Timer]
OnCalendar=*:13
Persistent=true

[Install]
WantedBy=timers.target
END

mkdir -p "$units/@name:file@@promote.service.d"
cat >"$units/@name:file@@promote.service.d/if-pending.conf" <<'END'
[Service]
ExecStart=
ExecStart=@retrain:program@ promote --if-pending -c @config:word@
# A verdict that keeps the champion (rejected, inconclusive), and a lock that another run has.
SuccessExitStatus=10 11 75
END

cat >"$units/@name:file@-monitor.service" <<'END'
[Unit]
Description=retrain monitor of @name:unit@

[Service]
Type=exec
User=@user:unit@
ExecStart=@retrain:program@ monitor -c @config:word@
Restart=on-failure
RestartSec=5
# It ends so when it is stopped.
SuccessExitStatus=143

[Install]
WantedBy=multi-user.target
END
