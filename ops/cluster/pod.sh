#!/usr/bin/env bash
# Run by Kubernetes in every pod, as `pod.sh head` or `pod.sh worker`: Ray as the operator generated its
# command, and on a head that trades the desk beside it, started again as a service would.
set -euo pipefail
role=${1:?head or worker}
case $role in head | worker) ;; *) echo "was $role, expected head or worker" >&2; exit 2 ;; esac
: "${KUBERAY_GEN_RAY_START_CMD:?the command that the operator generates for this pod}"
ulimit -n 65536 || echo "more open files are not allowed here: $(ulimit -n)" >&2
if [ "$role" = worker ]; then
  eval "exec $KUBERAY_GEN_RAY_START_CMD"
fi
eval "$KUBERAY_GEN_RAY_START_CMD" &
ray=$!
DESK_RAY_ADDRESS="$(hostname -I | cut -d' ' -f1):6379"
export DESK_RAY_ADDRESS
desk=
stop() {
  trap - TERM INT
  if [ -n "$desk" ]; then kill -TERM "$desk" 2> /dev/null || true; wait "$desk" || true; fi
  kill -TERM "$ray" 2> /dev/null || true
  wait "$ray" || true
  exit 0
}
trap stop TERM INT
# The pod lives as long as its Ray: Kubernetes starts it anew, and the state is in the store.
while kill -0 "$ray" 2> /dev/null; do
  if [ -z "$desk" ] || ! kill -0 "$desk" 2> /dev/null; then
    desk up --no-run &
    desk=$!
  fi
  sleep "${POD_AGAIN_S:-5}" &
  wait $! || true
done
wait "$ray"
