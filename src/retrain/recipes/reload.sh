# Reload: let gunicorn, FastAPI, MLServer or Triton serve a champion
#
#     retrain recipe reload >reload.sh
#
# promotion.after in config.yaml is one of these lines. It ends when the service answers with the new version. Where it
# fails, retrain undoes the promotion, and runs it again for the champion before.
#
#     promotion:
#       after: sh reload.sh gunicorn /run/gunicorn.pid http://127.0.0.1:8000/version
#       after: sh reload.sh watching http://127.0.0.1:8000/version
#       after: sh reload.sh repository http://127.0.0.1:8080 MODEL
#
# gunicorn: a service that loads the model when it starts. SIGHUP starts new workers, and the old ones end when they have
# answered what they have begun: no request fails. Not with --preload, which keeps the old model. A worker that cannot
# load its model ends all of gunicorn, so let it run under systemd with Restart=always.
#
# watching: a service that looks at the link before each prediction, such as one of FastAPI or Flask. It needs no
# signal, however many workers it has, and keeps no half-written model, since a version never changes:
#
#     def champion():
#         return loaded(os.path.realpath(@champion:json@))
#
#     @lru_cache(maxsize=2)
#     def loaded(path):
#         return joblib.load(path), Path(path).stem
#
# For both: `/version` answers the second of these, the SHA-256 that is the name of the file which the link names.
#
# repository: MLServer and Triton, by the model repository of the Open Inference Protocol. MLServer: `parameters.uri` of
# model-settings.json is @champion:json@.
# Triton: start it with --model-control-mode=explicit; the file of the model, or what its Python back end loads, is a
# link to that path. It was not tried with a real Triton, only with MLServer, which has the same protocol.
set -eu
seconds=60 # promotion.timeout is the limit of all

version=$(basename "$(readlink -f "$RETRAIN_CHAMPION")") # $RETRAIN_VERSION is another one where a promotion is undone
version=${version%.*}

get() { curl --silent --show-error --fail --max-time 5 "$@"; }

serves() { # five times in a row: several workers may answer
  for _ in 1 2 3 4 5; do
    [ "$(get "$1" | tr -d '"[:space:]')" = "$version" ] || return 1
  done
}

await() {
  end=$(($(date +%s) + seconds))
  until serves "$1" 2>/dev/null; do
    if [ "$(date +%s)" -ge "$end" ]; then
      echo "$1 does not answer $version after $seconds s: $(get "$1" 2>&1 | head -c 200)" >&2
      exit 1
    fi
    sleep 0.2
  done
}

case ${1:-} in
gunicorn)
  kill -HUP "$(cat "$2")"
  await "$3"
  ;;
watching) await "$2" ;;
repository) get --max-time "$seconds" --request POST --header 'Content-Type: application/json' --data '{}' "$2/v2/repository/models/$3/load" ;;
*)
  echo "usage: sh reload.sh gunicorn PIDFILE URL | watching URL | repository URL MODEL" >&2
  exit 2
  ;;
esac
