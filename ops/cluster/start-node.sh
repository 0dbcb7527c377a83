#!/usr/bin/env bash
# Run by `ray up` on every node, as `start-node.sh head` or `start-node.sh worker`: hands what Ray's
# launcher says of this node on to the service that keeps Ray running, and starts it.
set -euo pipefail
role=${1:?head or worker}
case $role in head | worker) ;; *) echo "was $role, expected head or worker" >&2; exit 2 ;; esac
cd "$HOME/raydesk"
umask 077
{
  printf "RAY_HEAD_IP='%s'\n" "${RAY_HEAD_IP:-}"
  if [ -n "${RAY_OVERRIDE_RESOURCES:-}" ]; then
    printf "RAY_OVERRIDE_RESOURCES='%s'\n" "$RAY_OVERRIDE_RESOURCES"
  fi
  if [ "$role" = head ]; then
    printf "RAY_REDIS_ADDRESS='%s'\n" "${RAY_REDIS_ADDRESS:?the address of a Redis for Ray alone}"
    # A namespace of this `ray up`: restarts of the service find its state, the next cluster does not.
    printf "RAY_external_storage_namespace='raydesk-%s'\n" "$(date +%s)"
    # The desk beside it reaches the store and the exchange; Ray's own processes need neither.
    printf "DESK_RAY_ADDRESS='%s:6379'\n" "$(hostname -I | cut -d' ' -f1)"
  fi
} > node.env
sudo systemctl restart "raydesk-ray-$role.service"
if [ "$role" = head ]; then
  sudo systemctl restart raydesk.service
fi
