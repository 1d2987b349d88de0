# SSH: train on another machine, where no training is left behind
#
#     retrain recipe ssh >ssh.sh
#
# In config.yaml, with a host that `ssh -o BatchMode=yes HOST` enters without a question:
#
#     training:
#       command: bash ssh.sh HOST
#       grace: 60s
#
# HOST needs bash, rsync, and this project in `directory`, with all that the training needs. The training gets the rows
# and the variables of `retrain guide operations`, with paths on HOST. Only when it has exited 0 do its files come back,
# the model last, each by a rename.
#
# On HOST its whole process group ends, by SIGTERM and 10 s later by SIGKILL: after training.timeout; when retrain or
# this script ends or is killed; when the connection breaks; and when HOST hears nothing from here for a minute, such as
# without power or a network. As with a training here, a program that leaves the process group lives on.
set -euo pipefail
umask 077
host=${1:?"the host is missing: bash ssh.sh HOST"}
directory=@directory:shell@
training=(make train-model)
limit=@limit@ silence=60 # seconds

ssh=(ssh -T -o BatchMode=yes -o ConnectTimeout=20 -o ServerAliveInterval=15 -o ServerAliveCountMax=4)
rsync=(rsync --archive --protect-args --timeout="$silence" --rsh="${ssh[*]}")
model=model.${RETRAIN_CHALLENGER##*.}
run=.retrain/$RETRAIN_RUN_ID
apart=${RETRAIN_CHALLENGER%/*}/.ssh-training # in the file system of the model, so that moving it is a rename
rm -rf "$apart"
trap 'rm -rf "$apart"' EXIT
mkdir -p "$apart/$run/out"

# ---- what HOST gets: the rows, and a script with the variables that runs the training there
give() { if [ -s "$1" ]; then ln -s "$1" "$apart/$run/$2"; fi; }
give "${RETRAIN_TRAINING:-}" training.parquet
give "${RETRAIN_HOLDOUT:-}" out/holdout.parquet
{
  printf 'cd %q\nrun=$PWD/%q\n' "$directory" "$run"
  printf 'export RETRAIN_RUN_ID=%q RETRAIN_REASON=%q\n' "$RETRAIN_RUN_ID" "$RETRAIN_REASON"
  printf 'export RETRAIN_CHALLENGER=$run/out/%q\n' "$model"
  if [ -n "${RETRAIN_TRAINING:-}" ]; then echo 'export RETRAIN_TRAINING=$run/training.parquet'; fi
  if [ -n "${RETRAIN_HOLDOUT:-}" ]; then echo 'export RETRAIN_HOLDOUT=$run/out/holdout.parquet'; fi
  printf 'training=(%s) limit=%q silence=%q\n' "$(printf '%q ' "${training[@]}")" "$limit" "$silence"
  cat <<'END'
export RETRAIN_REFERENCE=$run/out/reference.parquet RETRAIN_WEIGHTS=$run/out/weights.csv
export RETRAIN_NOTES=$run/out/notes.json
exec 3<&0 # bash gives /dev/null to what it starts in the background
setsid timeout --kill-after=10 "$limit" "${training[@]}" </dev/null 3<&- &
group=$!
{
  while read -r -t "$silence" -u 3 _; do :; done # until it ends, or says nothing for too long
  kill -TERM -- "-$group"
  sleep 10
  kill -KILL -- "-$group"
} >/dev/null 2>&1 &
watcher=$!
wait "$group"
code=$?
kill -KILL -- "-$group" 2>/dev/null # what the training has left behind
kill "$watcher" 2>/dev/null
exit "$code"
END
} >"$apart/$run/run"

# ---- run it: a line every few seconds says that somebody waits here; their end, that nobody does
beat() {
  trap 'exit' TERM INT HUP
  while echo; do
    sleep "$((silence / 6))" >/dev/null &
    wait "$!"
  done
}
stopped='' code=0
trap 'stopped=yes' TERM INT HUP # and wait: HOST ends the training, and then the connection
"${rsync[@]}" --copy-links --delete "$apart/.retrain" "$host:$directory/"
exec 4< <(beat)
beating=$!
(
  trap '' TERM INT HUP
  exec "${ssh[@]}" "$host" "bash $(printf '%q' "$directory/$run/run")"
) <&4 || code=$?
kill "$beating" 2>/dev/null || true
if [ "$code" != 0 ]; then exit "$code"; fi
if [ -n "$stopped" ]; then exit 143; fi

# ---- what it has left, the model last
"${rsync[@]}" "$host:$directory/$run/out/" "$apart/back/"
take() { if [ -n "$2" ] && [ -e "$apart/back/$1" ]; then mv -f "$apart/back/$1" "$2"; fi; }
take reference.parquet "$RETRAIN_REFERENCE"
take weights.csv "$RETRAIN_WEIGHTS"
take notes.json "$RETRAIN_NOTES"
take holdout.parquet "${RETRAIN_HOLDOUT:-}"
take "$model" "$RETRAIN_CHALLENGER"
"${ssh[@]}" "$host" "rm -rf $(printf '%q' "$directory/$run")" </dev/null || true
