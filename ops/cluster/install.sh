#!/usr/bin/env bash
# Run by `ray up` on every node: the locked packages, the wheel, the pages' files, the services.
set -euo pipefail
cd "$HOME/raydesk"
chmod 600 ray_token
uv venv --quiet --allow-existing --python 3.12 .venv
uv pip sync --quiet --python .venv/bin/python --require-hashes --compile-bytecode requirements.lock
uv pip install --quiet --python .venv/bin/python --no-deps --compile-bytecode --reinstall dist/raydesk-*.whl
UV="$(command -v uv)" .venv/bin/python -m serve_apps.ui.vendor
.venv/bin/python -m serve_apps.ui.bundle
.venv/bin/desk cluster env --token-file "$HOME/raydesk/ray_token" > ray.env
for unit in cluster/*.service; do
  sed -e "s|@USER@|$USER|g" -e "s|@HOME@|$HOME|g" "$unit" | sudo tee "/etc/systemd/system/$(basename "$unit")" > /dev/null
done
sudo systemctl daemon-reload
